#!/usr/bin/env bash
# xz: compression and decompression in threads, block by block. The blocks are cut by size, so that the
# compressed file is the same whatever the threads' order.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program xz xz-utils

corpus "$work/text" 7000000
require_served xz --version
compare_output xz --threads=4 --block-size=1MiB -4 --stdout "$work/text"
with_brim xz --threads=4 --decompress --stdout with/stdout >back
same text back "what xz makes of its own output"
with_brim xz --test --memlimit-decompress=64MiB with/stdout
[[ $(without_brim xz --list --robot --verbose with/stdout | grep -c '^block') -eq 7 ]] ||
    fail "not compressed in blocks"
require_on_brim xz
