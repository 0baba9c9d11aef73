"""The harness on real runs: it must find the faults of allocators that have them, and none where there is
none."""

import json
import os
import signal
import subprocess
import time
import unittest

import support
from runner.field import libc_path
from support import FolderTest, faulty, row_of

# One core's worth of work, small enough to be repeated, too slow (30 ns
# and more) to drown in the wrapper's own cost.
ROW = "single_size/size:4096"
# The first of these trips the faulty allocators, the second does not.
LARGE_ROW = "single_size/size:262144"


class Verdicts(FolderTest):
    def test_slowed_allocator_has_the_right_factor(self):
        """It does everything ten times. CPU time is what a busy machine changes least; still, a second chance."""
        for attempt in range(2):
            output, document = self.run_harness(
                "--field",
                "glibc,slow",
                "--allocator",
                faulty("slow"),
                "--only",
                ROW + "$",
                "--rounds",
                "5",
                "--scale",
                "0.2",
            )
            cells = row_of(document, ROW)["estimates"]
            factor = cells["cpu"]["slow"]["ratio_to_reference"]
            if 7 < factor < 14:
                break
        self.assertEqual(cells["cpu"]["slow"]["against_reference"], "worse")
        self.assertGreater(factor, 7)
        self.assertLess(factor, 14)
        self.assertEqual(cells["cpu"]["slow"]["ratio_to_best"], factor)
        self.assertIn("slow / glibc", output)

    def test_allocator_against_itself_is_level(self):
        """A 95 % interval is wrong one time in twenty, so a second chance; not a third."""
        for attempt in range(2):
            _, document = self.run_harness(
                "--field",
                "glibc,same",
                "--allocator",
                f"same={libc_path()}",
                "--only",
                "single_size/size:(64|4096|65536)$",
                "--rounds",
                "7",
                "--scale",
                "0.1",
            )
            if document["overall"]["cpu"]["same"]["verdict"] == "level":
                break
        self.assertEqual(document["overall"]["cpu"]["same"]["verdict"], "level", document["overall"])


class Failures(FolderTest):
    def check(self, name, pattern, *arguments):
        output, document = self.run_harness(
            "--field",
            f"glibc,{name}",
            "--allocator",
            faulty(name),
            "--only",
            f"({ROW}|{LARGE_ROW})$",
            "--rounds",
            "2",
            "--scale",
            "0.02",
            *arguments,
        )
        self.assertRegex(row_of(document, LARGE_ROW)["failures"][name], pattern)
        self.assertRegex(output, rf"FAIL {LARGE_ROW} on {name}: {pattern}")
        self.assertRegex(output, rf"{LARGE_ROW} .* 1\.00= +FAIL")
        # The others, and the other rows, ran all the same.
        self.assertEqual(len(row_of(document, LARGE_ROW)["samples"]["glibc"]), 2)
        self.assertEqual(len(row_of(document, ROW)["samples"][name]), 2)
        self.assertNotIn(
            "failures", [key for key, value in row_of(document, ROW).items() if key == "failures" and value]
        )
        with open(os.path.join(self.folder, "result", "index.html"), encoding="utf-8") as page:
            self.assertRegex(page.read(), r"FAIL</span> " + LARGE_ROW)

    def test_crash(self):
        self.check("crash", "SIGSEGV")

    def test_hang(self):
        self.check("hang", "timeout", "--timeout", "3")

    def test_hog(self):
        self.check("hog", "over the memory limit", "--memory-limit", "300")

    def test_overlapping_blocks(self):
        _, document = self.run_harness(
            "--field",
            "glibc,overlap",
            "--allocator",
            faulty("overlap"),
            "--only",
            "batch/lifo",
            "--rounds",
            "2",
            "--scale",
            "0.02",
        )
        self.assertRegex(row_of(document, "batch/lifo")["failures"]["overlap"], "overwritten by another")

    def test_library_that_is_no_allocator(self):
        """A preload that changes nothing must not pass for an allocator."""
        _, document = self.run_harness(
            "--field",
            "glibc,none",
            "--allocator",
            f"none={support.fixture('libnone.so')}",
            "--only",
            ROW + "$",
            "--rounds",
            "2",
            "--scale",
            "0.02",
        )
        self.assertRegex(
            row_of(document, ROW)["failures"]["none"], "malloc came from .*libc.*, not from none"
        )

    def test_unknown_allocator(self):
        self.run_harness("--allocator", "x=/no/such/file.so", status=2)
        self.run_harness("--field", "nobody", status=2)
        self.run_harness("--only", "no-such-row", status=2)

    def test_wrong_row_gets_a_hint(self):
        output, _ = self.run_harness("--only", "singlesize", status=2)
        self.assertIn("single_size", output)
        output, _ = self.run_harness("--only", "single(", status=2)
        self.assertIn("not a regular expression", output)
        self.assertNotIn("Traceback", output)

    def test_launcher_adds_little(self):
        """It ends with the last of the family, and waits for nothing else."""
        costs = []
        for _ in range(5):
            begun = time.monotonic()
            subprocess.run(
                [
                    os.path.join(support.BUILD, "launch"),
                    f"--result={os.path.join(self.folder, 'result.json')}",
                    "--",
                    "/bin/true",
                ],
                check=True,
            )
            costs.append(time.monotonic() - begun)
        self.assertLess(min(costs), 0.05)


class Files(FolderTest):
    def test_result_folder(self):
        output, document = self.run_harness(
            "--field",
            "glibc,jemalloc",
            "--rounds",
            "3",
            "--scale",
            "0.02",
            "--only",
            "single_size/size:64$",
            "--only",
            "larson/latency",
            "--only",
            "^burst",
        )
        self.assertIn("peak RSS: ratio to the best", output)
        for key in ("processor", "kernel", "transparent_hugepages", "commit", "cores"):
            self.assertIn(key, document["machine"])
        # Google Benchmark's schema: what its compare.py reads.
        for name in ("glibc", "jemalloc"):
            with open(os.path.join(self.folder, "result", f"micro-{name}.json"), encoding="utf-8") as file:
                micro = json.load(file)
            self.assertIn("num_cpus", micro["context"])
            self.assertEqual(len(micro["benchmarks"]), 9)
            for entry in micro["benchmarks"]:
                self.assertEqual(entry["run_type"], "iteration")
                self.assertEqual(entry["repetitions"], 3)
                for key in (
                    "name",
                    "run_name",
                    "repetition_index",
                    "threads",
                    "iterations",
                    "real_time",
                    "cpu_time",
                    "time_unit",
                ):
                    self.assertIn(key, entry)
        burst = row_of(document, "burst")["samples"]["glibc"][0]
        self.assertGreater(burst["counters"]["rss_over_live"], 0.5)
        self.assertEqual(len(burst["curves"]["rss"]["points"]), len(burst["curves"]["live"]["points"]))
        latency = next(row for row in document["rows"] if row["name"].startswith("larson/latency"))
        counters = latency["samples"]["glibc"][0]["counters"]
        self.assertLessEqual(counters["p50"], counters["p99"])
        self.assertLessEqual(counters["p99.99"], counters["max"])
        self.assertGreater(sum(latency["system_calls"]["glibc"].values()), 0)
        with open(os.path.join(self.folder, "result", "index.html"), encoding="utf-8") as file:
            page = file.read()
        # Drawn again from the document alone it is the same page.
        self.run_harness("--page", os.path.join(self.folder, "result"))
        with open(os.path.join(self.folder, "result", "index.html"), encoding="utf-8") as file:
            self.assertEqual(file.read(), page)
        for heading in ("Every row", "Memory over time", "Latency", "Time against memory"):
            self.assertIn(f"<h2>{heading}</h2>", page)
        # Offline: nothing is fetched from anywhere, and each plot is there for light and for dark.
        self.assertNotRegex(page, r"""(src|href|srcset)=["'](https?:|//)""")
        self.assertEqual(
            page.count('<img src="data:image/svg+xml'), page.count('prefers-color-scheme: dark)" srcset')
        )

    def test_interrupt_leaves_a_usable_result(self):
        environment = dict(os.environ, PYTHONPATH=os.path.join(support.REPOSITORY, "bench"))
        process = subprocess.Popen(
            self.runner_command(
                "--field",
                "glibc,jemalloc",
                "--only",
                "single_size/size:64$",
                "--rounds",
                "100000",
                "--scale",
                "0.01",
            ),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        for line in process.stderr:
            if line.startswith("round 4/"):
                break
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, output + errors)
        self.assertIn("interrupted", errors)
        document = self.document()
        self.assertEqual(document["settings"]["ending"], "interrupted")
        self.assertGreaterEqual(document["settings"]["rounds_done"], 3)
        self.assertGreaterEqual(len(document["rows"][0]["samples"]["glibc"]), 3)
        self.assertTrue(os.path.exists(os.path.join(self.folder, "result", "index.html")))


if __name__ == "__main__":
    unittest.main()
