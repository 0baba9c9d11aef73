#!/usr/bin/env bash
# python3: part of its own regression tests (threads, and children by the hundred among them), and a program
# of ours, with every Python object taken from malloc.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program python3 python3
python=/usr/bin/python3
$python -c 'import test.test_dict' 2>/dev/null || need_program libpython3.11-testsuite libpython3.11-testsuite

export PYTHONMALLOC=malloc PYTHONHASHSEED=1 PYTHONDONTWRITEBYTECODE=1
require_served $python --version

# Both at once: the tests mostly wait, and what they find is compared, not how long they took.
regression_tests=(test_dict test_json test_threading test_subprocess)
for way in with without; do
    mkdir "$way.folder"
    "${way}_brim" $python -m test -j2 --tempdir "$work/$way.folder" --junit-xml "$work/$way.xml" \
        "${regression_tests[@]}" >"$way.log" &
    eval "${way}_process=$!"
    background+=($!)
done
# shellcheck disable=SC2154 # assigned by name above
wait "$with_process" || { tail -n 60 with.log >&2; fail "its own tests"; }
# shellcheck disable=SC2154
wait "$without_process" || { tail -n 60 without.log >&2; fail "its own tests fail without brim"; }
background=()
for way in with without; do
    without_brim $python - "$way.xml" >"$way.verdicts" <<'PY'
import sys, xml.etree.ElementTree as xml
print(*sorted(f"{case.get('name')} {' '.join(found.tag for found in case) or 'ok'}"
              for case in xml.parse(sys.argv[1]).iter("testcase")), sep="\n")
PY
done
same with.verdicts without.verdicts "the verdict of a regression test"
[[ $(grep -c ' ok$' with.verdicts) -gt 500 ]] || fail "only $(grep -c ' ok$' with.verdicts) tests were run"

corpus "$work/text" 3000000
cat >work.py <<'PY'
import collections, concurrent.futures, hashlib, io, json, multiprocessing, pickle, re, sys, threading, zlib

def digest(data):
    return hashlib.sha256(data if isinstance(data, bytes) else str(data).encode()).hexdigest()[:16]

class Node:
    __slots__ = ("key", "left", "right")
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None

def tree(keys):
    root = Node(keys[0])
    for key in keys[1:]:
        at = root
        while True:
            side = "left" if key < at.key else "right"
            if getattr(at, side) is None:
                setattr(at, side, Node(key))
                break
            at = getattr(at, side)
    depth, level = 0, [root]
    while level:
        depth, level = depth + 1, [n for m in level for n in (m.left, m.right) if n]
    return depth

def churn(seed):
    state, kept = seed, {}
    for i in range(30000):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        key = state >> 52
        if state & 1:
            kept[key] = bytes([i % 256]) * (state >> 40 & 1023)
        else:
            kept.pop(key, None)
    return digest(b"".join(kept[key] for key in sorted(kept)))

if __name__ == "__main__":
    text = open(sys.argv[1], encoding="utf8", errors="replace").read()
    words = re.findall(r"\w+", text)
    count = collections.Counter(words)
    print(len(words), digest(sorted(count.items())))
    records = [{"word": w, "count": n, "at": [m for m in range(n % 20)]} for w, n in sorted(count.items())]
    encoded = json.dumps(records)
    again = json.loads(encoded)
    print(len(encoded), again == records, digest(json.dumps(again, indent=1)))
    print(digest(pickle.dumps(pickle.loads(pickle.dumps(again)))))
    print(tree([digest(w) for w in sorted(count)][:8000]))
    out = io.StringIO()
    for line in text.splitlines():
        out.write(line[::-1])
    print(digest(out.getvalue()), digest(zlib.decompress(zlib.compress(text.encode()))))
    # A cycle of every object, for the collector.
    for i in range(100000):
        cell = [i]
        cell.append(cell)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print(*pool.map(churn, range(16)))
    # Children forked while other threads allocate: what they inherit must be whole.
    stop = threading.Event()
    def rumble():
        while not stop.is_set():
            [bytes(n) for n in range(200)]
    rumblers = [threading.Thread(target=rumble) for _ in range(3)]
    for thread in rumblers:
        thread.start()
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        with context.Pool(2) as pool:
            print(*pool.map(churn, range(4)))
    stop.set()
    for thread in rumblers:
        thread.join()
PY
compare_output $python "$work/work.py" "$work/text"
require_on_brim 'python3[.0-9]*'
