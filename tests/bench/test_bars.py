"""What is said of brim beside its peers, on samples that are made up; and the rows of mimalloc-bench, with a folder
that is."""

import os
import random
import subprocess
import unittest

import support
from runner import bars
from runner.estimate import Standings
from runner.measure import Sample
from runner.rows import Row
from support import FolderTest, row_of


def noisy(center, spread, count, seed):
    generator = random.Random(seed)
    return [center * generator.lognormvariate(0, spread) for _ in range(count)]


def suite_row(name, times, spread=0.005, count=7):
    """A row in which everybody takes so long, and so much memory as 1."""
    row = Row("mimalloc-bench/" + name, "macro")
    for number, (allocator, center) in enumerate(times.items()):
        values = noisy(center, spread, count, hash_of(name, number))
        row.samples[allocator] = [Sample(value, value, 1.0, 1.0) for value in values]
    return row


def hash_of(name, number):
    return sum(map(ord, name)) * 10 + number


class StandingsTest(unittest.TestCase):
    def table(self, *rows):
        return [
            (
                f"w{index}",
                {name: noisy(row[name], 0.005, 7, 10 * index + number) for number, name in enumerate(row)},
            )
            for index, row in enumerate(rows)
        ]

    def test_geometric_mean_of_the_ratios_to_the_best(self):
        standings = Standings(self.table({"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 1.5}, {"a": 4.0, "b": 1.0}))
        center, low, high = standings.overall("a")
        self.assertAlmostEqual(center, 2.0, delta=0.03)
        self.assertTrue(low <= center <= high)
        self.assertAlmostEqual(standings.overall("b")[0], 2 ** (1 / 3), delta=0.03)
        self.assertAlmostEqual(standings.between("a", "b")[0], 2 / 2 ** (1 / 3), delta=0.04)
        self.assertAlmostEqual(standings.in_row("w1", "a")[0], 2.0, delta=0.04)

    def test_the_twin_is_nobodys_best(self):
        standings = Standings(self.table({"a": 1.0, "b": 2.0, "twin": 0.5}), twin="twin")
        self.assertAlmostEqual(standings.overall("a")[0], 1.0, delta=0.001)
        self.assertAlmostEqual(standings.overall("twin")[0], 0.5, delta=0.02)

    def test_rows_that_somebody_failed_do_not_count(self):
        table = self.table({"a": 1.0, "b": 2.0}) + [("failed", {"a": [1.0] * 7})]
        self.assertEqual(Standings(table).rows, ["w0"])

    def test_rows_of_a_workload_share_its_vote(self):
        table = [("sweep", values) for _, values in self.table(*[{"a": 4.0, "b": 1.0}] * 9)]
        standings = Standings(table + self.table({"a": 1.0, "b": 1.0}))
        self.assertAlmostEqual(standings.overall("a")[0], 2.0, delta=0.05)
        self.assertEqual(len(set(standings.rows)), 10)


class Verdicts(unittest.TestCase):
    def lines(self, *rows):
        return "\n".join(bars.judge(list(rows), "mimalloc-bench", "time"))

    def test_met(self):
        text = self.lines(*[suite_row(f"p{n}", {"brim": 0.9, "brim-twin": 0.9, "peer": 1.0}) for n in range(4)])
        self.assertRegex(text, r"brim / peer, the best peer = (0\.89|0\.90)\d \[.*\]; the bar is 0\.97: met")
        self.assertRegex(text, r"the twins: brim-twin / brim = (0\.99|1\.00)")
        self.assertIn("rows certainly above 1.10 of their best: none", text)

    def test_missed(self):
        text = self.lines(*[suite_row(f"p{n}", {"brim": 1.0, "peer": 1.0, "slow": 3.0}) for n in range(4)])
        self.assertRegex(text, r"brim / peer, the best peer = .*: missed")

    def test_open(self):
        text = self.lines(*[suite_row(f"p{n}", {"brim": 0.97, "peer": 1.0}, spread=0.1) for n in range(4)])
        self.assertRegex(text, r"the bar is 0\.97: open")

    def test_rows_above_the_limit(self):
        text = self.lines(
            suite_row("good", {"brim": 1.0, "peer": 1.0}),
            suite_row("bad", {"brim": 1.5, "peer": 1.0}),
            suite_row("noisy", {"brim": 1.3, "peer": 1.0}, spread=0.5),
        )
        self.assertRegex(text, r"rows certainly above 1\.10 of their best: mimalloc-bench/bad 1\.[45]\d \(from 1")
        self.assertRegex(text, r"rows perhaps above 1\.10 of their best: (none|mimalloc-bench/noisy [^,]*)$")

    def test_too_few_rounds(self):
        text = self.lines(suite_row("p", {"brim": 9.0, "peer": 1.0}, count=3))
        self.assertIn("no verdict: it takes 4 rounds", text)
        self.assertNotIn("certainly", text)

    def test_nobody_to_compare_with(self):
        self.assertEqual(self.lines(suite_row("p", {"brim": 9.0, "brim-twin": 1.0})), "")


class Suite(FolderTest):
    def setUp(self):
        super().setUp()
        self.build = os.path.join(self.folder, "out", "bench")
        os.makedirs(self.build)
        for name in ("cfrac", "larson", "mleak"):
            subject = os.path.join(os.path.realpath(support.FIXTURES), "suite_subject")
            os.symlink("/bin/false" if name == "mleak" else subject, os.path.join(self.build, name))

    def test_rows(self):
        output, document = self.run_harness(
            "--mimalloc-bench",
            self.build,
            "--field",
            "glibc,jemalloc",
            "--rounds",
            "4",
            "--bars",
        )
        names = [row["name"].removeprefix("mimalloc-bench/") for row in document["rows"]]
        self.assertEqual(names, ["cfrac", "larsonN", "mleak10", "mleak100"])
        larson = row_of(document, "mimalloc-bench/larsonN")
        self.assertEqual([sample["time"] for sample in larson["samples"]["jemalloc"]], [2.5] * 4)
        self.assertEqual(len(row_of(document, "mimalloc-bench/cfrac")["samples"]["glibc"]), 4)
        # Nothing that a program leaves may lie where the user works.
        self.assertFalse(os.path.exists("left-behind"))
        for row in document["rows"][2:]:
            self.assertRegex(row["failures"]["glibc"], "cannot be prepared: exit status 1")
        self.assertIn("CPU time: ratio to the best", output)

    def test_library_that_is_no_allocator(self):
        _, document = self.run_harness(
            "--mimalloc-bench",
            self.build,
            "--field",
            "glibc,none",
            "--allocator",
            f"none={support.fixture('libnone.so')}",
            "--rounds",
            "1",
            "--skip",
            "mleak",
        )
        self.assertRegex(document["rows"][0]["failures"]["none"], "malloc is bound to .*libc.*, not to none")

    def test_brim_is_entered_twice(self):
        """Another library stands for it: what is preloaded is not looked at here."""
        jemalloc = subprocess.run(
            ["find", "/usr/lib", "-name", "libjemalloc.so.2"], capture_output=True, text=True, check=True
        ).stdout.split()[0]
        output, document = self.run_harness(
            "--brim",
            jemalloc,
            "--mimalloc-bench",
            self.build,
            "--field",
            "glibc,brim",
            "--rounds",
            "4",
            "--bars",
            "--skip",
            "mleak",
        )
        self.assertEqual([a["name"] for a in document["allocators"]], ["glibc", "brim", "brim-twin"])
        self.assertEqual(len(row_of(document, "mimalloc-bench/cfrac")["samples"]["brim-twin"]), 4)
        self.assertRegex(output, r"mimalloc-bench, peak RSS: geometric mean of the ratios to the best, 2 rows")
        self.assertRegex(output, r"brim / glibc, the best peer = .*; the bar is 0\.97: (met|missed|open)")

    def test_folder_without_programs(self):
        output, _ = self.run_harness("--mimalloc-bench", self.folder, status=2)
        self.assertIn("no program of mimalloc-bench is built in", output)


if __name__ == "__main__":
    unittest.main()
