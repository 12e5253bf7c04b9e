#!/bin/sh
# Replaces the replicas of the application that run by as many of the present image, with no pause: `make upgrade`.
#
# Old and new run side by side for a while, on the schema of the new. So a migration may only add what the old
# don't miss; docs/operations.md tells how a change that is more than that is split.
set -eu
cd "$(dirname "$0")/.."

old=$(docker compose ps --quiet app)
if [ -z "$old" ]; then
    echo "The stack does not run: make up." >&2
    exit 1
fi
count=$(echo "$old" | wc -l)

# The way back has nothing to migrate: old code does not know the newer schema, and runs on it all the same.
[ -n "${SKIP_MIGRATE:-}" ] || docker compose run --rm --no-TTY --no-deps migrate
docker compose up --detach --wait --no-deps --no-recreate --scale app=$((2 * count)) app
# nginx looks for replicas every 2 s.
sleep 5
# They finish what they have begun, and refuse no request that nginx can't give to another.
# shellcheck disable=SC2086
docker stop $old >/dev/null
# shellcheck disable=SC2086
docker rm $old >/dev/null
docker compose up --detach --wait --no-deps --no-recreate --scale app="$count" app
