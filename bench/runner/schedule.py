"""The order of the runs, the progress on the terminal, and the ways a measurement ends: all rounds done, the
time is up, or Ctrl-C. A round runs every row once under every allocator; within a row the order of the
allocators rotates from round to round, so that a drift of the machine's speed, or whoever runs first, hits
all alike. Round 0 is the warm-up: it is run under strace, for the counts, and never timed."""

import sys
import time

from .estimate import LEAST_REPETITIONS
from .measure import RunFailed


def rotated(items, by):
    by %= len(items)
    return items[by:] + items[:by]


class Progress:
    """One line on stderr: rewritten in place on a terminal; elsewhere printed now and then, and for each new
    stage."""

    def __init__(self, stream=None, interval=15.0):
        self.stream = stream or sys.stderr
        self.interval = interval
        self.last = 0.0
        self.stage = ""

    def show(self, stage, text):
        if self.stream.isatty():
            self.stream.write(f"\r\033[K{stage}{text}")
            self.stream.flush()
        elif stage != self.stage or time.monotonic() - self.last >= self.interval:
            self.stage, self.last = stage, time.monotonic()
            self.stream.write(f"{stage}{text}\n")
            self.stream.flush()

    def clear(self):
        if self.stream.isatty():
            self.stream.write("\r\033[K")
            self.stream.flush()


def clock_text(seconds):
    seconds = int(seconds + 0.5)
    return f"{seconds // 60}:{seconds % 60:02d}"


class Schedule:
    def __init__(self, rows, field, rounds, run, warm_up, deadline=None, progress=None):
        """`run(row, allocator)` gives a Sample or raises RunFailed; `warm_up(row, allocator)` gives nothing.
        `deadline`: seconds after which no further row is begun; half of it is the most that the warm-up may
        take."""
        self.rows = rows
        self.field = field
        self.rounds = rounds
        self.run = run
        self.warm_up = warm_up
        self.deadline = deadline
        self.progress = progress or Progress()
        self.costs = {}  # row name -> [seconds of a timed run]
        self.ending = "complete"
        self.rounds_done = 0
        self.left_out = []

    def thin_out(self):
        """After the warm-up, when the time will not do for the least number of rounds: every n-th row is left
        out, on a slow or busy machine. Fewer rows with an interval say more than many without."""
        if self.deadline is None:
            return
        left = self.deadline - (time.monotonic() - self.started)
        known = [sum(costs) for costs in self.costs.values()]
        usual = sum(known) / len(known) if known else 0.0
        needed = LEAST_REPETITIONS * sum(
            sum(self.costs[row.name]) if row.name in self.costs else usual for row in self.rows
        )
        if needed <= left:
            return
        share = max(left, 0.0) / needed
        kept = [row for index, row in enumerate(self.rows) if int((index + 1) * share) != int(index * share)]
        self.left_out = [row.name for row in self.rows if row not in kept]
        self.rows = kept or self.rows[:1]

    def left(self, round_index, row_index):
        """Seconds that remain, by what the runs have cost so far."""
        known = [cost for costs in self.costs.values() for cost in costs]
        if not known:
            return None
        usual = sum(known) / len(known)
        each = [
            sum(self.costs[row.name]) / len(self.costs[row.name]) if self.costs.get(row.name) else usual
            for row in self.rows
        ]
        total = sum(each[row_index:]) + sum(each) * (self.rounds - round_index)
        total *= len(self.field)
        if self.deadline is not None:
            total = min(total, max(0.0, self.deadline - (time.monotonic() - self.started)))
        return total

    def tell(self, round_index, row_index, allocator):
        left = self.left(round_index, row_index)
        stage = "warm-up" if round_index == 0 else f"round {round_index}/{self.rounds}"
        eta = f", {clock_text(left)} left" if left is not None else ""
        row = self.rows[row_index]
        self.progress.show(
            stage, f", row {row_index + 1}/{len(self.rows)}{eta}: {row.name} on {allocator.name}"
        )

    def is_over(self):
        return self.deadline is not None and time.monotonic() - self.started > self.deadline

    def is_warm(self):
        return self.deadline is not None and 2 * (time.monotonic() - self.started) > self.deadline

    def execute(self):
        """Runs everything; the samples and failures are in the rows. An allocator that failed in a row is not
        tried in it again."""
        self.started = time.monotonic()
        try:
            for round_index in range(self.rounds + 1):
                for row_index, row in enumerate(self.rows):
                    if self.is_over():
                        self.ending = "time limit"
                        return
                    if round_index == 0 and self.is_warm():
                        break
                    for allocator in rotated(self.field, round_index + row_index):
                        if allocator.name not in row.failures:
                            self.tell(round_index, row_index, allocator)
                            self.one(round_index, row, allocator)
                self.rounds_done = round_index
                if round_index == 0:
                    self.thin_out()
        except KeyboardInterrupt:
            self.ending = "interrupted"
        finally:
            self.progress.clear()

    def one(self, round_index, row, allocator):
        begun = time.monotonic()
        try:
            if round_index == 0:
                self.warm_up(row, allocator)
            else:
                row.samples.setdefault(allocator.name, []).append(self.run(row, allocator))
        except RunFailed as failure:
            row.failures[allocator.name] = str(failure)
            row.samples.pop(allocator.name, None)
        self.costs.setdefault(row.name, []).append(time.monotonic() - begun)
