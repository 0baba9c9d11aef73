"""The order of the runs and the ways they end, with runs that are made up."""

import io
import time
import unittest

import support  # noqa: F401  (finds the runner)
from runner.field import Allocator
from runner.measure import RunFailed, Sample
from runner.rows import Row
from runner.schedule import Progress, Schedule, rotated

FIELD = [Allocator(name, "/" + name, "") for name in ("glibc", "brim", "jemalloc")]


class Recorded:
    """Stands for the runs: notes them and does what it is told."""

    def __init__(self, behaviour=None):
        self.calls = []
        self.warm_ups = []
        self.behaviour = behaviour or (lambda row, allocator: None)

    def run(self, row, allocator):
        self.calls.append((row.name, allocator.name))
        self.behaviour(row, allocator)
        return Sample(1.0, 1.0, 1.0, 1.0)

    def warm_up(self, row, allocator):
        self.warm_ups.append((row.name, allocator.name))
        time.sleep(0.001)


def schedule(recorded, names, rounds, deadline=None):
    rows = [Row(name, "micro") for name in names]
    return Schedule(rows, FIELD, rounds, recorded.run, recorded.warm_up, deadline, Progress(io.StringIO()))


class Order(unittest.TestCase):
    def test_rotated(self):
        self.assertEqual(rotated([1, 2, 3], 4), [2, 3, 1])

    def test_everybody_is_first_equally_often(self):
        recorded = Recorded()
        plan = schedule(recorded, ["a"], 6)
        plan.execute()
        first = [recorded.calls[index][1] for index in range(0, len(recorded.calls), 3)]
        self.assertEqual(sorted(first), sorted([a.name for a in FIELD] * 2))
        self.assertEqual(plan.ending, "complete")
        self.assertEqual(plan.rounds_done, 6)
        self.assertEqual(len(recorded.warm_ups), 3)
        for allocator in FIELD:
            self.assertEqual(len(plan.rows[0].samples[allocator.name]), 6)

    def test_allocators_of_a_row_run_next_to_each_other(self):
        recorded = Recorded()
        schedule(recorded, ["a", "b"], 2).execute()
        names = [row for row, _ in recorded.calls]
        self.assertEqual(names, ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"] * 3)


class Endings(unittest.TestCase):
    def test_failure_stays_in_its_row(self):
        def behaviour(row, allocator):
            if (row.name, allocator.name) == ("a", "brim"):
                raise RunFailed("SIGSEGV")

        recorded = Recorded(behaviour)
        plan = schedule(recorded, ["a", "b"], 3)
        plan.execute()
        first, second = plan.rows
        self.assertEqual(first.failures, {"brim": "SIGSEGV"})
        self.assertNotIn("brim", first.samples)
        self.assertEqual(recorded.calls.count(("a", "brim")), 1)
        self.assertEqual(len(first.samples["glibc"]), 3)
        self.assertEqual(len(second.samples["brim"]), 3)

    def test_interrupted_keeps_what_is_done(self):
        recorded = Recorded()

        def behaviour(row, allocator):
            if len(recorded.calls) == 5:
                raise KeyboardInterrupt

        recorded.behaviour = behaviour
        plan = schedule(recorded, ["a"], 10)
        plan.execute()
        self.assertEqual(plan.ending, "interrupted")
        self.assertEqual(plan.rounds_done, 1)
        self.assertEqual(sum(len(samples) for samples in plan.rows[0].samples.values()), 4)

    def test_deadline(self):
        recorded = Recorded(lambda row, allocator: time.sleep(0.01))
        plan = schedule(recorded, ["a"], 10000, deadline=0.3)
        plan.execute()
        self.assertEqual(plan.ending, "time limit")
        self.assertLess(len(recorded.calls), 1000)
        counts = {len(samples) for samples in plan.rows[0].samples.values()}
        self.assertEqual(len(counts), 1, "a row is not left half done")

    def test_too_many_rows_are_thinned_out(self):
        recorded = Recorded()

        def slow_warm_up(row, allocator):
            time.sleep(0.01)

        names = [f"row{index}" for index in range(20)]
        plan = schedule(recorded, names, 3, deadline=0.9)
        plan.warm_up = slow_warm_up
        plan.execute()
        self.assertTrue(plan.left_out)
        self.assertTrue(plan.rows)
        self.assertEqual(len(plan.left_out) + len(plan.rows), 20)

    def test_progress_tells_the_time_left(self):
        recorded = Recorded(lambda row, allocator: time.sleep(0.002))
        plan = schedule(recorded, ["a", "b"], 3)
        plan.execute()
        text = plan.progress.stream.getvalue()
        self.assertIn("warm-up, row 1/2", text)
        self.assertRegex(text, r"round 3/3, row \d/2, \d+:\d\d left: [ab] on ")


if __name__ == "__main__":
    unittest.main()
