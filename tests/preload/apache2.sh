#!/usr/bin/env bash
# apache2: a daemon that forks itself into the background and then into workers of many threads, serves files
# and compressed listings to concurrent clients, replaces its workers on a graceful restart, and stops. The
# answers must be what it gives without brim.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program apache2 apache2-bin
need_program curl curl

modules=/usr/lib/apache2/modules
mkdir documents
corpus documents/large.txt 3000000
for n in $(seq 200); do
    dd if=documents/large.txt of="documents/part$n.txt" bs=4000 skip="$n" count=1 status=none
done
chmod -R a+rX documents
chmod a+x .

# start_server WAY: leaves its port in $port.
start_server() {
    local way=$1 attempt
    for attempt in $(seq 20); do
        port=$((10000 + (RANDOM + attempt * 977) % 20000))
        rm -rf "$way.run"
        mkdir "$way.run"
        cat >"$way.run/configuration" <<CONF
ServerRoot $work/$way.run
ServerName localhost
Listen 127.0.0.1:$port
PidFile $work/$way.run/pid
ErrorLog $work/$way.run/errors
DefaultRuntimeDir $work/$way.run
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule mime_module $modules/mod_mime.so
LoadModule dir_module $modules/mod_dir.so
LoadModule autoindex_module $modules/mod_autoindex.so
LoadModule deflate_module $modules/mod_deflate.so
LoadModule filter_module $modules/mod_filter.so
LoadModule headers_module $modules/mod_headers.so
LoadModule substitute_module $modules/mod_substitute.so
TypesConfig /dev/null
AddType text/plain .txt
StartServers 2
ThreadsPerChild 12
ServerLimit 4
KeepAlive Off
MaxRequestWorkers 48
MaxConnectionsPerChild 150
DocumentRoot $work/documents
<Directory $work/documents>
    Options +Indexes
    AddOutputFilterByType SUBSTITUTE;DEFLATE text/plain text/html
    Substitute "s/self/brim/n"
</Directory>
CONF
        [[ $(id -u) -ne 0 ]] || printf 'User nobody\nGroup nogroup\n' >>"$way.run/configuration"
        # It returns when the daemon has its socket; a taken port is its failure.
        if ("${way}_brim" apache2 -d "$work/$way.run" -f configuration -k start); then
            until [[ -s $way.run/pid ]]; do sleep 0.05; done
            background+=("$(cat "$way.run/pid")")
            return
        fi
    done
    fail "the server did not start"
}

# fetch WAY ROUND OPTION...: every document, over several connections at a time, each of which serves one (curl gives
# up when a server that replaces its workers has closed the idle connections that it would use again).
fetch() {
    local way=$1 round=$2 n
    shift 2
    mkdir -p "$way/$round"
    for n in $(seq 200); do
        printf 'url=http://127.0.0.1:%s/part%s.txt\noutput=%s/%s/part%s\n' "$port" "$n" "$way" "$round" "$n"
    done >requests
    printf 'url=http://127.0.0.1:%s/\noutput=%s/%s/listing\n' "$port" "$way" "$round" >>requests
    printf 'url=http://127.0.0.1:%s/large.txt\noutput=%s/%s/large\n' "$port" "$way" "$round" >>requests
    "${way}_brim" curl --silent --show-error --no-progress-meter --fail "$@" --retry 3 --retry-connrefused \
        --parallel --parallel-max 24 -K requests
}

require_served apache2 -v
for way in with without; do
    start_server "$way"
    fetch "$way" 1 --compressed
    "${way}_brim" apache2 -d "$work/$way.run" -f configuration -k graceful
    fetch "$way" 2 --range 10-2500
    process=$(cat "$way.run/pid")
    "${way}_brim" apache2 -d "$work/$way.run" -f configuration -k graceful-stop
    for _ in $(seq 600); do
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    ! kill -0 "$process" 2>/dev/null || fail "the server did not stop"
    background=()
    check_log "$way.run/errors"
    if grep -E 'exit signal|AH00051|AH00052' "$way.run/errors" >&2; then
        fail "a worker of the server died"
    fi
done
same with without "what the server answered"
[[ $(find with -type f | wc -l) -eq 404 ]] || fail "answers are missing"
grep -q brim with/1/large || fail "the server's filter did nothing"
require_on_brim apache2 curl
