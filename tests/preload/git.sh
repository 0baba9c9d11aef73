#!/usr/bin/env bash
# git: a history of some hundred commits made by fast-import, more by `git commit` and a merge on top, delta
# compression in threads, gc, fsck, a clone through upload-pack, blame, log and grep. The names of all objects
# are digests of their content, so the two histories must agree to the last one.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program git git

export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_PAGER=cat
export GIT_AUTHOR_NAME=Author GIT_AUTHOR_EMAIL=author@example.org GIT_AUTHOR_DATE='1700000000 +0000'
export GIT_COMMITTER_NAME=Author GIT_COMMITTER_EMAIL=author@example.org GIT_COMMITTER_DATE='1700000000 +0000'

# 400 commits, each with some files changed at a line or two, over some real text.
corpus "$work/text" 5000000
awk '
    function blob(name, from,    i, body) {
        for (i = from; i < from + 120; i++) body = body lines[i % count] "\n"
        printf "M 100644 inline %s\ndata %d\n%s\n", name, length(body), body
    }
    { gsub(/[^ -~\t]/, "?"); lines[count++] = $0 }
    END {
        for (commit = 1; commit <= 400; commit++) {
            message = "commit " commit "\n\n" lines[commit * 37 % count]
            person = "A <a@example.org> " 1600000000 + commit " +0000"
            printf "commit refs/heads/main\nmark :%d\nauthor %s\ncommitter %s\n", commit, person, person
            printf "data %d\n%s\n", length(message), message
            if (commit > 1) printf "from :%d\n", commit - 1
            for (file = 0; file < 6; file++) {
                slot = (commit * 5 + file * 11) % 90
                blob("folder" slot % 7 "/file" slot ".txt", slot * 500 + commit % 40)
            }
            if (commit % 50 == 0) printf "D folder%d/file%d.txt\n", commit % 7, commit % 90
        }
        print "done"
    }' "$work/text" >"$work/history"

cat >"$work/work.sh" <<'SH'
set -euo pipefail
git init -q -b main repository
cd repository
git config core.fsync none
git config pack.threads 4
git config gc.autoDetach false
git fast-import --quiet --done <"$1"
git reset -q --hard main
for n in $(seq 12); do
    echo "change $n" >>"folder$((n % 7))/file7.txt"
    seq "$n" $((n * 400)) >"new$n"
    git add -A
    git commit -q -m "commit by hand $n"
done
git checkout -q -b side HEAD~8
echo side >side
git add side
git commit -q -m side
git checkout -q main
git merge -q --no-edit side
git tag -a -m release v1
# Window and depth large enough to keep the delta threads busy; what they choose may differ, the objects may
# not.
git repack -q -a -d -f --window=40 --depth=30
git gc -q --prune=now
git fsck --full --strict --no-progress
git clone -q --no-local . ../clone
git -C ../clone fsck --no-progress
git rev-list --objects --all | sort | sha256sum
git cat-file --batch-check --batch-all-objects --unordered | sort
git log --stat --format='%H %an %s' -M -C | sha256sum
git log -p -10 --word-diff | sha256sum
git blame folder0/file7.txt | sha256sum
git grep -c -E 'self|import' | sort | sha256sum
git shortlog -s HEAD
git status --porcelain
git count-objects -v | grep -E '^(count|in-pack|packs|garbage)'
git archive --format=tar HEAD | sha256sum
SH

require_served git --version
for way in with without; do
    mkdir "$way"
    (cd "$way" && "${way}_brim" bash "$work/work.sh" "$work/history" >"$work/$way.output")
done
same with.output without.output
[[ $(without_brim git -C with/clone rev-list --count v1) -eq 414 ]] ||
    fail "the history is not 414 commits long"
require_on_brim git bash
