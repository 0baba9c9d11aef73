#!/usr/bin/env bash
# redis-server on a free port of the loopback: strings, lists, sets, sorted sets, hashes and streams loaded by
# a script inside the server, snapshots and rewrites by forked children while redis-benchmark drives it, a
# reload of everything, and background freeing. The digest of the data must be what a server without brim has.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program redis-cli redis-tools
need_program redis-benchmark redis-tools

# redis-tools holds the server too, under another name; only the link comes from the package that also starts
# one.
ln -s "$(readlink -f /usr/bin/redis-check-rdb)" redis-server
require_served ./redis-server --version

cat >load.lua <<'LUA'
local seed = tonumber(ARGV[1])
local function random(n)
    seed = (seed * 16807) % 2147483647
    return seed % n
end
for i = 1, 6000 do
    redis.call('SET', 'string:' .. random(9000), string.rep('v' .. i, random(60)))
    redis.call('APPEND', 'grown:' .. random(50), string.rep('x', random(100)))
    redis.call('RPUSH', 'list:' .. random(100), i, string.rep('e', random(90)))
    redis.call('HSET', 'hash:' .. random(300), 'field' .. random(200), i, 'text' .. random(50),
        string.rep('h', random(70)))
    redis.call('SADD', 'set:' .. random(60), 'member' .. random(3000), i)
    redis.call('ZADD', 'sorted:' .. random(40), random(100000), 'member' .. random(4000))
    redis.call('XADD', 'stream:' .. random(10), i .. '-1', 'field', string.rep('s', random(40)))
    redis.call('SETRANGE', 'range:' .. random(20), random(20000), 'here')
    if i % 3 == 0 then
        redis.call('LPOP', 'list:' .. random(100))
        redis.call('DEL', 'string:' .. random(9000), 'hash:' .. random(300))
        redis.call('UNLINK', 'set:' .. random(60))
    end
end
return redis.call('DBSIZE')
LUA

# start_server WAY: leaves its port in $port.
start_server() {
    local way=$1 attempt process
    mkdir -p "$work/$way.folder"
    for attempt in $(seq 20); do
        port=$((10000 + (RANDOM + attempt * 977) % 20000))
        "${way}_brim" ./redis-server --port "$port" --bind 127.0.0.1 --dir "$work/$way.folder" --save '' \
            --appendonly yes --appendfsync no --enable-debug-command local --maxmemory-policy noeviction \
            --io-threads 2 --lazyfree-lazy-user-del yes >"$work/$way.server" &
        process=$!
        background+=("$process")
        until [[ $(client PING 2>&1) == PONG ]]; do
            kill -0 "$process" 2>/dev/null || continue 2
            sleep 0.05
        done
        # Somebody else's server may have had the port first, and answered.
        [[ $(client CONFIG GET dir | tail -n 1) == "$work/$way.folder" ]] && { server=$process; return; }
        kill "$process" 2>/dev/null || true
    done
    cat "$work/$way.server" >&2
    fail "the server did not start"
}

client() {
    timeout "$run_limit" redis-cli -p "$port" "$@"
}

# Waits until no child of the server is at work; FIELD says how the last one ended.
child_done() {
    local field=$1
    until client INFO persistence | tr -d '\r' >"$work/persistence" &&
        grep -q '^rdb_bgsave_in_progress:0' "$work/persistence" &&
        grep -q '^aof_rewrite_in_progress:0' "$work/persistence" &&
        grep -q '^aof_rewrite_scheduled:0' "$work/persistence"; do
        kill -0 "$server" 2>/dev/null || fail "the server is gone"
        sleep 0.05
    done
    grep -q "^$field:ok" "$work/persistence" ||
        fail "a child of the server failed: $(grep "^$field" "$work/persistence")"
}

for way in with without; do
    start_server "$way"
    for seed in 11 22 33; do
        client --eval load.lua , "$seed"
    done >"$way.result"
    if [[ $way == with ]]; then
        # Another database: what concurrent clients leave there depends on their order.
        with_brim redis-benchmark -p "$port" -q --dbnum 1 --threads 2 -c 40 -n 20000 -P 8 -d 150 -r 20000 \
            -t set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100 >benchmark.1 &
        benchmark=$!
        client BGSAVE >>bgsave.reply
        child_done rdb_last_bgsave_status
        client BGREWRITEAOF >>bgsave.reply
        child_done aof_last_bgrewrite_status
        wait "$benchmark" || fail "redis-benchmark"
        [[ $(tr '\r' '\n' <benchmark.1 | grep -c 'requests per second') -ge 9 ]] ||
            fail "redis-benchmark left some tests out"
        [[ $(client -n 1 LLEN mylist) -gt 0 && $(client -n 1 DBSIZE) -gt 100 ]] ||
            fail "redis-benchmark left nothing behind"
    fi
    client -n 1 FLUSHDB ASYNC >/dev/null
    {
        client DEBUG DIGEST
        client SAVE
        client DEBUG RELOAD
        client DEBUG DIGEST
        client DEBUG LOADAOF
        client DEBUG DIGEST
        client SORT list:7 ALPHA
        client OBJECT ENCODING sorted:3
        client ZRANGE sorted:3 0 -1 WITHSCORES
        client HGETALL hash:77
        client XLEN stream:4
    } >>"$way.result"
    # The server closes the connection instead of answering.
    client SHUTDOWN NOSAVE || true
    wait "$server" || fail "the server did not end well"
    check_log "$work/$way.server"
done
background=()
same with.result without.result
[[ $(grep -xE '[0-9a-f]{40}' with.result | uniq -c | tr -s ' ') == ' 3 '* ]] ||
    fail "the digest changed over a reload"
require_on_brim redis-check-rdb redis-benchmark
