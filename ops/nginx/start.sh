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
# of 600 a minute may come in one burst.
: "${NGINX_RATE:=20r/s}"
: "${NGINX_BURST:=600}"
: "${NGINX_CONNECTIONS:=100}"
# The address or network of a load balancer before nginx; this one is nobody's.
: "${NGINX_TRUSTED_BALANCER:=240.0.0.0/32}"
# How long the application may take for an answer.
: "${NGINX_APP_TIMEOUT:=15s}"
: "${NGINX_WORKERS:=2}"
: "${NGINX_WATCH_SECONDS:=2}"
# Where configuration, bodies and answers are kept while nginx runs.
: "${NGINX_DIR:=/tmp/gatepost}"
SERVICE_PREFIX=${SERVICE_PREFIX%/}
template=${NGINX_TEMPLATE:-$(dirname "$0")/nginx.conf}
state=
APP_ADDRESSES="server 127.0.0.1:9 down;"
export APP_ADDRESSES CORS_ORIGINS LISTEN MAX_BODY_BYTES NGINX_APP_TIMEOUT NGINX_BURST NGINX_CONNECTIONS NGINX_RATE \
    NGINX_STATUS_LISTEN NGINX_TRUSTED_BALANCER NGINX_WORKERS SERVICE_PREFIX TLS_PORT

# Write the configuration: the template with each ${NAME} replaced by the variable of that name.
render() {
    awk '{
        while (match($0, /\$\{[A-Z_]+\}/)) {
            printf "%s%s", substr($0, 1, RSTART - 1), ENVIRON[substr($0, RSTART + 2, RLENGTH - 3)]
            $0 = substr($0, RSTART + RLENGTH)
        }
        print
    }' "$template" >"$NGINX_DIR/nginx.conf"
}

# Print a `server` for every address that the names have now. None is ever held to be down: in a rolling restart,
# nginx would still avoid the one that is back when the other goes. A request that can't be delivered goes on to
# the next at once, and a replica that hangs has the most connections, so it gets no more of them.
find_addresses() {
    for server in $APP_SERVERS; do
        getent ahostsv4 "${server%:*}" |
            awk -v port="${server##*:}" '{ printf "server %s:%s max_fails=0;\n", $1, port }'
    done | sort -u
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
    found=$(find_addresses || true)
    # No answer is no reason to forget the replicas: they may all be starting again.
    APP_ADDRESSES=${found:-$APP_ADDRESSES}
    certificate=$(cat "$NGINX_TLS_DIR/fullchain.pem" "$NGINX_TLS_DIR/privkey.pem" 2>/dev/null | cksum)
    [ "$APP_ADDRESSES $certificate" != "$state" ] || return 1
    state="$APP_ADDRESSES $certificate"
    choose_listen
    render
}

# Lasts as long as nginx, which takes this process over.
watch() {
    while sleep "$NGINX_WATCH_SECONDS" && kill -0 $$ 2>/dev/null; do
        if has_changed; then
            kill -HUP $$
        fi
    done
}

mkdir -p "$NGINX_DIR"
has_changed
watch &
exec nginx -e stderr -p "$NGINX_DIR/" -c "$NGINX_DIR/nginx.conf" -g "daemon off;"
