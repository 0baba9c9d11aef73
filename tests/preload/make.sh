#!/usr/bin/env bash
# make -j: a build of many small files. Hundreds of short processes, several at a time, each forked from a
# parent with a heap: make, the shell, the compiler driver and all that it starts, ar, and the linker.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program make make
need_program gcc gcc

for n in $(seq 40); do
    cat >"part$n.c" <<C
#include <stdio.h>
#include "parts.h"
static const char *name = "part $n";
int part$n(int x) { return snprintf(NULL, 0, "%s %d", name, x) * $n + x % $n; }
C
    echo "int part$n(int x);" >>parts.h
done
{
    printf '#include <stdio.h>\n#include "parts.h"\nint main(void)\n{\n    int x = 1;\n'
    for n in $(seq 40); do echo "    x += part$n(x);"; done
    printf '    printf("%%d\\n", x);\n}\n'
} >main.c
cat >Makefile <<'MAKE'
parts := $(patsubst %.c,%.o,$(wildcard part*.c))
program: main.o libparts.a
	$(CC) -o $@ $^
libparts.a: $(parts)
	ar rcsD $@ $^
%.o: %.c parts.h
	@for word in compiling $< to $@; do printf '%s ' $$word; done | tr a-z A-Z >$@.log
	$(CC) -O1 -c -o $@ $<
MAKE

require_served make --version
for way in with without; do
    mkdir "$way"
    cp ./*.c parts.h Makefile "$way/"
    # In the same place both times, as the outputs may name it.
    mv "$way" build
    "${way}_brim" make -C build --no-print-directory -j6 --output-sync >"$way.output"
    mv build "$way"
    sort -o "$way.output" "$way.output"
done
same with without "what make built"
same with.output without.output
with_brim with/program >with.sum
without_brim without/program >without.sum
same with.sum without.sum
require_on_brim make dash cc1 '.*-as' '.*-ar' program
