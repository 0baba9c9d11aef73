"""python_worker: a program that keeps many blocks, replaces them in several threads, forks while they do, and lives
through memory limits that go down and up again. Whatever it keeps can be checked by itself: everything is made from
a seed that is kept beside it. Prints one JSON object for each cycle, and ends well on SIGTERM.

usage: python_worker.py [BYTES]      it leaks so many in each cycle, for the test that this is found
"""

import hashlib
import json
import os
import random
import re
import resource
import signal
import sys
import threading
import time
import zlib

THREADS = 3
ENTRIES = 1200  # of each thread
# Of all sizes, mostly small ones; but no few that are so large that what is kept would go up and down by itself.
MOST_BYTES = 256 << 10
PAUSE = 0.5  # seconds in each cycle in which only the threads work
CHILD_LIMIT = 60  # seconds until a child that is stuck is killed
LIMITS = [(resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")]
HEADROOM = 16 << 20
# More than that is never had below a limit: what is free in the heap included.
MOST = 512 << 20


class Lost(Exception):
    """A structure does not hold what was put there."""


def pattern(seed, length):
    return (hashlib.sha256(b"%d" % seed).digest() * (length // 32 + 1))[:length]


def record(seed):
    return {
        "seed": seed,
        "name": f"record {seed * 7919 % 100003}",
        "tags": [f"tag {seed % k}" for k in (3, 5, 7, 11)],
        "inner": {str(n): [n, seed / (n + 1)] for n in range(seed % 13)},
    }


class Keeper(threading.Thread):
    """Replaces its entries, all the time."""

    def __init__(self, number, stop):
        super().__init__(daemon=True)
        self.chance = random.Random(number)
        self.stop = stop
        self.entries = {}
        self.replaced = self.refused = 0
        self.asked = self.checked = 0
        self.lost = None

    def entry(self):
        seed = self.chance.randrange(1 << 30)
        length = min(int(100 * self.chance.paretovariate(0.8)), MOST_BYTES)
        return seed, length, pattern(seed, length), record(seed), zlib.compress(pattern(seed, length), 1)

    @staticmethod
    def check(entry):
        seed, length, block, kept, packed = entry
        expected = pattern(seed, length)
        if block != expected or zlib.decompress(packed) != expected or kept != record(seed):
            raise Lost(f"entry of seed {seed}, {length} bytes")

    def replace(self):
        key = self.chance.randrange(ENTRIES)
        old = self.entries.get(key)
        if old:
            self.check(old)
        self.entries[key] = self.entry()
        self.replaced += 1

    def run(self):
        while not self.stop.is_set():
            try:
                self.replace()
                if self.checked != self.asked:
                    asked = self.asked
                    self.check_all()
                    self.checked = asked
            except MemoryError:
                self.refused += 1
            except Lost as lost:
                self.lost = str(lost)
                return
            time.sleep(0.001)

    def check_all(self):
        for entry in list(self.entries.values()):
            self.check(entry)

    def ask_for_check(self):
        """Waits until it has checked all its entries, itself: who reads them frees those that it replaces meanwhile."""
        self.asked += 1
        while self.checked != self.asked and not self.lost:
            time.sleep(0.01)
        if self.lost:
            raise Lost(self.lost)


def status_bytes(key):
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return int(re.search(rf"{key}:\s+(\d+) kB", file.read())[1]) << 10


def check_in_child(keepers):
    """The child has all that its parent had, and can allocate and free it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.alarm(CHILD_LIMIT)
            for keeper in keepers:
                keeper.check_all()
                for _ in range(50):
                    keeper.replace()
                keeper.check_all()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status:
        raise Lost(f"a child ended with wait status {status}")


def live_below_a_limit(number):
    """Takes memory until none is left, gives it back, and has it again when the limit is gone. Returns how often
    memory was refused, once at least."""
    kind, key = LIMITS[number % len(LIMITS)]
    before = resource.getrlimit(kind)
    hoard, held, refused = [], 0, 0
    sizes = [200, 3000, 40_000, 300_000, 2_000_000]
    resource.setrlimit(kind, (status_bytes(key) + HEADROOM, before[1]))
    try:
        # The large ones are refused first; the small ones then use up what is free between the blocks.
        for size in reversed(sizes):
            try:
                while held < MOST:
                    hoard.append(bytes(size))
                    held += size
            except MemoryError:
                refused += 1
        time.sleep(0.02)  # the threads meet it, too
    finally:
        hoard.clear()
        resource.setrlimit(kind, before)
    if not refused:
        raise Lost(f"{held} bytes were had below a limit of {HEADROOM} more")
    if sum(len(bytes(size)) for size in sizes * 10) != 10 * sum(sizes):
        raise Lost("blocks of a wrong size")
    return refused


def main():
    stop, ended = threading.Event(), []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    keepers = [Keeper(number, stop) for number in range(THREADS)]
    leak, leaked, refused = int(sys.argv[1]) if len(sys.argv) > 1 else 0, [], 0
    for keeper in keepers:
        while len(keeper.entries) < ENTRIES * 9 // 10:
            keeper.replace()
        keeper.start()
    cycle = 0
    while not ended:
        time.sleep(PAUSE)
        check_in_child(keepers)
        refused += live_below_a_limit(cycle)
        for keeper in keepers:
            keeper.ask_for_check()
        leaked.append(b"x" * leak)
        cycle += 1
        report = {"cycles": cycle, "refused": refused + sum(keeper.refused for keeper in keepers)}
        print(json.dumps(dict(report, replaced=sum(keeper.replaced for keeper in keepers))), flush=True)
    stop.set()
    for keeper in keepers:
        keeper.join()
        keeper.check_all()


if __name__ == "__main__":
    try:
        main()
    except Lost as reason:
        print(f"python_worker: lost: {reason}", file=sys.stderr)
        sys.exit(1)
