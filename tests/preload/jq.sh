#!/usr/bin/env bash
# jq: large documents parsed, grouped, sorted, walked, updated and printed. Every value of jq's is a small
# block of its own with a reference count.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program jq jq

# A document of real words, made by jq itself.
corpus text 400000
without_brim jq -Rnc '[inputs | gsub("[^ -~]"; "?")
    | {line: ., number: input_line_number, words: [splits("[^A-Za-z_]+")]}]' text >document.json
cat >work.jq <<'JQ'
def digest: tojson | explode | reduce .[] as $c (7; (. * 31 + $c) % 2147483647);
def depth: if . > 0 then {inner: (. - 1 | depth), list: [range(. % 5)]} else null end;
(map(.words[]) | map(select(length > 2)) | group_by(.) | map({word: .[0], count: length})
    | sort_by(-.count, .word)) as $words
| ($words[:30][] | "\(.word) \(.count)"),
  ($words | map({(.word): .count}) | add | with_entries(select(.value % 2 == 1)) | digest),
  (group_by(.line | length) | map({length: (.[0].line | length), lines: map(.number)})
    | map(.lines |= (sort | reverse)) | digest),
  ([.[].line | select(test("def [a-z]+")) | capture("def (?<name>[a-z]+)").name] | unique | length, digest),
  (.[:3000] | map(.words |= map(ascii_upcase + "x" * 3))
    | walk(if type == "object" then del(.number) else . end) | digest),
  (400 | depth | [paths] | length),
  ([limit(3000; .[] | .line | @base64)] | map(@base64d | @uri) | join("\n") | digest),
  ([range(20000)] | map(. * 7919 % 20011 | tostring) | sort | digest,
    (to_entries | map([.key, .value]) | digest))
JQ

require_served --by libjq jq --version
compare_output jq -rf "$work/work.jq" "$work/document.json"
with_brim jq . document.json >with/pretty
with_brim jq -c . with/pretty >with/compact
without_brim jq -c . document.json >without/compact
same with/compact without/compact
with_brim jq -c '.[:500] | fromstream(tostream)' document.json >with/streamed
without_brim jq -c '.[:500]' document.json >without/streamed
same with/streamed without/streamed
require_on_brim jq
