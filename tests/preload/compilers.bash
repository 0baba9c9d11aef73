# shellcheck shell=bash
# compilers.bash: what gcc.sh, gxx.sh and clang.sh share: compiling the same thing with and without brim. The
# compilers promise the same object for the same input, and a lost or doubled byte anywhere in their heap
# would most likely show in it. To be sourced after common.bash.

# The allocator itself, built the way that it is shipped.
# shellcheck disable=SC2154 # set by common.bash
allocator_source=$source_folder/allocator/brim.c
# shellcheck disable=SC2034
allocator_flags=(-std=gnu17 -D_GNU_SOURCE -I"$source_folder/allocator/include" -fPIC -fvisibility=hidden
    -ftls-model=initial-exec -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free)
template_source=$source_folder/tests/preload/inputs/templates.cpp
[[ -r $allocator_source && -r $template_source ]] || fail "no sources in $source_folder"

# compile_both NAME COMMAND...: COMMAND writes NAME. Leaves NAME.with and NAME.without, which are equal.
compile_both() {
    local name=$1 way
    shift
    # The same names in the same folder both times: debug information records them.
    for way in with without; do
        rm -f "$name"
        "${way}_brim" "$@"
        mv "$name" "$name.$way"
    done
    same "$name.with" "$name.without" "what $1 makes of $name"
}

# run_built NAME: the program that was linked under brim runs, and prints what its twin prints.
run_built() {
    chmod +x "$1.with" "$1.without"
    with_brim "./$1.with" >"$1.with.output"
    without_brim "./$1.without" >"$1.without.output"
    same "$1.with.output" "$1.without.output"
}
