"""examples: runs the example programs as their readers would, and harder.

    examples.py CASE

Started with EXAMPLES (the folder of the programs) and MAPS (scripts/maps) in the environment."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

EXAMPLES = os.environ["EXAMPLES"]
KIB, MIB = 1 << 10, 1 << 20
JOBS = 300000
SNAPSHOT_MIB = 1024
LIMIT = 280  # seconds


def program(name):
    return os.path.join(EXAMPLES, name)


def start(name, *arguments, **options):
    return subprocess.Popen([program(name), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, **options)


class Example(unittest.TestCase):
    def setUp(self):
        # Beside the programs: /tmp can be memory.
        holder = tempfile.TemporaryDirectory(prefix="example-", dir=EXAMPLES)
        self.addCleanup(holder.cleanup)
        self.folder = holder.name
        self.path = os.path.join(self.folder, "heap")

    def end_of(self, process, status=0):
        """(stdout, stderr) of a process that was started."""
        try:
            out, error = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            self.fail(f"{process.args} did not end: {process.communicate()}")
        self.assertEqual(process.returncode, status, f"{process.args}: {out}{error}")
        return out, error

    def run_program(self, name, *arguments, status=0, **options):
        return self.end_of(start(name, *arguments, **options), status)

    def expect_blocks(self, count):
        out, _ = self.run_program("check_heap", self.path)
        self.assertEqual(int(out.split()[0]), count, out)


class Jobs(Example):
    def both(self, first, second):
        first, second = start(*first), start(*second)
        (one, _), (other, _) = self.end_of(first), self.end_of(second)
        produced, consumed = sorted((one.split(), other.split()), key=len)
        self.assertEqual(produced, ["produced", str(JOBS), "sum", consumed[3]])
        self.assertEqual(consumed[:2] + consumed[4:], ["consumed", str(JOBS), "steps", str(2 * JOBS)])
        self.expect_blocks(1)  # the queue itself: all jobs were freed

    def test_consumer_first(self):
        self.both(("consume", self.path), ("produce", self.path, JOBS))

    def test_producer_first(self):
        self.both(("produce", self.path, JOBS), ("consume", self.path))

    def test_one_after_the_other(self):
        """The queue outlives the program that filled it."""
        self.run_program("produce", self.path, 1000)
        self.expect_blocks(1001)
        self.assertRegex(self.run_program("consume", self.path)[0], "^consumed 1000 ")
        self.expect_blocks(1)

    def test_consumers_that_are_killed(self):
        """The producer goes on meanwhile; each kill loses a job at most."""
        chance = random.Random(1)
        producer, kills = start("produce", self.path, JOBS), 0
        while producer.poll() is None:
            consumer = start("consume", self.path)
            time.sleep(chance.uniform(0.002, 0.03))
            consumer.kill()
            consumer.communicate()
            kills += consumer.returncode == -signal.SIGKILL
        self.end_of(producer)
        steps = int(self.run_program("consume", self.path)[0].split()[-1])
        self.assertGreater(kills, 3)
        self.assertTrue(2 * JOBS - kills <= steps <= 2 * JOBS, (steps, kills))
        blocks = int(self.run_program("check_heap", self.path)[0].split()[0])
        print(f"{kills} kills, {blocks - 1} jobs lost")
        self.assertLessEqual(blocks, 1 + kills)

    def test_a_file_that_is_no_heap(self):
        with open(self.path, "w", encoding="ascii") as file:
            file.write("precious " * 10000)
        _, error = self.run_program("produce", self.path, 1, status=1)
        self.assertRegex(error, rf"^{re.escape(self.path)}: .+\n$")
        with open(self.path, encoding="ascii") as file:
            self.assertEqual(file.read(), "precious " * 10000)


class Tree(Example):
    def test_tree(self):
        out, _ = self.run_program("tree")
        print(out)
        self.assertRegex(out, r"(?m)^160000 nodes in order; 0 blocks were lost in 0 kills$")

    def test_children_that_are_killed(self):
        out, _ = self.run_program("tree", 3000, 1000)
        print(out)
        lost = int(re.search(r"(?m)^24000 nodes in order; (\d+) blocks were lost in 1000 kills$", out)[1])
        # A label that is not yet in the tree, or no longer; and a node.
        self.assertLessEqual(lost, 2 * 1000)


class Store(Example):
    def store(self, *arguments, status=0):
        return self.run_program("store", self.path, *arguments, status=status)[0]

    def test_commands(self):
        self.assertEqual(self.store("get", "fruit", status=1), "")
        self.store("put", "fruit", "apple")
        self.store("put", "empty", "")
        self.store("put", "fruit", "pear" * 10000)
        self.assertEqual(self.store("get", "fruit"), "pear" * 10000 + "\n")
        self.assertEqual(self.store("get", "empty"), "\n")
        self.assertEqual(sorted(self.store("list").splitlines()), ["empty\t0", "fruit\t40000"])
        self.expect_blocks(3)
        self.store("delete", "fruit")
        self.store("delete", "fruit", status=1)
        self.assertEqual(self.store("list"), "empty\t0\n")
        self.expect_blocks(2)

    def test_writers_at_the_same_time(self):
        for turn in range(40):
            writers = [start("store", self.path, "put", f"key {turn} {number}", f"value {turn * number}")
                       for number in range(6)]
            for writer in writers:
                self.end_of(writer)
        self.assertEqual(len(self.store("list").splitlines()), 240)
        self.assertEqual(self.store("get", "key 39 5"), "value 195\n")
        self.expect_blocks(241)


class StoreKilled(Example):
    def test_killed(self):
        """The program judges by itself; its line tells that there was something to judge."""
        before = time.monotonic()
        out, _ = self.run_program("kill_store", self.path, 1000)
        print(out, f"{time.monotonic() - before:.1f} s")
        rounds, kills, operations, interrupted = map(int, re.findall(r"\d+", out)[:4])
        self.assertEqual((rounds, kills), (1000, 1500))
        self.assertGreater(operations, kills)
        self.assertGreater(interrupted, kills // 10)
        self.run_program("check_heap", self.path)


def snapshot_reason():
    """Why the snapshot cannot be made here, or nothing."""
    free = shutil.disk_usage(EXAMPLES).free
    if free < (SNAPSHOT_MIB + 512) * MIB:
        return f"{EXAMPLES} has {free // MIB} MiB free, of the {SNAPSHOT_MIB + 512} that a heap of 1 GiB takes"
    with open("/proc/meminfo", encoding="ascii") as file:
        available = int(re.search(r"^MemAvailable:\s+(\d+) kB", file.read(), re.MULTILINE)[1]) * KIB
    if available < (SNAPSHOT_MIB + 512) * MIB:
        return f"{available // MIB} MiB of memory are available, of the {SNAPSHOT_MIB + 512} that this takes"
    return ""


class Snapshot(Example):
    def test_snapshot(self):
        out, _ = self.run_program("snapshot", self.path, SNAPSHOT_MIB)
        print(out)
        rows = [list(map(float, re.findall(r"[\d.]+", line))) for line in out.splitlines()[1:5]]
        self.assertEqual([row[0] for row in rows], [0, 1, 2, 3])
        for _, milliseconds, resident, proportional, shared, private in rows:
            self.assertGreaterEqual(resident, SNAPSHOT_MIB)
            # A sixteenth is changed: so much is its own, and of the rest a quarter.
            changed = SNAPSHOT_MIB // 16
            self.assertTrue(changed <= private <= changed + 8, out)
            self.assertGreaterEqual(shared, SNAPSHOT_MIB - changed - 8)
            self.assertLess(proportional, changed + SNAPSHOT_MIB / 3)
            self.assertLess(milliseconds, 50)
        # On a busy machine one or another has to wait.
        self.assertLess(min(row[1] for row in rows), 1)
        self.assertIn("the file is unchanged", out)
        self.assertFalse(os.path.exists(self.path))


class Request(Example):
    def test_nothing_is_left(self):
        """Each request leaves a megabyte and more behind: without the heaps it would be half a gigabyte."""
        with start("request", 100, 4) as process:
            _, status, usage = os.wait4(process.pid, 0)
            out, error = process.stdout.read(), process.stderr.read()
            process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual((process.returncode, out, error), (0, "400 requests\n", ""))
        print(f"peak {usage.ru_maxrss // 1024} MiB")
        self.assertLess(usage.ru_maxrss * KIB, 64 * MIB)


class Password(Example):
    def test_same_or_not(self):
        for text, answer, status in [("apple\napple\n", "the same\n", 0), ("apple\npear\n", "not the same\n", 1)]:
            process = start("password", stdin=subprocess.PIPE)
            out, error = process.communicate(text, timeout=LIMIT)
            self.assertEqual((process.returncode, out, error), (status, answer, ""))

    def test_the_secret_is_in_locked_memory_alone(self):
        secret = b"correct horse battery staple"
        with subprocess.Popen([program("password")], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdin.write(secret + b"\n")
            process.stdin.flush()
            # It waits for the second line as soon as the first is read: then what it holds is looked at.
            deadline = time.monotonic() + LIMIT
            places = []
            while not places and time.monotonic() < deadline:
                time.sleep(0.05)
                places = self.places_of(secret, process.pid)
            report = json.loads(subprocess.run([os.environ["MAPS"], "--json", str(process.pid)], check=True,
                                               capture_output=True, text=True).stdout)
            flags = self.flags_at(process.pid, places[0])
            process.communicate(b"another\n", timeout=LIMIT)
        self.assertEqual(len(places), 1)
        one = next(one for one in report["ranges"] if one["start"] <= places[0] < one["end"])
        self.assertEqual(one["kind"], "heap")
        self.assertEqual(one["figures"]["locked"], one["figures"]["resident"])
        heap = next(group for group in report["groups"] if group["kind"] == "heap")
        self.assertEqual(heap["heap"]["kind"], "locked")
        # Locked, not dumped, wiped on fork: see VmFlags in proc(5).
        self.assertLessEqual({"lo", "dd", "wf"}, flags)

    @staticmethod
    def places_of(secret, pid):
        """The addresses at which these bytes are in the process's writable memory."""
        places = []
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for line in maps:
                span, permissions = line.split()[:2]
                start_of, end_of = (int(word, 16) for word in span.split("-"))
                if not permissions.startswith("rw"):
                    continue
                text = os.pread(memory.fileno(), end_of - start_of, start_of)
                places += [start_of + match.start() for match in re.finditer(re.escape(secret), text)]
        return places

    @staticmethod
    def flags_at(pid, address):
        with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
            for block in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) (.*?)^VmFlags:([^\n]*)", file.read(), re.M | re.S):
                if int(block[0], 16) <= address < int(block[1], 16):
                    return set(block[3].split())
        return set()

    def test_too_little_may_be_locked(self):
        """Without the right to lock as much as one likes, which root has."""
        command = ["prlimit", "--memlock=0:0", program("password")]
        if os.getuid() == 0:
            command = ["setpriv", "--bounding-set=-ipc_lock", *command]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertEqual((run.returncode, run.stdout, run.stderr),
                         (1, "", "not enough memory may be locked: raise the limit (ulimit -l)\n"))


if __name__ == "__main__":
    if sys.argv[1:] == ["Snapshot"] and snapshot_reason():
        print(f"skipped: {snapshot_reason()}")
        sys.exit(77)
    unittest.main(verbosity=2)
