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
if ! docker compose up --detach --wait --no-deps --no-recreate --scale app=$((2 * count)) app; then
    # What does not get healthy must not stay beside what serves, nor be taken for it by the next attempt.
    for replica in $(docker compose ps --all --quiet app); do
        echo "$old" | grep -qx "$replica" || docker rm --force "$replica" >/dev/null
    done
    echo "The new replicas did not get healthy and were removed; the old ones serve on." >&2
    exit 1
fi
# nginx looks for replicas every 2 s.
sleep 5
# They finish what they have begun, and refuse no request that nginx can't give to another.
# shellcheck disable=SC2086
docker stop $old >/dev/null
# shellcheck disable=SC2086
docker rm $old >/dev/null
docker compose up --detach --wait --no-deps --no-recreate --scale app="$count" app
# It reads CORS_ORIGINS, SERVICE_PREFIX and its own settings at its start: made anew only if one of them has changed.
docker compose up --detach --wait --no-deps nginx
