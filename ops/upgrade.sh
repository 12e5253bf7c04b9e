#!/bin/sh
# Replaces the running replicas of the application by new ones of the current image and settings, without downtime:
# `make upgrade`. There are as many new ones as old ones, or as many as the argument says. nginx, the database and Redis are
# replaced only if their own settings have changed.
#
# Old and new replicas run side by side for a while, on the new schema. So a migration must be compatible with the old
# code; docs/operations.md explains how to split one that is not.
set -eu
cd "$(dirname "$0")/.."

# Remove these addresses from nginx, and add all others again.
leave_out() {
    docker compose exec --no-TTY nginx /bin/sh /etc/gatepost/start.sh leave-out "$@"
}

old=$(docker compose ps --quiet app)
if [ -z "$old" ]; then
    echo "The stack is not running. Start it with: make up" >&2
    exit 1
fi
# Compose may replace nginx below, and nginx does not start with settings or a certificate that it does not accept.
if ! docker compose run --rm --no-TTY --no-deps nginx test; then
    echo "nginx would not start with these settings. Nothing was changed." >&2
    exit 1
fi
old_count=$(echo "$old" | wc -l)
count=${1:-$old_count}
addresses=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}:8000 {{end}}' $old)

# When going back to an older image, this finds nothing to do: old code runs on the newer schema.
docker compose run --rm --no-TTY --no-deps migrate
# Compose runs the migration once more below, and it must use the current image. The option --no-deps below would avoid
# that, but Compose would store another configuration than `docker compose up`, and later recreate all replicas at once.
docker compose rm --force migrate
if ! docker compose up --detach --wait --no-recreate --scale app=$((old_count + count)) app || ! leave_out $addresses; then
    # Otherwise the next upgrade would regard the new replicas as old ones.
    for replica in $(docker compose ps --all --quiet app); do
        echo "$old" | grep -qx "$replica" || docker rm --force "$replica" >/dev/null
    done
    echo "The new replicas are not healthy or nginx does not use them. They were removed; the old ones still serve." >&2
    exit 1
fi
# A later replica may get one of these addresses.
trap leave_out EXIT
# No request to the old replicas is left.
docker stop $old >/dev/null
docker rm $old >/dev/null
# As in `make up`: recreates nginx, for example, if its settings have changed.
docker compose up --detach --wait --scale app="$count"
