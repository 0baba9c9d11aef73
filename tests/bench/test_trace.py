"""Recording and replay: what is known to happen is in the trace, it can be replayed on any malloc, and a file
that is cut off or changed is refused with a message."""

import os
import re
import shutil
import subprocess
import unittest

import support
from support import FolderTest, row_of

RECORDER = os.path.join(support.BUILD, "libtrace_recorder.so")
TOOL = os.path.join(support.BUILD, "trace_tool")
REPLAY = os.path.join(support.BUILD, "replay")


class TraceTest(FolderTest):
    def record(self, *command, preload=RECORDER, status=0):
        """Returns the path of a sealed trace."""
        path = os.path.join(self.folder, "trace")
        with open(path, "wb"):
            pass
        result = subprocess.run(
            command,
            env=dict(os.environ, BRIM_TRACE_FILE=path, LD_PRELOAD=preload),
            capture_output=True,
            check=False,
            timeout=120,
        )
        self.assertEqual(result.returncode, status, result.stderr)
        subprocess.run([TOOL, "seal", path], check=True)
        return path

    def subject(self, what, **options):
        return self.record(support.fixture("trace_subject"), what, **options)

    def info(self, path):
        """[(events, threads, forked, command)]"""
        text = subprocess.run([TOOL, "info", path], check=True, capture_output=True, text=True).stdout
        found = re.findall(r"^ *(\d+) events, +(\d+) threads(, forked)?: (.*)$", text, re.MULTILINE)
        return [
            (int(events), int(threads), bool(forked), command) for events, threads, forked, command in found
        ]

    def replay(self, path, preload=None):
        plan, report = os.path.join(self.folder, "plan"), os.path.join(self.folder, "report")
        compiled = subprocess.run([TOOL, "compile", path, plan], check=True, capture_output=True, text=True)
        environment = dict(os.environ, LD_PRELOAD=preload) if preload else os.environ
        if os.path.exists(report):
            os.unlink(report)
        result = subprocess.run(
            [REPLAY, plan, report], env=environment, check=False, capture_output=True, text=True, timeout=120
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(report, encoding="utf-8") as file:
            return compiled.stderr, file.read()


class Recording(TraceTest):
    def test_threads_and_frees_across_them(self):
        path = self.subject("threads")
        ((events, threads, forked, command),) = self.info(path)
        # Four threads of 1,000 allocations, four of 1,000 frees, and what starting a thread takes.
        self.assertGreaterEqual(events, 8000)
        self.assertLess(events, 8100)
        self.assertEqual(threads, 9)
        self.assertFalse(forked)
        self.assertIn("trace_subject threads", command)
        notes, report = self.replay(path)
        self.assertEqual(notes, "")
        self.assertIn(f'"events": {events}', report)

    def test_fork(self):
        path = self.subject("fork")
        parent, child = self.info(path)
        self.assertFalse(parent[2])
        self.assertTrue(child[2])
        # The parent: 1,000 allocated, fork, 1,000 freed, 1,000 allocated and
        # freed. The child: all but the first.
        self.assertGreaterEqual(parent[0], 4001)
        self.assertLess(parent[0], 4020)
        self.assertEqual(child[0], 3000)
        notes, _ = self.replay(path)
        self.assertEqual(notes, "", "the child's frees of inherited blocks find them")

    def test_exec(self):
        first, second = self.info(self.subject("exec"))
        self.assertGreaterEqual(first[0], 1000)
        self.assertIn("exec", first[3])
        self.assertIn("calls", second[3])

    def test_every_call(self):
        path = self.subject("calls")
        ((events, _, _, _),) = self.info(path)
        # calloc, 2 realloc, free; posix_memalign, free; aligned_alloc, free; strdup, free.
        self.assertGreaterEqual(events, 10)
        self.assertLess(events, 14)
        self.replay(path)

    def test_abort_and_kill(self):
        ((events, _, _, _),) = self.info(self.subject("abort", status=-6))
        self.assertGreaterEqual(events, 1000)
        # Killed: what was flushed is there, and it is a good part of the 200,000 events.
        path = self.subject("kill", status=-9)
        ((events, _, _, _),) = self.info(path)
        self.assertGreater(events, 150000)
        self.replay(path)

    def test_destructors_of_a_thread(self):
        path = self.subject("late")
        ((events, threads, _, _),) = self.info(path)
        self.assertGreaterEqual(events, 4)
        self.assertEqual(threads, 2)
        notes, _ = self.replay(path)
        self.assertEqual(notes, "")

    def test_real_programs(self):
        """A shell with pipes, subshells and exec; the interpreter with a thread pool and a subprocess."""
        path = self.record("/bin/sh", "-c", "ls / | wc -l; (echo a; /bin/true) | cat; exec /bin/true")
        self.assertGreaterEqual(len(self.info(path)), 5)
        self.replay(path)
        script = (
            "import subprocess, json, concurrent.futures as c\n"
            "with c.ThreadPoolExecutor(4) as pool:\n"
            "    print(sum(pool.map(lambda n: len(json.dumps(list(range(n)))), range(300))))\n"
            "subprocess.run(['/bin/true'], check=True)\n"
        )
        os.environ["PYTHONMALLOC"] = "malloc"
        self.addCleanup(os.environ.pop, "PYTHONMALLOC")
        path = self.record("/usr/bin/python3", "-c", script)
        self.assertGreater(max(self.info(path))[1], 1)
        self.replay(path)

    def test_on_top_of_another_allocator(self):
        jemalloc = "libjemalloc.so.2"
        path = self.subject("threads", preload=f"{RECORDER}:{jemalloc}")
        self.assertGreaterEqual(self.info(path)[0][0], 8000)
        _, report = self.replay(path, preload=jemalloc)
        self.assertIn("jemalloc", report)

    def test_a_faulty_allocator_is_found_in_replay(self):
        path = self.subject("threads")
        plan, report = os.path.join(self.folder, "plan"), os.path.join(self.folder, "report")
        subprocess.run([TOOL, "compile", path, plan], check=True)
        result = subprocess.run(
            [REPLAY, plan, report],
            check=False,
            capture_output=True,
            text=True,
            env=dict(os.environ, LD_PRELOAD=support.fixture("libfaulty_replay.so")),
        )
        self.assertEqual(result.returncode, 3)
        self.assertIn("overwritten by another", result.stderr)


class Damage(TraceTest):
    def refused(self, content):
        path = os.path.join(self.folder, "damaged")
        with open(path, "wb") as file:
            file.write(content)
        result = subprocess.run(
            [TOOL, "compile", path, path + ".plan"], check=False, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(result.returncode, 2, f"{len(content)} bytes: {result.stderr}")
        self.assertRegex(result.stderr, r"damaged: (cut off|corrupt|not a trace)[^\n]*\n$")

    def test_cut_off_anywhere(self):
        with open(self.subject("fork"), "rb") as file:
            whole = file.read()
        for length in {
            0,
            1,
            47,
            48,
            49,
            len(whole) - 1,
            len(whole) - 56,
            *range(0, len(whole), len(whole) // 60),
        }:
            self.refused(whole[:length])

    def test_any_changed_byte(self):
        with open(self.subject("fork"), "rb") as file:
            whole = bytearray(file.read())
        places = {*range(0, 200), *range(0, len(whole), len(whole) // 150), len(whole) - 1}
        for place in sorted(places):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            self.refused(bytes(damaged))

    def test_something_else(self):
        with open("/bin/true", "rb") as file:
            self.refused(file.read())

    def test_the_harness_says_so(self):
        path = self.subject("threads")
        with open(path, "r+b") as file:
            file.truncate(os.path.getsize(path) // 2)
        output, document = self.run_harness("--field", "glibc", "--trace", path, "--rounds", "1")
        self.assertRegex(document["rows"][0]["failures"]["glibc"], "cut off")
        self.assertRegex(output, "FAIL trace/trace on glibc: cannot be prepared: .*cut off")


class InTheHarness(TraceTest):
    def test_replay_is_a_row(self):
        path = os.path.join(self.folder, "subject.trace")
        shutil.move(self.subject("threads"), path)
        _, document = self.run_harness("--field", "glibc,jemalloc", "--trace", path, "--rounds", "2")
        row = row_of(document, "trace/subject")
        self.assertEqual(row["failures"], {})
        self.assertEqual(len(row["samples"]["jemalloc"]), 2)
        self.assertGreater(row["samples"]["glibc"][0]["peak_rss"], 1 << 20)


if __name__ == "__main__":
    unittest.main()
