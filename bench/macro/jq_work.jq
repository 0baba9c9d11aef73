# jq_work: a document of records grouped, sorted, walked, updated, taken apart and put together again.
def digest: tojson | explode | reduce .[] as $c (7; (. * 31 + $c) % 2147483647);
(map(.words[]) | group_by(.) | map({word: .[0], count: length}) | sort_by(-.count, .word)) as $words
| ($words[:20][] | "\(.word) \(.count)"),
  ($words | map({(.word): .count}) | add | with_entries(select(.value % 2 == 1)) | digest),
  (group_by(.kind) | map({kind: .[0].kind, numbers: map(.number)}) | map(.numbers |= (sort | reverse)) | digest),
  (map(.words |= map(ascii_upcase + "x")) | walk(if type == "object" then del(.number) else . end) | digest),
  ([.[] | .line | @base64] | map(@base64d | @uri) | join("\n") | digest)
