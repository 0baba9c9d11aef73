#!/usr/bin/env bash
# bash: a script of a few thousand forks: pipelines, command and process substitution, background jobs, traps,
# coprocesses, and a shell's own heap of variables, arrays and functions that every child inherits.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program bash bash

corpus "$work/text" 1000000
cat >work.sh <<'SH'
set -euo pipefail
declare -A count=()
while IFS= read -r line; do
    [[ $line =~ ([a-z_]+)\(([a-z_]*) ]] || continue
    count[${BASH_REMATCH[1]}]+="${#BASH_REMATCH[2]},"
done < <(head -n 12000 "$1")
for name in $(printf '%s\n' "${!count[@]}" | sort); do
    printf '%s %s\n' "$name" "${count[$name]//,/ }"
done | sha256sum

# One fork for each of these, from a shell whose heap is not small.
total=0
for i in {1..800}; do
    part=$(echo "$i:${#count[@]}:$((i * 7919 % 1009))")
    total=$((total + ${part##*:}))
    (((i % 4)) || (exit $((i % 3)))) || total=$((total + 1))
done
echo "$total"
for i in {1..150}; do
    seq "$i" $((i + 50)) | while read -r n; do echo $((n * n)); done | grep -c "$((i % 10))" || true
done | sha256sum
comm -3 <(seq 1000 | rev | sort) <(seq 500 | sort) | wc -l

work_in_background() {
    local text=$1
    for _ in {1..12}; do text+=${text:0:2000}$1; done
    echo "${#text} ${text:100:20}"
}
for i in {1..60}; do
    work_in_background "job $i of many, and its text" >"job$i" &
done
wait
cat job* | sort | sha256sum

coproc reverse { while read -r word; do echo "$word" | rev; done; }
for word in alpha beta gamma delta; do
    echo "$word" >&"${reverse[1]}"
    read -r answer <&"${reverse[0]}"
    echo "$answer"
done
eval "exec ${reverse[1]}>&-"
# Signal handlers that allocate, run between the commands that do.
signals=0
trap 'signals=$((signals + 1)); message=$(printf "%0${signals}d" 7)' USR1
for _ in {1..100}; do kill -USR1 $$; done
echo "$signals ${#message}"
fibonacci() { (($1 < 2)) && echo "$1" || echo $(($(fibonacci $(($1 - 1))) + $(fibonacci $(($1 - 2))))); }
fibonacci 11
mapfile -t lines <"$1"
sorted=$(printf '%s\n' "${lines[@]:0:3000}" | LC_ALL=C sort -u)
echo "${#lines[@]} ${#sorted}"
ulimit -n 256
exec bash -c 'echo "$0 $#"' last one two
SH
require_served bash --version
compare_output bash "$work/work.sh" "$work/text"
require_on_brim bash sort grep sha256sum
