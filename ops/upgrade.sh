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

# On the way back it says that there is nothing to do: old code runs on the newer schema.
docker compose run --rm --no-TTY --no-deps migrate
# Below, it runs once more, and must be of the present image. With --no-deps instead, Compose would write down another
# configuration than that of `docker compose up`, which would later make all replicas anew, at once.
docker compose rm --force migrate
if ! docker compose up --detach --wait --no-recreate --scale app=$((2 * count)) app; then
    # What does not get healthy must not stay beside what serves, nor be taken for it by the next attempt.
    for replica in $(docker compose ps --all --quiet app); do
        echo "$old" | grep -qx "$replica" || docker rm --force "$replica" >/dev/null
    done
    echo "The new replicas did not get healthy and were removed; the old ones serve on." >&2
    exit 1
fi
# nginx finds the new ones, and forgets the old, within seconds.
sleep 8
# They finish what they have begun, and refuse no request that nginx can't give to another. One by one, so that a
# request seldom meets one that has just gone.
for replica in $old; do
    docker stop "$replica" >/dev/null
    docker rm "$replica" >/dev/null
    sleep 8
done
# As `make up` does: nginx, say, is made anew if its settings have changed, and only then.
docker compose up --detach --wait --scale app="$count"
