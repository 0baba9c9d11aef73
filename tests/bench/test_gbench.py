"""gbench.h from C, and the library's own flags through it."""

import json
import subprocess
import unittest

import support


def run(*arguments):
    return subprocess.run(
        [support.fixture("gbench_subject"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class Shim(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.result = run("--benchmark_format=json")
        cls.document = json.loads(cls.result.stdout)

    def entries(self, name):
        return [entry for entry in self.document["benchmarks"] if entry["name"].startswith(name)]

    def test_arguments_threads_and_names(self):
        names = {entry["name"] for entry in self.entries("counted")}
        rest = "iterations:1000/process_time/real_time"
        self.assertEqual(
            names,
            {f"counted/left:{a}/right:{b}/{rest}/threads:{t}" for a, b in ((1, 2), (3, 4)) for t in (1, 2)},
        )

    def test_counters(self):
        for entry in self.entries("counted"):
            threads = entry["threads"]
            left, right = (int(part.split(":")[1]) for part in entry["name"].split("/")[1:3])
            self.assertNotIn("error_occurred", entry)
            self.assertEqual(entry["iterations"], 1000 * threads)
            self.assertEqual(entry["rounds"], 1000 * threads)
            self.assertEqual(entry["sum"], 100 * left + right)
            self.assertEqual(entry["per_iteration"], 7)
            self.assertEqual(entry["inverse"], 0.25 / threads)
            self.assertEqual(entry["loops"], 1)
            self.assertEqual(entry["label"], "a label")
            self.assertGreater(entry["rate"], 0)
            self.assertAlmostEqual(entry["bytes_per_second"] / entry["items_per_second"], 1.5, places=6)

    def test_set_up_and_tear_down_once_for_each_run(self):
        self.assertIn("set up 4, torn down 4", self.result.stderr)

    def test_error(self):
        (entry,) = self.entries("failing")
        self.assertTrue(entry["error_occurred"])
        self.assertEqual(entry["error_message"], "as it should")

    def test_clocks_and_units(self):
        (entry,) = self.entries("manual")
        self.assertEqual(entry["time_unit"], "s")
        self.assertAlmostEqual(entry["real_time"], 0.125, places=6)
        (entry,) = self.entries("paused")
        self.assertEqual(entry["time_unit"], "ms")
        self.assertLess(entry["real_time"], 50, "paused time is not counted")

    def test_range_and_repetitions(self):
        self.assertEqual(len(self.entries("ranged/")), 3)
        self.assertEqual(sum(entry["run_type"] == "iteration" for entry in self.entries("repeated")), 3)
        self.assertTrue(any(entry.get("aggregate_name") == "median" for entry in self.entries("repeated")))
        self.assertEqual(len(self.entries("timed/min_time:0.010")), 1)

    def test_context(self):
        self.assertEqual(self.document["context"]["colour"], "green")


class CommandLine(unittest.TestCase):
    def test_list_and_filter(self):
        result = run("--benchmark_list_tests=true", "--benchmark_filter=ranged")
        self.assertEqual(
            result.stdout.split(),
            ["ranged/1/iterations:10", "ranged/8/iterations:10", "ranged/64/iterations:10"],
        )

    def test_unknown_flag(self):
        self.assertEqual(run("--no-such-flag").returncode, 2)


if __name__ == "__main__":
    unittest.main()
