#!/usr/bin/env bash
# sqlite3: a database in a file and one in memory: inserts, indexes, joins, window functions, JSON, full-text
# search, recursive queries, sorting in threads, vacuum, a dump read back, and the integrity check. The query
# results and the file itself must be the same.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program sqlite3 sqlite3

cat >work.sql <<'SQL'
.bail on
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -8000;
PRAGMA threads = 4;
CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, city TEXT, document TEXT);
CREATE TABLE purchase(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customer, day INTEGER, amount REAL,
    note TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO customer SELECT i, printf('name %05d', i * 7919 % 20011), printf('city %03d', i * 31 % 211),
    json_object('id', i, 'tags', json_array(i % 3, i % 5, printf('%x', i)),
                'text', substr(hex(i * 982451653), 1, i % 16)) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
INSERT INTO purchase SELECT i, i * 48271 % 20000 + 1, i * 13 % 365, (i * 16807 % 100003) / 100.0,
    printf('%.*c%d', i % 60, 'n', i) FROM n;
COMMIT;
CREATE INDEX purchase_by_customer ON purchase(customer, day);
CREATE INDEX purchase_by_note ON purchase(note COLLATE NOCASE);
CREATE UNIQUE INDEX customer_by_name ON customer(name, id);
ANALYZE;
.print joins
SELECT city, count(*), round(sum(amount), 2), max(note) FROM customer JOIN purchase ON customer.id = customer
    GROUP BY city ORDER BY 3 DESC LIMIT 40;
SELECT c.name, group_concat(DISTINCT p.day) FROM customer c JOIN purchase p ON p.customer = c.id
    WHERE c.id % 1009 = 5 GROUP BY c.id ORDER BY c.name;
.print windows
SELECT day, round(total, 2),
    round(avg(total) OVER (ORDER BY day ROWS BETWEEN 6 PRECEDING AND CURRENT ROW), 2),
    rank() OVER (ORDER BY total DESC)
    FROM (SELECT day, sum(amount) AS total FROM purchase GROUP BY day) ORDER BY day;
.print json
SELECT json_extract(document, '$.tags[2]') AS tag, count(*), length(json_group_array(json(document)))
    FROM customer GROUP BY substr(tag, 1, 1) ORDER BY tag;
SELECT sum(length(value)) FROM customer, json_tree(customer.document) WHERE customer.id < 5000;
.print full text
CREATE VIRTUAL TABLE search USING fts5(body);
INSERT INTO search SELECT name || ' ' || city || ' ' || document FROM customer WHERE id % 3 = 0;
SELECT count(*), min(body) FROM search WHERE search MATCH 'city AND 042';
INSERT INTO search(search) VALUES('optimize');
.print changes
BEGIN;
UPDATE purchase SET note = note || note, amount = amount * 2 WHERE id % 7 = 0;
DELETE FROM purchase WHERE id % 5 = 0;
SAVEPOINT inner;
DELETE FROM customer WHERE id % 2 = 0;
ROLLBACK TO inner;
COMMIT;
SELECT count(*), round(sum(amount), 2), sum(length(note)) FROM purchase;
.print recursion
WITH RECURSIVE grid(x, y) AS (SELECT 1, 1 UNION SELECT x + 1, y FROM grid WHERE x < 120
    UNION SELECT x, y + 1 FROM grid WHERE y < 120)
SELECT count(*), sum(x * y), length(group_concat(x || ',' || y, ';')) FROM grid;
SELECT length(group_concat(note, '')), hex(substr(group_concat(note, ''), 1000000, 20))
    FROM (SELECT note FROM purchase ORDER BY note DESC, id);
VACUUM;
PRAGMA integrity_check;
PRAGMA foreign_key_check;
PRAGMA wal_checkpoint(TRUNCATE);
.once dump.sql
.dump
SQL

require_served sqlite3 --version
cat >work.sh <<'SH'
set -euo pipefail
sqlite3 data.db <"$1"
sqlite3 again.db <dump.sql
sqlite3 again.db 'PRAGMA integrity_check; SELECT count(*), total(amount) FROM purchase;'
sqlite3 again.db .dump | cmp - dump.sql
SH
compare_output bash "$work/work.sh" "$work/work.sql"
[[ $(grep -c '^ok$' with/stdout) -eq 2 ]] || fail "an integrity check did not say ok"
require_on_brim sqlite3
