#!/usr/bin/env bash
# sampled: real programs with every block guarded, and one in a hundred: what they do must be the same, and nothing
# of it is a mistake.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program python3 python3
need_program perl perl
need_program sqlite3 sqlite3
need_program gcc gcc
export PYTHONMALLOC=malloc PYTHONHASHSEED=1 PYTHONDONTWRITEBYTECODE=1

corpus "$work/text" 200000
cat >words.py <<'PY'
import collections, concurrent.futures, hashlib, json, multiprocessing, re, sys
text = open(sys.argv[1], encoding="utf8", errors="replace").read()
count = collections.Counter(re.findall(r"\w+", text))
print(hashlib.sha256(json.dumps(sorted(count.items())).encode()).hexdigest())
def churn(seed):
    kept, state = {}, seed
    for i in range(3000):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        kept[state >> 55] = bytes([i % 256]) * (state >> 40 & 1023)
    return hashlib.sha256(b"".join(kept[key] for key in sorted(kept))).hexdigest()
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(*pool.map(churn, range(8)))
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(*pool.map(churn, range(4)))
PY
cat >words.pl <<'PERL'
my (%count, @lines);
while (<>) { push @lines, $_; $count{$1}++ while /(\w+)/g }
print "$_ $count{$_}\n" for sort keys %count;
print scalar reverse join "", sort @lines;
PERL
cat >table.sql <<'SQL'
create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000) insert into t select i, 'text' || i * 7919 % 1007 from n;
create index t_b on t(b);
select b, count(*) from t group by b order by 2 desc, 1 limit 20;
update t set b = b || 'x' where a % 3 = 0;
select group_concat(b) from t where a < 500;
SQL
cat >program.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) { char *line = strdup("one line"); printf("%s %d\n", line, atoi("42")); free(line); return 0; }
C

for interval in 1 100; do
    # with_brim runs what this array begins.
    on_brim+=(BRIM_SAMPLE_GUARD="$interval")
    compare_output /usr/bin/python3 "$work/words.py" "$work/text"
    compare_output perl "$work/words.pl" "$work/text"
    compare_output sqlite3 :memory: ".read $work/table.sql"
    compare_output gcc -O1 -S -o - "$work/program.c"
done
require_on_brim 'python3[.0-9]*' perl sqlite3 cc1
