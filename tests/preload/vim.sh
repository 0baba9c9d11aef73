#!/usr/bin/env bash
# vim -es: a batch of edits: global substitutions, sorting, macros, folding, undo and redo over the whole
# history, an undo file written and read back, syntax highlighting to HTML, and vim's own script language.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program vim vim

corpus "$work/text" 400000
cp text source.py
cat >work.vim <<'VIM'
set nocompatible nomore noswapfile undofile undodir=. encoding=utf-8 maxmempattern=20000
edit ++ff=unix notes.txt
let first = getline(1, '$')
%substitute/\<\(\w\+\)_\(\w\+\)\>/\2-\1/ge
silent global/^\s*#/move$
silent vglobal/\S/delete
normal! gg
let @q = "ddp5jyyP"
silent normal! 300@q
2000,6000sort
%substitute/self\.\zs\w\+/\=toupper(submatch(0))/ge
write! edited.txt
silent! undo 0
call assert_equal(first, getline(1, '$'))
silent! 100redo
while undotree().seq_cur < undotree().seq_last | silent redo | endwhile
call assert_equal(readfile('edited.txt'), getline(1, '$'))
write! notes.txt
bwipeout!
edit notes.txt
silent! undo
silent! undo
write! undone.txt
let words = {}
for line in first
    for word in split(line, '\W\+')
        let words[word] = get(words, word, 0) + 1
    endfor
endfor
let list = map(sort(keys(words)), {_, word -> word . ' ' . g:words[word]})
call writefile(list, 'words.txt')
call writefile([json_encode(words)->sha256(), string(len(words))], 'digests.txt')
edit! sample.py
syntax on
set foldmethod=indent
runtime syntax/2html.vim
write! sample.html
call writefile(v:errors, 'errors.txt')
qall!
VIM
cat >work.sh <<'SH'
set -euo pipefail
cp "$1/text" notes.txt
head -n 400 "$1/source.py" >sample.py
vim -N -u NONE -i NONE -n -es -S "$1/work.vim" </dev/null >/dev/null
cat errors.txt
wc -l edited.txt undone.txt words.txt
# The history is dated, and the page names its folder.
rm -f ./*.un~ ./.*.un~
sed -i '/<title>/d' sample.html
SH
require_served vim --version
compare_output bash "$work/work.sh" "$work"
[[ ! -s with/errors.txt && $(wc -l <with/edited.txt) -gt 1000 && $(wc -l <with/sample.html) -gt 350 ]] ||
    fail "vim did not do its work: $(cat with/errors.txt)"
require_on_brim 'vim[.a-z]*'
