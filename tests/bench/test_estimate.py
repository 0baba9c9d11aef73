"""The verdicts, on samples that are made up: nothing here is measured, so nothing here can flicker."""

import math
import random
import unittest

import support  # noqa: F401  (finds the runner)
from runner.estimate import LEAST_REPETITIONS, compare_row, estimate, overall, verdict


def noisy(center, spread, count, seed):
    generator = random.Random(seed)
    return [center * generator.lognormvariate(0, spread) for _ in range(count)]


class Estimate(unittest.TestCase):
    def test_interval_holds_the_median_and_is_reproducible(self):
        values = noisy(5.0, 0.1, 9, seed=1)
        first, second = estimate(values), estimate(list(values))
        self.assertEqual(first, second)
        self.assertLessEqual(min(values), first.low)
        self.assertLessEqual(first.low, first.median)
        self.assertLessEqual(first.median, first.high)
        self.assertLessEqual(first.high, max(values))

    def test_interval_narrows_with_more_repetitions(self):
        few, many = (estimate(noisy(1.0, 0.1, count, seed=2)) for count in (7, 200))
        self.assertLess(many.high - many.low, (few.high - few.low) / 2)

    def test_no_values_no_estimate(self):
        self.assertIsNone(estimate([]))

    def test_interval_covers_the_true_median(self):
        """95 % intervals of the bootstrap: over many rows they must not be far too narrow."""
        covered = 0
        for seed in range(400):
            interval = estimate(noisy(1.0, 0.05, 11, seed))
            covered += interval.low <= 1.0 <= interval.high
        self.assertGreaterEqual(covered / 400, 0.90)


class Verdicts(unittest.TestCase):
    def test_factor_is_found(self):
        cells = compare_row({"glibc": noisy(1.0, 0.02, 7, 1), "slow": noisy(1.5, 0.02, 7, 2)}, "glibc")
        self.assertEqual(cells["slow"].against_reference, "worse")
        self.assertAlmostEqual(cells["slow"].to_best, 1.5, delta=0.06)
        self.assertFalse(cells["slow"].level_with_best)
        self.assertTrue(cells["glibc"].level_with_best)

    def test_better_than_reference(self):
        cells = compare_row({"glibc": noisy(1.0, 0.02, 7, 1), "fast": noisy(0.5, 0.02, 7, 2)}, "glibc")
        self.assertEqual(cells["fast"].against_reference, "better")
        self.assertAlmostEqual(cells["fast"].to_reference, 0.5, delta=0.03)

    def test_same_allocator_is_level(self):
        """Two sets of samples of one thing: now and then told apart (that is what 95 % means), mostly
        level."""
        level = 0
        for seed in range(200):
            level += (
                verdict(estimate(noisy(1.0, 0.05, 7, seed)), estimate(noisy(1.0, 0.05, 7, 1000 + seed)))
                == "level"
            )
        self.assertGreaterEqual(level, 190)

    def test_overlapping_is_level_whatever_the_medians(self):
        cells = compare_row({"glibc": [1.0, 1.2, 1.4], "other": [1.1, 1.3, 1.5]}, "glibc")
        self.assertEqual(cells["other"].against_reference, "level")
        self.assertTrue(cells["other"].level_with_best)

    def test_few_repetitions_are_level_with_everybody(self):
        for count in range(1, LEAST_REPETITIONS):
            cells = compare_row({"glibc": [1.0] * count, "other": [9.0] * count}, "glibc")
            self.assertEqual(cells["other"].against_reference, "level")

    def test_failed_reference(self):
        cells = compare_row({"glibc": [], "other": [1.0, 1.0]}, "glibc")
        self.assertEqual(cells["other"].against_reference, "unknown")
        self.assertTrue(math.isnan(cells["other"].to_reference))

    def test_counts_of_zero(self):
        cells = compare_row({"glibc": [0] * 5, "other": [5] * 5}, "glibc")
        self.assertEqual(cells["glibc"].to_best, 1.0)
        self.assertTrue(math.isnan(cells["other"].to_best))
        self.assertEqual(cells["other"].against_reference, "worse")


class Overall(unittest.TestCase):
    def rows(self, factors, count=7):
        return [
            (
                f"w{index}",
                {
                    "glibc": noisy(1.0, 0.03, count, 10 * index),
                    "other": noisy(factor, 0.03, count, 10 * index + 1),
                },
            )
            for index, factor in enumerate(factors)
        ]

    def test_geometric_mean(self):
        result = overall(self.rows([0.5, 2.0, 4.0, 0.25]), "glibc")["other"]
        self.assertAlmostEqual(result.ratio, 1.0, delta=0.05)
        self.assertEqual(result.verdict, "level")
        result = overall(self.rows([0.5, 0.5, 0.5]), "glibc")["other"]
        self.assertAlmostEqual(result.ratio, 0.5, delta=0.02)
        self.assertEqual(result.verdict, "better")
        self.assertLess(result.high, 1.0)

    def test_rows_that_somebody_failed_do_not_count(self):
        rows = self.rows([2.0, 2.0])
        rows.append(("failed", {"glibc": [1.0] * 5}))
        result = overall(rows, "glibc")["other"]
        self.assertEqual(result.rows, 2)
        self.assertAlmostEqual(result.ratio, 2.0, delta=0.1)

    def test_rows_of_a_workload_share_its_vote(self):
        rows = [("sweep", values) for _, values in self.rows([4.0] * 9)] + self.rows([1.0])
        result = overall(rows, "glibc")["other"]
        self.assertAlmostEqual(result.ratio, 2.0, delta=0.1)
        self.assertEqual((result.workloads, result.rows), (2, 10))

    def test_nothing_to_compare(self):
        self.assertEqual(overall([("a", {"glibc": [1.0, 1.0]}), ("b", {"other": [1.0, 1.0]})], "glibc"), {})
        self.assertEqual(overall([("a", {"other": [1.0, 1.0]})], "glibc"), {})

    def test_single_repetitions_are_level(self):
        self.assertEqual(
            overall([("a", {"glibc": [1.0], "other": [9.0]})], "glibc")["other"].verdict, "level"
        )


if __name__ == "__main__":
    unittest.main()
