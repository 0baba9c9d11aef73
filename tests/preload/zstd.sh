#!/usr/bin/env bash
# tar and zstd -T0: an archive of many small files, compressed in threads, at a high level with long matches,
# with a trained dictionary, and unpacked again. What is written depends on the job size only, not on the
# threads' order.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program zstd zstd
need_program tar tar

mkdir tree
corpus text 6000000
split --bytes=9000 --suffix-length=4 --additional-suffix=.txt text tree/
cat >work.sh <<'SH'
set -euo pipefail
tar --create --sort=name --mtime=@0 --owner=0 --group=0 --use-compress-program='zstd -T0 -5' \
    --file=tree.tar.zst -C "$1" tree
tar --extract --file=tree.tar.zst
diff -r tree "$1/tree"
rm -r tree
zstd -q -T0 -8 -B1M --long=24 "$1/text" -o long.zst
zstd -q -d --long=24 -c long.zst | cmp - "$1/text"
zstd -q --train -r "$1/tree" --maxdict=20000 -T2 -o dictionary
zstd -q -D dictionary -c "$1/tree/aaaa.txt" >small.zst
zstd -q -d -D dictionary -c small.zst | cmp - "$1/tree/aaaa.txt"
zstd -q --ultra -19 -T2 -c "$1"/tree/aaa*.txt >high.zst
zstd --list *.zst | wc -l
SH
require_served zstd --version
require_served tar --version
compare_output bash "$work/work.sh" "$work"
require_on_brim zstd tar
