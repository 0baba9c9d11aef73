#!/usr/bin/env bash
# sort in threads, and gawk: a large buffer filled and merged by several threads, then spilled and merged from
# files, and an interpreter whose associative arrays are all small blocks.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program sort coreutils
need_program gawk gawk

corpus "$work/text" 8000000
cat >work.sh <<'SH'
set -euo pipefail
tr -cs 'A-Za-z_' '\n' <"$1" >words
sort --parallel=4 -S 40M words | sha256sum
sort --parallel=4 -S 1M -T . --batch-size=8 -s -k1.3,1.6 -r words | sha256sum
sort --parallel=3 -u -S 30M "$1" | comm -12 - <(sort -u "$1") | wc -l
gawk '{ count[$0]++; at[$0] = at[$0] "," NR % 1000 }
    END {
        n = asorti(count, order)
        for (i = 1; i <= n; i++) {
            print order[i], count[order[i]], length(at[order[i]])
            delete at[order[i]]
        }
    }' words | sha256sum
gawk --bignum 'BEGIN { for (x = i = 1; i < 700; i++) x *= i; print x }'
gawk '{ gsub(/[a-z]+/, "<&>"); n += split($0, part, /[_.]/); $3 = toupper($1) } END { print n, $0 }' "$1"
uniq -c words | wc -c
rm words
SH
require_served sort --version
require_served gawk --version
compare_output bash "$work/work.sh" "$work/text"
require_on_brim sort gawk
