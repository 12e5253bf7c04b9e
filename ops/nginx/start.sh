#!/bin/sh
# Starts nginx with the project's nginx.conf, and reloads it when the replicas or the certificate change.
#
# nginx asks for the addresses of an upstream once, when it reads its configuration (only 1.27.3 and later can do
# otherwise), and it keeps connections to upstreams alone, not to names in variables. So this script asks, and has
# the configuration read again when the answer is another one. A reload ends no request.
set -eu

# Where the application is: HOST:PORT, several ones with blanks between. A host may have many addresses.
: "${APP_SERVERS:=app:8000}"
: "${SERVICE_PREFIX:=}"
: "${CORS_ORIGINS:=}"
: "${MAX_BODY_BYTES:=1048576}"
# The certificate's folder: fullchain.pem and privkey.pem in it turn TLS on.
: "${NGINX_TLS_DIR:=/etc/gatepost/tls}"
: "${NGINX_LISTEN:=8080}"
: "${NGINX_TLS_LISTEN:=8443}"
# The port that clients of TLS see, for redirects.
: "${HTTPS_PORT:=443}"
: "${NGINX_STATUS_LISTEN:=127.0.0.1:8081}"
# Of one address: requests a second in the long run, at once, and under way together. The application's own limit
# of 600 a minute may come in one burst. Each request under way may have MAX_BODY_BYTES in NGINX_DIR.
: "${NGINX_RATE:=20r/s}"
: "${NGINX_BURST:=600}"
: "${NGINX_CONNECTIONS:=20}"
# The address or network of a load balancer before nginx; this one is nobody's.
: "${NGINX_TRUSTED_BALANCER:=240.0.0.0/32}"
# How long the application may be silent: longer than MAX_QUEUE_MS and 2 s. And until when after its beginning a
# request that may be repeated is given to another replica: longer than that.
: "${NGINX_APP_TIMEOUT:=8s}"
: "${NGINX_RETRY_TIMEOUT:=12s}"
: "${NGINX_WORKERS:=2}"
: "${NGINX_WATCH_SECONDS:=1}"
# Where configuration and bodies are kept while nginx runs; and answers, there or elsewhere.
: "${NGINX_DIR:=/tmp/gatepost}"
: "${NGINX_ANSWERS_DIR:=answers}"
# In how many rounds on end an address must be missing until it is forgotten.
FORGET_ROUNDS=5
# How old the last round may be for the health check; a name server that is gone takes its time.
ROUND_SECONDS=60
SERVICE_PREFIX=${SERVICE_PREFIX%/}
template=${NGINX_TEMPLATE:-$(dirname "$0")/nginx.conf}
state=
# A line for each address: HOST:PORT, and in how many rounds it has been missing.
known=
APP_ADDRESSES="server 127.0.0.1:9 down;"
export APP_ADDRESSES CORS_ORIGINS LISTEN MAX_BODY_BYTES NGINX_ANSWERS_DIR NGINX_APP_TIMEOUT NGINX_BURST \
    NGINX_CONNECTIONS NGINX_RATE NGINX_RETRY_TIMEOUT NGINX_STATUS_LISTEN NGINX_TRUSTED_BALANCER NGINX_WORKERS \
    SERVICE_PREFIX TLS_PORT

# Succeed if nginx answers and something still looks for replicas: `start.sh health`, for the container.
check_health() {
    wget -q -O /dev/null "http://$NGINX_STATUS_LISTEN/"
    [ $(($(date +%s) - $(cat "$NGINX_DIR/last-round"))) -lt "$ROUND_SECONDS" ]
}

# Write the configuration: the template with each ${NAME} replaced by the variable of that name.
render() {
    awk '{
        while (match($0, /\$\{[A-Z_]+\}/)) {
            printf "%s%s", substr($0, 1, RSTART - 1), ENVIRON[substr($0, RSTART + 2, RLENGTH - 3)]
            $0 = substr($0, RSTART + RLENGTH)
        }
        print
    }' "$template" >"$NGINX_DIR/nginx.conf.new" && mv "$NGINX_DIR/nginx.conf.new" "$NGINX_DIR/nginx.conf"
}

# Print every address that the names have now.
find_addresses() {
    for server in $APP_SERVERS; do
        getent ahostsv4 "${server%:*}" | awk -v port="${server##*:}" '{ print $1 ":" port }'
    done
}

# Bring what is known up to date. A new address is taken at once, and a missing one kept for some rounds: each change
# is a reload, and a replica that crashes again and again comes and goes with each round. Meanwhile a request for it
# goes on to the next.
look_for_replicas() {
    found=$(find_addresses || true)
    # No answer is no reason to forget the replicas: they may all be starting again.
    [ -n "$found" ] || return 0
    known=$(printf '%s\n' "$known" "$found" | awk -v rounds="$FORGET_ROUNDS" '
        NF == 2 { missing[$1] = $2 + 1 }
        NF == 1 { missing[$1] = 0 }
        END { for (address in missing) if (missing[address] < rounds) print address, missing[address] }' | sort)
    # None is ever held to be down: in a rolling restart, nginx would still avoid the one that is back when the other
    # goes. A replica that hangs has the most connections, so it gets no more of them.
    APP_ADDRESSES=$(echo "$known" | awk '{ print "server " $1 " max_fails=0;" }')
}

# Say where to listen: for TLS too, where there is a certificate.
choose_listen() {
    LISTEN="listen $NGINX_LISTEN;"
    TLS_PORT=
    if [ -e "$NGINX_TLS_DIR/fullchain.pem" ] && [ -e "$NGINX_TLS_DIR/privkey.pem" ]; then
        LISTEN="$LISTEN listen $NGINX_TLS_LISTEN ssl;
            ssl_certificate $NGINX_TLS_DIR/fullchain.pem; ssl_certificate_key $NGINX_TLS_DIR/privkey.pem;"
        TLS_PORT=$HTTPS_PORT
        # Before 1.25.1 there was no such directive; then HTTP/2 is left out.
        case $(nginx -v 2>&1) in
            *nginx/1.1?.* | *nginx/1.2[0-4].*) ;;
            *) LISTEN="$LISTEN http2 on;" ;;
        esac
    fi
}

# Look at the replicas and the certificate; if they are not as before, write a new configuration and succeed.
has_changed() {
    look_for_replicas
    certificate=$(cat "$NGINX_TLS_DIR/fullchain.pem" "$NGINX_TLS_DIR/privkey.pem" 2>/dev/null | sha256sum)
    [ "$APP_ADDRESSES $certificate" != "$state" ] || return 1
    choose_listen
    render || return 1
    state="$APP_ADDRESSES $certificate"
}

# Note when the last round was.
note_round() {
    date +%s >"$NGINX_DIR/last-round.new" && mv "$NGINX_DIR/last-round.new" "$NGINX_DIR/last-round"
}

# Lasts as long as nginx, which takes this process over.
watch() {
    while sleep "$NGINX_WATCH_SECONDS" && kill -0 $$ 2>/dev/null; do
        if has_changed; then
            kill -HUP $$
            printf '{"time":"%s","level":"info","logger":"nginx","event":"reload","addresses":"%s"}\n' \
                "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" "$(echo "$known" | awk '{ printf "%s%s", sep, $1; sep = " " }')"
        fi
        note_round
    done
}

# Have another one watch when the first has died.
keep_watching() {
    while kill -0 $$ 2>/dev/null; do
        (watch) || sleep "$NGINX_WATCH_SECONDS"
    done
}

if [ "${1:-}" = health ]; then
    check_health
    exit
fi
mkdir -p "$NGINX_DIR"
has_changed
note_round
keep_watching &
exec nginx -e stderr -p "$NGINX_DIR/" -c "$NGINX_DIR/nginx.conf" -g "daemon off;"
