#!/usr/bin/env bash
# PostgreSQL: initdb with page checksums, a server on a socket in a temporary folder, a script of queries with
# parallel workers, spills to disk and compiled expressions, pgbench with several clients, a dump, a clean
# stop, and the check of every page. Not as root: the server refuses it.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program pg_lsclusters postgresql
programs=$(printf '%s\n' /usr/lib/postgresql/*/bin/ | sort -V | tail -n 1)
need_program "${programs}pgbench" postgresql
PATH=$programs:$PATH

as_user=()
if [[ $(id -u) -eq 0 ]]; then
    getent passwd postgres >/dev/null || fail "the package's user, postgres, is not here"
    as_user=(setpriv --reuid=postgres --regid=postgres --clear-groups --)
fi
export PGUSER=postgres PGDATABASE=postgres PGCONNECT_TIMEOUT=10 PGTZ=UTC PSQLRC=/dev/null

cat >work.sql <<'SQL'
\set ON_ERROR_STOP on
\pset pager off
SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0;
CREATE TABLE event(id bigint PRIMARY KEY, kind text, at timestamptz, amount numeric(12, 3), data jsonb,
    words text[]);
INSERT INTO event SELECT i, 'kind ' || i * 7919 % 97, timestamptz '2024-01-01 UTC' + i * interval '7 minutes',
    (i * 16807 % 1000003) / 1000.0,
    jsonb_build_object('n', i % 1000, 'name', md5(i::text), 'list', jsonb_build_array(i % 3, i % 7)),
    string_to_array(repeat('w' || i % 13 || ' ', i % 9), ' ')
    FROM generate_series(1, 25000) i;
SET max_parallel_maintenance_workers = 2; SET maintenance_work_mem = '8MB';
CREATE INDEX ON event(kind, at);
CREATE INDEX ON event USING gin(data jsonb_path_ops);
CREATE INDEX ON event USING brin(at);
ANALYZE event;
SELECT kind, count(*), sum(amount), md5(string_agg(md5(data::text), ',' ORDER BY id)) FROM event
    GROUP BY kind ORDER BY kind;
SELECT md5(string_agg(id || kind || amount, ';' ORDER BY amount, id)) FROM event;
SET work_mem = '128kB';
SELECT count(*), md5(string_agg(name, '' ORDER BY name))
    FROM (SELECT DISTINCT data ->> 'name' AS name FROM event) AS names;
SELECT a.kind, count(*), sum(b.amount) FROM event a JOIN event b ON b.id = a.id * 2
    GROUP BY 1 ORDER BY 3, 1 LIMIT 20;
RESET work_mem;
SELECT count(*) FROM event WHERE data @> '{"n": 77}';
SELECT id, lag(amount, 3) OVER w, percent_rank() OVER w FROM event
    WINDOW w AS (PARTITION BY kind ORDER BY amount, id) ORDER BY id LIMIT 50;
SELECT word, count(*) FROM event, unnest(words) AS word GROUP BY word ORDER BY 2 DESC, 1;
SELECT sum(length(m[1])) FROM event, regexp_matches(data::text, '([a-f]+)[0-9]', 'g') AS m WHERE id % 5 = 0;
CREATE FUNCTION churn(rounds int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    all_words text[] := '{}';
    text_so_far text := '';
BEGIN
    FOR i IN 1 .. rounds LOOP
        all_words := all_words || (i * 7919 % 1009)::text;
        text_so_far := text_so_far || all_words[i / 2 + 1] || chr(97 + i % 26);
        BEGIN
            IF i % 50 = 0 THEN RAISE EXCEPTION 'round %', i; END IF;
        EXCEPTION WHEN raise_exception THEN
            text_so_far := substr(text_so_far, 100) || SQLERRM;
        END;
    END LOOP;
    RETURN md5(text_so_far || array_to_string(all_words, ','));
END $$;
SELECT churn(2500);
SET jit = on; SET jit_above_cost = 0; SET jit_inline_above_cost = 0; SET jit_optimize_above_cost = 0;
SELECT sum(CASE WHEN amount > 500 THEN amount * 2 ELSE -amount END), max(length(kind) + id % 7) FROM event
    WHERE id % 3 <> 1;
RESET jit;
BEGIN;
UPDATE event SET amount = -amount, words = words || kind WHERE id % 4 = 0;
SAVEPOINT before;
DELETE FROM event WHERE id % 3 = 0;
ROLLBACK TO before;
DELETE FROM event WHERE id % 5 = 0;
COMMIT;
VACUUM FULL event;
REINDEX TABLE event;
SELECT count(*), sum(amount), sum(cardinality(words)) FROM event;
SQL

check_balances="SELECT (SELECT sum(abalance) FROM pgbench_accounts) = sum(delta)
    AND (SELECT sum(bbalance) FROM pgbench_branches) = sum(delta)
    AND (SELECT sum(tbalance) FROM pgbench_tellers) = sum(delta) AND count(*) = 1600 FROM pgbench_history"

require_served "${programs}postgres" --version
for way in with without; do
    run=("${way}_brim" "${as_user[@]}")
    folder=$work/$way.folder
    mkdir "$folder"
    [[ ${#as_user[@]} -eq 0 ]] || chown postgres "$folder"
    export PGHOST=$folder
    "${run[@]}" initdb -D "$folder/data" --data-checksums --no-sync --auth=trust --username=postgres \
        --encoding=UTF8 --locale=C.UTF-8 >"$way.initdb"
    "${run[@]}" postgres -D "$folder/data" -k "$folder" -c listen_addresses= -c fsync=off \
        -c max_connections=20 -c shared_buffers=32MB -c max_worker_processes=4 -c autovacuum_naptime=1s \
        >"$way.server" 2>"$way.log" &
    server=$!
    background=("$server")
    until pg_isready -q; do
        kill -0 "$server" 2>/dev/null || { cat "$way.log" >&2; fail "the server did not start"; }
        sleep 0.05
    done
    "${run[@]}" psql -q -At -f "$work/work.sql" >"$way.result"
    if [[ $way == with ]]; then
        "${run[@]}" pgbench -i -q -s 1 >pgbench.init 2>&1
        "${run[@]}" pgbench -n -c 4 -j 2 -t 400 -M prepared >pgbench.result
        "${run[@]}" pgbench -n -c 4 -j 2 -t 50 -C -S >>pgbench.result
        [[ $(grep -c 'number of failed transactions: 0' pgbench.result) -eq 2 ]] ||
            fail "pgbench: $(cat pgbench.result)"
        [[ $(psql -At -c "$check_balances") == t ]] || fail "the balances do not add up after pgbench"
        psql -q -c 'DROP TABLE pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history'
    fi
    # Each dump carries a key of its own against injected commands.
    "${run[@]}" pg_dump --no-sync | grep -vE '^\\(un)?restrict ' >"$way.dump"
    "${run[@]}" pg_ctl -s -D "$folder/data" -m fast -w stop
    wait "$server" || { cat "$way.log" >&2; fail "the server did not end well"; }
    background=()
    check_log "$way.log"
    if grep -E 'terminated by signal|PANIC|server process' "$way.log" >&2; then
        fail "a process of the server died"
    fi
    "${run[@]}" pg_checksums --check -D "$folder/data" | grep -E '^Bad checksums: *0$' >"$way.checksums"
    "${run[@]}" pg_controldata "$folder/data" | grep 'Database cluster state' >"$way.state"
done
grep -q 'shut down$' with.state || fail "no clean stop: $(cat with.state)"
same with.result without.result
same with.dump without.dump
require_on_brim initdb postgres psql pgbench pg_dump pg_ctl pg_checksums
