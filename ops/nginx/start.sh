#!/bin/sh
# Starts nginx with the project's nginx.conf, and reloads it when the replicas or the certificate change.
#
#   start.sh                            start nginx
#   start.sh leave-out [HOST:PORT ...]  remove these replicas from nginx, add all others again, and wait until no request
#                                       to the removed ones is in flight; without arguments, add all again
#   start.sh health                     the container's health check
#   start.sh test                       test the settings and the certificate, and name what nginx does not accept
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
# The folder of the certificate: fullchain.pem and privkey.pem in it turn TLS on. nginx uses a copy of them in NGINX_DIR.
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
# Checksums of the certificate's files: of those that are there, and of the last ones that nginx has accepted.
files=
accepted=
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
    if [ -e "$NGINX_DIR/unusable" ]; then
        cat "$NGINX_DIR/refused"
        return 1
    fi
}

# Write a line of JSON to the log: level, event, name of a further member, its value.
log() {
    printf '{"time":"%s","level":"%s","logger":"nginx","event":"%s","%s":"%s"}\n' "$(date -u +%Y-%m-%dT%H:%M:%S+00:00)" \
        "$1" "$2" "$3" "$(printf %s "$4" | tr '\t\n' '  ' | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')"
}

# Replace the content of a file in one step by the output of a command, if that succeeds.
write() {
    file=$NGINX_DIR/$1
    shift
    "$@" >"$file.new" && mv "$file.new" "$file"
}

# Print the template with each ${NAME} replaced by the variable of that name. The lines keep their numbers.
render() {
    awk '{
        while (match($0, /\$\{[A-Z_]+\}/)) {
            value = ENVIRON[substr($0, RSTART + 2, RLENGTH - 3)]
            gsub(/\n/, " ", value)
            printf "%s%s", substr($0, 1, RSTART - 1), value
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

# Set the lines of the three upstreams: for probes, for requests, and for requests that are sent only once.
choose_servers() {
    PROBE_SERVER_LINES=$(print_servers "max_fails=0")
    APP_SERVER_LINES=$(print_servers "max_fails=0 max_conns=$NGINX_APP_CONNECTIONS")
    ONCE_SERVER_LINES=$(print_servers "max_fails=1 fail_timeout=1s max_conns=$NGINX_APP_CONNECTIONS")
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

# Set LISTEN and TLS_PORT: with TLS if there is a certificate in this folder in NGINX_DIR.
choose_listen() {
    LISTEN="listen $NGINX_LISTEN;"
    TLS_PORT=
    [ ! -e "$NGINX_DIR/unusable" ] || TLS_PORT=$HTTPS_PORT
    if [ -e "$NGINX_DIR/$1" ]; then
        TLS_PORT=$HTTPS_PORT
        LISTEN="$LISTEN listen $NGINX_TLS_LISTEN ssl;
            ssl_certificate $NGINX_DIR/$1/fullchain.pem; ssl_certificate_key $NGINX_DIR/$1/privkey.pem;"
        # nginx before 1.25.1 lacks this directive and then serves HTTP/1.1 only.
        case $(nginx -v 2>&1) in
            *nginx/1.1?.* | *nginx/1.2[0-4].*) ;;
            *) LISTEN="$LISTEN http2 on;" ;;
        esac
    fi
}

# Succeed if nginx accepts the configuration with the certificate in this folder of NGINX_DIR; set `problem` otherwise.
is_accepted() {
    choose_listen "$1"
    write test.conf render
    if problem=$(nginx -t -q -e stderr -p "$NGINX_DIR/" -c "$NGINX_DIR/test.conf" 2>&1); then
        return 0
    fi
    reason=$(printf '%s\n' "$problem" | sed -nE -e "s|$NGINX_DIR/$1/|$NGINX_TLS_DIR/|g" \
        -e 's/.*\[emerg\] ([0-9]+#[0-9]+: )?//p' | head -n 1)
    # Add the variables in that line of the template; in place of computed ones, those on which they depend.
    line=$(printf '%s\n' "$reason" | sed -n 's/.* in [^ ]*test\.conf:\([0-9]*\)$/\1/p')
    names=$([ -z "$line" ] || sed -n "${line}p" "$template" | grep -o '\${[A-Z_]*}' | sed -E -e 's/[${}]//g' -e 's/$/: /' \
        -e 's/^(APP|ONCE)_SERVER_LINES/NGINX_APP_CONNECTIONS/' -e 's/^PROBE_SERVER_LINES/APP_SERVERS/' \
        -e 's/^(REAL_IP|BALANCER)_LINES/NGINX_TRUSTED_BALANCER/' -e 's/^LISTEN/NGINX_LISTEN or NGINX_TLS_LISTEN/')
    problem=$names${reason:-$problem}
    return 1
}

# Succeed if the folder of the certificate, or one of its files, exists but cannot be read, or if a file exists.
has_files() {
    [ -e "$NGINX_TLS_DIR" ] || return 1
    [ -x "$NGINX_TLS_DIR" ] || return 0
    for file in "$NGINX_TLS_DIR/fullchain.pem" "$NGINX_TLS_DIR/privkey.pem"; do
        # -L: a link to a file that does not exist here.
        if [ -e "$file" ] || [ -L "$file" ]; then
            return 0
        fi
    done
    return 1
}

# Copy the certificate's files, and use the copy from now on if nginx accepts it. Otherwise keep what works, set `problem`
# and fail. Without files, TLS stays as it is: on until nginx is started again, or off.
take_certificate() {
    new=$NGINX_DIR/tls.new
    rm -rf "$new" "$NGINX_DIR/refused"
    if [ ! -e "$NGINX_DIR/tls" ] && ! has_files; then
        rm -f "$NGINX_DIR/unusable"
        return 0
    fi
    if problem=$(umask 077 && mkdir "$new" && cat "$NGINX_TLS_DIR/fullchain.pem" 2>&1 >"$new/fullchain.pem" &&
        cat "$NGINX_TLS_DIR/privkey.pem" 2>&1 >"$new/privkey.pem") && is_accepted tls.new; then
        rm -rf "$NGINX_DIR/tls" "$NGINX_DIR/unusable"
        mv "$new" "$NGINX_DIR/tls"
        return 0
    fi
    rm -rf "$new"
    write refused echo "$problem"
    return 1
}

# Write a new configuration and succeed if the replicas or the certificate have changed.
has_changed() {
    find_replicas
    choose_servers
    # Error messages are included, because the files may become readable without a change of their content.
    found=$(cat "$NGINX_TLS_DIR/fullchain.pem" "$NGINX_TLS_DIR/privkey.pem" 2>&1 | sha256sum)
    if [ "$found" != "$files" ]; then
        files=$found
        if take_certificate; then
            accepted=$found
        else
            log error "certificate refused" reason "$problem"
        fi
        write metrics print_metrics || true
    fi
    [ "$PROBE_SERVER_LINES $accepted" != "$state" ] || return 1
    choose_listen tls
    # In this order, because is_used() reads the list when the new configuration is in place.
    write old-workers find_workers || return 1
    write nginx.conf render || return 1
    state="$PROBE_SERVER_LINES $accepted"
}

# Print the metrics of the certificate; none without one.
print_metrics() {
    if [ -e "$NGINX_DIR/refused" ] || [ -e "$NGINX_DIR/tls" ]; then
        echo "# TYPE gatepost_tls_files_accepted gauge"
        echo "gatepost_tls_files_accepted $([ -e "$NGINX_DIR/refused" ] && echo 0 || echo 1)"
    fi
    if [ -e "$NGINX_DIR/tls" ]; then
        echo "# TYPE gatepost_tls_expiry_timestamp_seconds gauge"
        echo "gatepost_tls_expiry_timestamp_seconds $(read_expiry "$NGINX_DIR/tls/fullchain.pem" || echo NaN)"
    fi
}

# Print when the first certificate in a file expires, in seconds since the epoch. nginx's image contains no openssl. The
# validity is a sequence of two times, UTCTime until 2049 and GeneralizedTime later (RFC 5280, section 4.1.2.5).
read_expiry() {
    time='(170d(3[0-9]){12}|180f(3[0-9]){14})5a'
    digits=$(sed -n '/-----BEGIN .*CERTIFICATE/,/-----END/p; /-----END .*CERTIFICATE/q' "$1" | grep -v -e '-----' | base64 -d | od -An -v -tx1 | tr -d ' \n' |
        grep -oE "30(1e|20|22)$time$time" | head -n 1 | sed -E -e 's/.*(170d|180f)//' -e 's/5a$//' -e 's/3(.)/\1/g')
    case ${#digits} in
        12) digits=20$digits ;;
        14) ;;
        *) return 1 ;;
    esac
    date -u -d "$(echo "$digits" | sed -E 's/(....)(..)(..)(..)(..)(..)/\1-\2-\3 \4:\5:\6/')" +%s
}

# Look for changes until nginx ends.
watch() {
    while sleep "$NGINX_WATCH_SECONDS" && kill -0 $$ 2>/dev/null; do
        if has_changed; then
            kill -HUP $$
            log info reload addresses "$(echo "$known" | awk '{ printf "%s%s", sep, $1; sep = " " }')"
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
        ! grep -q "server $address " "$NGINX_DIR/nginx.conf" || return 0
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
    test)
        NGINX_DIR=$(mktemp -d)
        trap 'rm -rf "$NGINX_DIR"' EXIT
        ;;
esac
read_balancers || {
    log error "settings refused" reason "NGINX_TRUSTED_BALANCER: must be IP addresses or networks, separated by blanks or commas"
    exit 1
}
mkdir -p "$NGINX_DIR"
choose_servers
if ! is_accepted no-certificate; then
    log error "settings refused" reason "$problem"
    exit 1
fi
if [ "${1:-}" = test ]; then
    take_certificate || { log error "certificate refused" reason "$problem"; exit 1; }
    exit
fi
# With files that nginx does not accept it starts without TLS, and uses them as soon as they are corrected. Meanwhile
# plain HTTP redirects to TLS, as it does with a certificate: nothing but probes is served unencrypted.
rm -rf "$NGINX_DIR/tls" "$NGINX_DIR/unusable"
! has_files || : >"$NGINX_DIR/unusable"
has_changed
write last-round date +%s
keep_watching &
exec nginx -e stderr -p "$NGINX_DIR/" -c "$NGINX_DIR/nginx.conf" -g "daemon off;"
