# shellcheck shell=bash
# common.bash: what every script of this folder shares. Each script runs one program of Debian's on real work,
# with brim preloaded and without, and compares what came out. This file owns how a program gets onto brim,
# the proof that it is there, time limits, and that nothing (a process, a file) outlives the script.
#
# A script is started with BRIM_LIBRARY (libbrim.so.1) and BRIM_PROBE (the built probe.c) in the environment,
# as ctest does. It ends with status 0, 77 (a program is not installed) or another one (failure, with the
# reason).

set -euo pipefail

# Debian's programs are under test, not what a user put in front of them.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C.UTF-8 TZ=UTC HOME=/nonexistent
# Settings that change the allocator belong to the user's session, not to these runs.
unset LD_PRELOAD GLIBC_TUNABLES "${!MALLOC_@}"
for setting in "${!BRIM_@}"; do
    [[ $setting == BRIM_LIBRARY || $setting == BRIM_PROBE ]] || unset "$setting"
done

program=$(basename "$0" .sh)
# shellcheck disable=SC2034 # for the scripts that compile
source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Seconds that one run of a program may take; only a hang takes so long.
run_limit=${run_limit:-200}

fail() {
    printf '%s: %s\n' "$program" "$*" >&2
    exit 1
}

# need_program NAME PACKAGE: ends the script as skipped where Debian's PACKAGE is not installed.
need_program() {
    command -v "$1" >/dev/null && return
    printf 'skipped: no %s here (Debian package %s)\n' "$1" "$2"
    exit 77
}

work=$(mktemp -d "${TMPDIR:-/tmp}/brim-preload-$program.XXXXXX")
background=()

clean_up() {
    local status=$? process
    for process in "${background[@]}"; do
        kill "$process" 2>/dev/null || true
    done
    wait
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 143' TERM INT HUP

# Copies: the path of a build may hold a space or a colon, which LD_PRELOAD cannot, or be closed to other
# users.
for file in "${BRIM_LIBRARY:?path of libbrim.so.1}" "${BRIM_PROBE:?path of the built probe}"; do
    [[ -r $file ]] || fail "cannot read $file"
done
mkdir "$work/brim"
cp -L "$BRIM_LIBRARY" "$work/brim/libbrim.so.1"
cp -L "$BRIM_PROBE" "$work/brim/probe.so"
: >"$work/probe.log"
chmod -R a+rX "$work"
chmod a+w "$work/probe.log"
cd "$work"

on_brim=(env LD_PRELOAD="$work/brim/libbrim.so.1:$work/brim/probe.so" BRIM_PROBE_LOG="$work/probe.log")
on_libc=(env)

# limited COMMAND...: runs it, and fails aloud when it fails or hangs, or when anything in it was aborted by
# brim or started without it. stderr is looked through, then shown.
limited() {
    local status=0 log
    log=$(mktemp "$work/stderr.XXXXXX")
    timeout --kill-after=5 "$run_limit" "$@" 2>"$log" || status=$?
    cat "$log" >&2
    check_log "$log"
    case $status in
    0) return ;;
    124 | 137) fail "no end after $run_limit seconds: $*" ;;
    *) fail "status $status$(signal_name "$status"): $*" ;;
    esac
}

signal_name() {
    (($1 <= 128)) || printf ' (SIG%s)' "$(kill -l "$(($1 - 128))")"
}

# check_log FILE: fails when a program (a child included, whose status nobody saw) wrote that brim or the
# loader was unhappy.
check_log() {
    if grep -aE '^brim: |probe: the blocks|ld\.so: object' "$1" >&2; then
        fail "a process of this run was aborted, or ran without brim"
    fi
}

with_brim() {
    limited "${on_brim[@]}" "$@"
}

without_brim() {
    limited "${on_libc[@]}" "$@"
}

# require_on_brim NAME...: each was the executable of a process that ran on brim.
require_on_brim() {
    local name
    for name in "$@"; do
        grep -qE "/$name\$" "$work/probe.log" || fail "$name did not run on brim; these did: $(
            sed 's|.*/||' "$work/probe.log" | sort | uniq -c | tr -s '\n ' ' '
        )"
    done
}

# require_served [--by LIBRARY] COMMAND...: the loader's own account of the command says that calls of malloc and
# its kin by the program (or by LIBRARY, where that does the program's work) arrive in libbrim, and that nobody's
# arrive elsewhere. A program with an allocator of its own would pass the probe, and prove nothing.
require_served() {
    local folder by
    if [[ $1 == --by ]]; then
        by=$2
        shift 2
    else
        by=$(basename "$1")
    fi
    folder=$(mktemp -d "$work/bindings.XXXXXX")
    limited "${on_brim[@]}" LD_BIND_NOW=1 LD_DEBUG=bindings LD_DEBUG_OUTPUT="$folder/of" "$@" >/dev/null
    cat "$folder"/of.* >"$folder/all"
    awk -v by="$by" '
        BEGIN {
            split("malloc calloc realloc free memalign posix_memalign aligned_alloc malloc_usable_size " \
                  "_Znwm _Znam _ZdlPv _ZdaPv", names, " ")
            for (i in names) entry_points[names[i]]
            # The loader looks these up for itself, once, and books that on the executable.
            split("malloc calloc realloc free", names, " ")
            for (i in names) once[names[i]] = 1
        }
        $2 == "binding" && $NF ~ /^\[/ { NF-- }
        $2 == "binding" && substr($NF, 2, length($NF) - 2) in entry_points {
            symbol = substr($NF, 2, length($NF) - 2)
            user = $4
            owner = $7
            if (owner ~ /libbrim\.so\.1$/) {
                arrives[user] = 1
                sub(/.*\//, "", user)
                if (by ~ /^lib/ ? index(user, by) == 1 : user == by && ++calls[$1, symbol] > once[symbol])
                    served = 1
            } else
                elsewhere[owner] = $0
        }
        END {
            # An executable at a fixed address lends its own jump into libbrim to whoever takes the address.
            for (owner in elsewhere)
                if (!(owner in arrives) || owner ~ /\/libc\.so\.6$/) {
                    print "not bound to brim: " elsewhere[owner]
                    failed = 1
                }
            if (!served) {
                print "no call of brim by " by
                failed = 1
            }
            exit failed
        }' "$folder/all" >&2 || fail "the allocator of this program is not brim: $*"
}

# same LEFT RIGHT [WHAT]: the two files or folders are equal, byte for byte, and not empty.
same() {
    [[ -s $1 ]] || fail "nothing came out in $1"
    if ! diff -rq "$1" "$2" >/dev/null; then
        diff -r --text "$1" "$2" | cut -c1-200 | head -n 20 >&2 || true
        fail "${3:-the output} differs with and without brim"
    fi
}

# compare_output COMMAND...: runs it with brim and without, each in an empty folder of its own; what it prints
# and the files that it leaves must be the same.
compare_output() {
    local way
    for way in with without; do
        rm -rf "${work:?}/$way"
        mkdir "$work/$way"
        (cd "$work/$way" && "${way}_brim" "$@" >stdout)
    done
    [[ -s $work/with/stdout ]] || fail "it printed nothing: $*"
    same "$work/with" "$work/without"
}

# corpus FILE BYTES: so much real text (up to 10 MB), the same at each call on one machine: the sources of
# Python's own library.
corpus() {
    find /usr/lib/python3.11 -name '*.py' -type f -not -path '*/test/*' -print0 |
        sort -z | xargs -0 cat >"$1.all"
    head -c "$2" "$1.all" >"$1"
    rm "$1.all"
    [[ $(stat -c %s "$1") -eq $2 ]] || fail "Python's library holds less than $2 bytes of text"
}
