#!/bin/sh
# Starts nginx with the project's nginx.conf, and reloads it when the replicas or the certificate change.
#
#   start.sh                            start nginx
#   start.sh leave-out [HOST:PORT ...]  remove these replicas from nginx, add all others again, and wait until no request
#                                       to the removed ones is in flight; without arguments, add all again
#   start.sh health                     the container's health check
#
# nginx resolves the name of an upstream only when it reads its configuration (1.27.3 is the first version with another
# way), and it keeps connections alive only to an upstream, not to a name in a variable. So this script resolves the
# names every second and reloads nginx when the addresses differ. A reload ends no request.
set -eu

# The replicas: HOST:PORT, separated by blanks. A host may have several addresses.
: "${APP_SERVERS:=app:8000}"
: "${SERVICE_PREFIX:=}"
: "${CORS_ORIGINS:=}"
: "${MAX_BODY_BYTES:=1048576}"
# The folder of the certificate: fullchain.pem and privkey.pem in it turn TLS on.
: "${NGINX_TLS_DIR:=/etc/gatepost/tls}"
: "${NGINX_LISTEN:=8080}"
: "${NGINX_TLS_LISTEN:=8443}"
# The port at which clients reach TLS, for redirects.
: "${HTTPS_PORT:=443}"
: "${NGINX_STATUS_LISTEN:=127.0.0.1:8081}"
# Limits for one address: requests a second in the long run, requests in one burst, and concurrent requests. The
# application's own limit, 600 a minute, may be used up in one burst.
: "${NGINX_RATE:=20r/s}"
: "${NGINX_BURST:=600}"
: "${NGINX_CONNECTIONS:=100}"
# The addresses or networks of load balancers in front of nginx, separated by blanks or commas.
: "${NGINX_TRUSTED_BALANCER:=}"
# Concurrent requests for one replica; nginx refuses further ones. They wait for less than a second in a replica that
# serves as many a second, and so does a probe. It must be several times the threads of a replica (by default two
# workers of 16), so that no thread is ever without a request.
: "${NGINX_APP_CONNECTIONS:=128}"
# How long nginx waits for a response of the application: longer than MAX_QUEUE_MS and 2 s, and at least four times
# MAX_QUEUE_MS. And how long after its beginning a request may be given to another replica: longer than that.
: "${NGINX_APP_TIMEOUT:=8s}"
: "${NGINX_RETRY_TIMEOUT:=12s}"
: "${NGINX_WORKERS:=2}"
: "${NGINX_WATCH_SECONDS:=1}"
# Folders for nginx's configuration, for request bodies over 64 kB, and for responses; the last two may be relative.
: "${NGINX_DIR:=/tmp/gatepost}"
: "${NGINX_BODIES_DIR:=bodies}"
: "${NGINX_ANSWERS_DIR:=answers}"
# An address is removed when its name has lacked it in this many consecutive rounds.
FORGET_ROUNDS=5
# The health check fails if the last round is older. A round takes some time when the name server does not respond.
ROUND_SECONDS=60
# Longer than nginx.conf's worker_shutdown_timeout, after which no request to a removed replica is left.
LEAVE_OUT_SECONDS=${NGINX_LEAVE_OUT_SECONDS:-30}
SERVICE_PREFIX=${SERVICE_PREFIX%/}
template=${NGINX_TEMPLATE:-$(dirname "$0")/nginx.conf}
state=
# One line for each address: HOST:PORT, and in how many consecutive rounds its name has lacked it. nginx needs at least
# one server; nothing listens on this port.
known="127.0.0.1:9 $FORGET_ROUNDS"
export APP_SERVER_LINES CORS_ORIGINS LISTEN MAX_BODY_BYTES NGINX_ANSWERS_DIR NGINX_APP_TIMEOUT NGINX_BODIES_DIR \
    NGINX_BURST NGINX_CONNECTIONS NGINX_RATE NGINX_RETRY_TIMEOUT NGINX_STATUS_LISTEN NGINX_WORKERS \
    ONCE_SERVER_LINES PROBE_SERVER_LINES REAL_IP_LINES BALANCER_LINES SERVICE_PREFIX TLS_PORT

# Succeed if nginx responds and the loop below is running.
check_health() {
    wget -q -O /dev/null "http://$NGINX_STATUS_LISTEN/"
    [ $(($(date +%s) - $(cat "$NGINX_DIR/last-round"))) -lt "$ROUND_SECONDS" ]
}

# Replace the content of a file in one step by the output of a command, if that succeeds.
write() {
    file=$NGINX_DIR/$1
    shift
    "$@" >"$file.new" && mv "$file.new" "$file"
}

# Print the template with each ${NAME} replaced by the variable of that name.
render() {
    awk '{
        while (match($0, /\$\{[A-Z_]+\}/)) {
            printf "%s%s", substr($0, 1, RSTART - 1), ENVIRON[substr($0, RSTART + 2, RLENGTH - 3)]
            $0 = substr($0, RSTART + RLENGTH)
        }
        print
    }' "$template"
}

# Print every address that the names have now.
find_addresses() {
    for server in $APP_SERVERS; do
        getent ahostsv4 "${server%:*}" | awk -v port="${server##*:}" '{ print $1 ":" port }'
    done
}

# Print the process ids of nginx's workers. nginx replaces this script's process, so $$ is its master process.
find_workers() {
    cat /proc/[0-9]*/status 2>/dev/null | awk -v master=$$ '
        $1 == "Name:" { name = $2 }
        $1 == "Pid:" { pid = $2 }
        $1 == "PPid:" && $2 == master && name == "nginx" { print pid }'
}

# Update the known addresses. A new address is added immediately. One that its name lacks is kept for some rounds, because
# a replica that crashes repeatedly comes and goes, and each change is a reload; meanwhile nginx retries its requests on
# another replica.
find_replicas() {
    found=$(find_addresses || true)
    left_out=$(cat "$NGINX_DIR/left-out" 2>/dev/null || true)
    remaining=$(printf '%s\n' "$known" "$found" | awk -v rounds="$FORGET_ROUNDS" -v left_out=" $left_out " '
        NF == 2 { missing[$1] = $2 + 1 }
        NF == 1 { missing[$1] = 0 }
        END {
            for (address in missing)
                if (missing[address] < rounds && !index(left_out, " " address " ")) print address, missing[address]
        }' | sort)
    # The last addresses are never removed: if no name has one, probably all replicas are restarting.
    [ -n "$remaining" ] || return 0
    known=$remaining
}

# Print a `server` line for each known address, with these parameters. With max_fails=0 nginx never regards a replica
# as down. Otherwise it would avoid one that has just restarted, even if the others stop meanwhile. least_conn avoids a
# replica that hangs, because its connections accumulate.
print_servers() {
    echo "$known" | awk -v parameters="$1" '{ print "server " $1 " " parameters ";" }'
}

# Set REAL_IP_LINES and BALANCER_LINES; fail if a word of NGINX_TRUSTED_BALANCER is no IPv4 or IPv6 network.
read_balancers() {
    balancers=$(echo "$NGINX_TRUSTED_BALANCER" | tr ',' ' ' | awk '
        function is_number(text, maximum) { return text ~ /^[0-9][0-9]?[0-9]?$/ && text + 0 <= maximum }
        function is_ipv4(text,    parts, count, i) {
            count = split(text, parts, ".")
            for (i = 1; i <= count; i++) if (!is_number(parts[i], 255)) return 0
            return count == 4
        }
        # At most eight groups of up to four digits, of which "::" replaces some.
        function is_ipv6(text,    parts, count, i, gaps) {
            if (text ~ /[^0-9A-Fa-f:]/) return 0
            gaps = gsub(/::/, ":x:", text)
            sub(/^:x/, "x", text)
            sub(/x:$/, "x", text)
            count = split(text, parts, ":")
            for (i = 1; i <= count; i++) if (parts[i] !~ /^([0-9A-Fa-f][0-9A-Fa-f]?[0-9A-Fa-f]?[0-9A-Fa-f]?|x)$/) return 0
            return gaps ? gaps == 1 && count <= 8 : count == 8
        }
        {
            for (field = 1; field <= NF; field++) {
                words = split($field, network, "/")
                bits = is_ipv4(network[1]) ? 32 : is_ipv6(network[1]) ? 128 : -1
                if (bits < 0 || words > 2 || (words == 2 && !is_number(network[2], bits))) exit 1
                print $field
            }
        }') || return 1
    REAL_IP_LINES=$(for network in $balancers; do printf 'set_real_ip_from %s; ' "$network"; done)
    BALANCER_LINES=$(for network in $balancers; do printf '%s 1; ' "$network"; done)
}

# Print a JSON line for the log, and end.
fail() {
    printf '{"time":"%s","level":"error","logger":"nginx","event":"invalid setting","detail":"%s"}\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" "$1" >&2
    exit 1
}

# Set LISTEN and TLS_PORT: with TLS if there is a certificate.
choose_listen() {
    LISTEN="listen $NGINX_LISTEN;"
    TLS_PORT=
    if [ -e "$NGINX_TLS_DIR/fullchain.pem" ] && [ -e "$NGINX_TLS_DIR/privkey.pem" ]; then
        LISTEN="$LISTEN listen $NGINX_TLS_LISTEN ssl;
            ssl_certificate $NGINX_TLS_DIR/fullchain.pem; ssl_certificate_key $NGINX_TLS_DIR/privkey.pem;"
        TLS_PORT=$HTTPS_PORT
        # nginx before 1.25.1 lacks this directive and then serves HTTP/1.1 only.
        case $(nginx -v 2>&1) in
            *nginx/1.1?.* | *nginx/1.2[0-4].*) ;;
            *) LISTEN="$LISTEN http2 on;" ;;
        esac
    fi
}

# Write a new configuration and succeed if the replicas or the certificate have changed.
has_changed() {
    find_replicas
    PROBE_SERVER_LINES=$(print_servers "max_fails=0")
    APP_SERVER_LINES=$(print_servers "max_fails=0 max_conns=$NGINX_APP_CONNECTIONS")
    ONCE_SERVER_LINES=$(print_servers "max_fails=1 fail_timeout=1s max_conns=$NGINX_APP_CONNECTIONS")
    certificate=$(cat "$NGINX_TLS_DIR/fullchain.pem" "$NGINX_TLS_DIR/privkey.pem" 2>/dev/null | sha256sum)
    [ "$PROBE_SERVER_LINES $certificate" != "$state" ] || return 1
    choose_listen
    # In this order, because is_used() reads the list when the new configuration is in place.
    write old-workers find_workers || return 1
    write nginx.conf render || return 1
    state="$PROBE_SERVER_LINES $certificate"
}

# Look for changes until nginx ends.
watch() {
    while sleep "$NGINX_WATCH_SECONDS" && kill -0 $$ 2>/dev/null; do
        if has_changed; then
            kill -HUP $$
            printf '{"time":"%s","level":"info","logger":"nginx","event":"reload","addresses":"%s"}\n' \
                "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" "$(echo "$known" | awk '{ printf "%s%s", sep, $1; sep = " " }')"
        fi
        write last-round date +%s
    done
}

# Start the loop again if it has failed.
keep_watching() {
    while kill -0 $$ 2>/dev/null; do
        (watch) || sleep "$NGINX_WATCH_SECONDS"
    done
}

# Succeed if nginx may still send a request to one of these addresses: it is in the configuration, or a worker with an
# older configuration has not ended.
is_used() {
    for address; do
        ! grep -q "^ *server $address " "$NGINX_DIR/nginx.conf" || return 0
    done
    for worker in $(cat "$NGINX_DIR/old-workers"); do
        [ ! -e "/proc/$worker" ] || return 0
    done
    return 1
}

# Remove these addresses from nginx, and add all others again; fail if nginx has not done so in time.
leave_out() {
    write left-out echo "$*"
    deadline=$(($(date +%s) + LEAVE_OUT_SECONDS))
    while is_used "$@"; do
        if [ "$(date +%s)" -gt "$deadline" ]; then
            write left-out echo
            echo "nginx still sends requests to one of: $*" >&2
            return 1
        fi
        sleep "$NGINX_WATCH_SECONDS"
    done
}

case "${1:-}" in
    health) check_health; exit ;;
    leave-out) shift; leave_out "$@"; exit ;;
esac
# The value itself may not be valid in JSON.
read_balancers || fail "NGINX_TRUSTED_BALANCER must be IP addresses or networks, separated by blanks or commas."
mkdir -p "$NGINX_DIR"
has_changed
write last-round date +%s
keep_watching &
exec nginx -e stderr -p "$NGINX_DIR/" -c "$NGINX_DIR/nginx.conf" -g "daemon off;"
