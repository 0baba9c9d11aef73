#!/usr/bin/env bash
# gcc: brim's own source compiled with debug information, then again with link-time optimisation in parallel
# jobs, and linked. Besides the driver this runs cc1, as, collect2, ld, lto-wrapper, lto1 and make.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
# shellcheck source=tests/preload/compilers.bash
. "$source_folder/tests/preload/compilers.bash"
need_program gcc gcc
need_program make make

require_served "$(gcc -print-prog-name=cc1)" --version
compile_both brim.o gcc "${allocator_flags[@]}" -O3 -g -c "$allocator_source" -o brim.o
compile_both brim.s gcc "${allocator_flags[@]}" -O2 -S -fverbose-asm -fno-inline "$allocator_source" -o brim.s

cat >main.c <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    size_t total = 0;
    for (size_t size = 1; size < 4000; size++) {
        char *block = malloc(size);
        memset(block, (int)size, size);
        total += (unsigned char)block[size / 2];
        free(block);
    }
    printf("%zu\n", total);
}
C
# The seed names what link-time optimisation would else name at random.
compile_both lto.so gcc "${allocator_flags[@]}" -O2 -flto=2 -frandom-seed=1 -shared -Wl,--build-id=sha1 \
    "$allocator_source" -o lto.so
compile_both main gcc -O2 -flto=2 -frandom-seed=1 main.c -o main
run_built main
require_on_brim '.*-gcc-[0-9]+' cc1 '.*-as' '.*-ld(.bfd)?' collect2 lto1 lto-wrapper
