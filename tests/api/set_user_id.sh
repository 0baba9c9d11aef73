#!/bin/bash
# set_user_id: settings from the environment are ignored in a set-user-ID program, where they are an
# attacker's.
#   set_user_id.sh PROGRAM       (set_user_id.c)
set -euo pipefail

program=$1
setting=('MALLOC_MMAP_MAX_=0' 'GLIBC_TUNABLES=glibc.malloc.mmap_max=0')

skip() {
    printf 'skipped: %s\n' "$1"
    exit 77
}
[[ $(id -u) -eq 0 ]] || skip 'only root can make a program set-user-ID'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
install -m 755 "$program" "$folder/plain"
install -m 4755 "$program" "$folder/set-user-id"

as_nobody() {
    setpriv --reuid=65534 --regid=65534 --clear-groups env "$@"
}

status=0
expect() {
    local expected=$1 said
    shift
    said=$(as_nobody "$@")
    if [[ $said != "$expected" ]]; then
        printf 'expected "%s", got "%s": %s\n' "$expected" "$said" "$*"
        status=1
    fi
}

[[ $(as_nobody "$folder/set-user-id") == set-user-ID* ]] ||
    skip "set-user-ID programs are not allowed in $folder"
for variable in "${setting[@]}"; do
    expect 'plain break' "$variable" "$folder/plain"
    expect 'set-user-ID mapped' "$variable" "$folder/set-user-id"
done
exit "$status"
