#!/usr/bin/env bash
# g++: a file of templates, whose instantiation is millions of small blocks in one compiler process; then the
# program is linked and run, so that C++ containers run on brim too.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
# shellcheck source=tests/preload/compilers.bash
. "$source_folder/tests/preload/compilers.bash"
need_program g++ g++

require_served "$(g++ -print-prog-name=cc1plus)" --version
compile_both templates.o g++ -std=c++17 -O0 -c "$template_source" -o templates.o
cp templates.o.with templates.o
compile_both templates g++ templates.o -o templates
run_built templates
require_on_brim cc1plus '.*-as' collect2 templates.with
