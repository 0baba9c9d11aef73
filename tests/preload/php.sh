#!/usr/bin/env bash
# php: arrays, strings, objects with cycles, regular expressions, generators, serialisation, JSON, forked
# children, with PHP's own chunk allocator switched off, so that every value is a malloc.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program php php-cli

# -n: without php.ini, and so without the modules that it loads. PHP opens these with RTLD_DEEPBIND, which
# binds them to libc's free, whatever is preloaded, while the blocks that some of them free come from the
# preloaded malloc; no preloaded allocator can run them. (BRIM_FOREIGN_FREE is about the other direction.)
export USE_ZEND_ALLOC=0
corpus "$work/text" 2500000
cat >work.php <<'PHP'
<?php
function digest($value) {
    return substr(hash('sha256', is_string($value) ? $value : serialize($value)), 0, 16) . "\n";
}

class Node {
    public $links = [];
    public function __construct(public string $name) {}
}

function churn(int $seed): string {
    $kept = [];
    for ($i = 0; $i < 60000; $i++) {
        $seed = ($seed * 16807) % 2147483647;
        $key = $seed % 900;
        if ($seed & 64) $kept[$key] = ($kept[$key] ?? '') . str_repeat("$i,", $seed % 40);
        else unset($kept[$key]);
    }
    ksort($kept);
    return digest($kept);
}

function words(string $text) {
    foreach (explode("\n", $text) as $line)
        foreach (preg_split('/\W+/', $line, -1, PREG_SPLIT_NO_EMPTY) as $word) yield $word;
}

$text = file_get_contents($argv[1]);
$count = [];
foreach (words($text) as $word) $count[$word] = ($count[$word] ?? 0) + 1;
ksort($count, SORT_STRING);
echo count($count), ' ', digest($count);
$record = fn($word, $n) => ['word' => (string)$word, 'n' => $n, 'parts' => str_split("$word")];
$encoded = json_encode(array_map($record, array_keys($count), $count), JSON_INVALID_UTF8_SUBSTITUTE);
$decoded = json_decode($encoded);
echo digest($encoded), digest(json_decode($encoded, true)), digest(unserialize(serialize($decoded)));
echo digest(preg_replace_callback('/\b([a-z]+)_([a-z]+)\b/', fn($m) => $m[2] . strtoupper($m[1]), $text));
echo digest(gzuncompress(gzcompress($text, 6)));
$nodes = [];
for ($i = 0; $i < 60000; $i++) {
    $node = new Node("node $i");
    $node->links[] = $node;
    $node->links[] = $nodes[$i * 7919 % 1000] ?? null;
    $nodes[$i % 1000] = $node;
}
$nodes = null;
echo gc_collect_cycles() > 0 ? "collected\n" : "nothing collected\n";
$heap = new SplMinHeap();
foreach ($count as $word => $n) $heap->insert([$n, (string)$word]);
$order = '';
while (!$heap->isEmpty()) $order .= $heap->extract()[1];
echo digest($order), churn(5);
for ($child = 1; $child <= 4; $child++) {
    $process = pcntl_fork();
    if ($process === 0) { file_put_contents("child$child", churn($child)); exit(0); }
}
while (pcntl_wait($status) > 0) if ($status !== 0) { fwrite(STDERR, "child: $status\n"); exit(1); }
PHP
require_served php -n --version
compare_output php -n "$work/work.php" "$work/text"
require_on_brim 'php[.0-9]*'
