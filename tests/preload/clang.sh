#!/usr/bin/env bash
# clang: brim's own source and a file of templates. One process compiles and assembles, with LLVM's own block
# and arena allocators on top of malloc and operator new.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
# shellcheck source=tests/preload/compilers.bash
. "$source_folder/tests/preload/compilers.bash"
need_program clang clang
need_program clang++ clang

require_served clang --version
compile_both brim.o clang "${allocator_flags[@]}" -O3 -g -c "$allocator_source" -o brim.o
compile_both templates clang++ -std=c++17 -O0 "$template_source" -o templates
run_built templates
require_on_brim clang templates.with
