"""From samples to verdicts. The figure of an allocator in a row is the median of its repetitions; its
interval is the bootstrap's (percentile method, 95 %). Two allocators are told apart only where their
intervals do not overlap; otherwise they are level, whatever the medians say. Bootstrap samples come from a
seeded generator: the same samples give the same verdicts."""

import collections
from dataclasses import dataclass

import numpy

RESAMPLES = 2000
CONFIDENCE = 0.95
# Two sets of three repetitions of one thing are apart one time in ten: too few for a verdict at 95 %.
LEAST_REPETITIONS = 4


@dataclass(frozen=True)
class Estimate:
    median: float
    low: float
    high: float
    count: int

    def overlaps(self, other):
        return self.low <= other.high and other.low <= self.high


def resampled_medians(values, seed):
    generator = numpy.random.default_rng(seed)
    values = numpy.asarray(values, dtype=float)
    picks = generator.integers(0, len(values), size=(RESAMPLES, len(values)))
    return numpy.median(values[picks], axis=1)


def estimate(values):
    """None without values. Too few values have no interval: it reaches from nothing to infinity, so that they
    are level with everybody."""
    if not values:
        return None
    if len(values) < LEAST_REPETITIONS:
        return Estimate(float(numpy.median(values)), 0.0, float("inf"), len(values))
    medians = resampled_medians(values, seed=len(values))
    tail = 100 * (1 - CONFIDENCE) / 2
    return Estimate(
        float(numpy.median(values)),
        float(numpy.percentile(medians, tail)),
        float(numpy.percentile(medians, 100 - tail)),
        len(values),
    )


def verdict(one, other):
    """How `one` does against `other`, where less is better: "better", "worse" or "level"."""
    if one.overlaps(other):
        return "level"
    return "better" if one.median < other.median else "worse"


@dataclass(frozen=True)
class Cell:
    """An allocator's place in a row."""

    estimate: Estimate
    to_best: float
    to_reference: float  # NaN where the reference failed
    level_with_best: bool
    against_reference: str  # "better", "worse", "level" or "unknown"


def ratio(value, base):
    """Counts can be 0 on both sides, which is equal, or on one, which no ratio expresses."""
    if base > 0:
        return value / base
    return 1.0 if value == base else float("nan")


def compare_row(values, reference):
    """{name: [value]} -> {name: Cell}, for those that have values. Less is better."""
    estimates = {name: estimate(samples) for name, samples in values.items() if samples}
    if not estimates:
        return {}
    best = min(estimates.values(), key=lambda e: e.median)
    base = estimates.get(reference)
    return {
        name: Cell(
            e,
            ratio(e.median, best.median),
            ratio(e.median, base.median) if base else float("nan"),
            e.overlaps(best),
            verdict(e, base) if base else "unknown",
        )
        for name, e in estimates.items()
    }


@dataclass(frozen=True)
class Overall:
    ratio: float
    low: float
    high: float
    rows: int
    workloads: int
    verdict: str  # against the reference


def overall(table, reference):
    """The geometric mean of the ratios to the reference over all rows that everybody finished, with its
    interval. The rows of one workload (its sizes, its thread counts) share one vote: a sweep of twenty sizes
    is not twenty workloads. `table` is a list of (workload, {name: [value]}); every name is in the answer
    unless no row counts."""
    names = sorted({name for _, values in table for name in values})
    complete = [
        (workload, values)
        for workload, values in table
        if all(values.get(name) and min(values[name]) > 0 for name in names)
    ]
    if reference not in names or not complete:
        return {}
    votes = collections.Counter(workload for workload, _ in complete)
    answer = {}
    for name in names:
        logarithms = numpy.zeros(RESAMPLES)
        center = 0.0
        for index, (workload, values) in enumerate(complete):
            weight = 1 / (votes[workload] * len(votes))
            # Different seeds for the two sides: their noise is not the same noise.
            own = resampled_medians(values[name], seed=2 * index)
            base = resampled_medians(values[reference], seed=2 * index + 1)
            logarithms += weight * (numpy.log(own) - numpy.log(base))
            center += weight * (
                numpy.log(numpy.median(values[name])) - numpy.log(numpy.median(values[reference]))
            )
        tail = 100 * (1 - CONFIDENCE) / 2
        low, high = numpy.exp(numpy.percentile(logarithms, [tail, 100 - tail]))
        center = float(numpy.exp(center))
        if name == reference:
            low = high = center = 1.0
        elif min(len(values[n]) for _, values in complete for n in (name, reference)) < LEAST_REPETITIONS:
            low, high = 0.0, float("inf")
        word = "level" if low <= 1.0 <= high else "better" if high < 1.0 else "worse"
        answer[name] = Overall(center, float(low), float(high), len(complete), len(votes), word)
    return answer


class Standings:
    """How far everybody is from the best of each row, over the rows that everybody finished. The rows of a workload
    share its vote, as above. The best is taken anew in each resample, so that its noise is in the intervals; a second
    entry of the same library, the twin, is no candidate for it. Intervals are (center, low, high)."""

    def __init__(self, table, twin=None):
        """`table` is a list of (workload, {name: [value]}); the row is known by its workload, or by that and a
        number where there are several."""
        self.names = sorted({name for _, values in table for name in values})
        self.rows = []
        self.repetitions = 0
        self.logarithms = {name: [] for name in self.names}  # one array for each row, the medians' own first
        candidates = [name for name in self.names if name != twin] or self.names
        workloads = []
        for index, (workload, values) in enumerate(table):
            if not all(values.get(name) and min(values[name]) > 0 for name in self.names):
                continue
            fewest = min(len(samples) for samples in values.values())
            self.repetitions = min(self.repetitions or fewest, fewest)
            medians = {}
            for number, name in enumerate(self.names):
                resampled = resampled_medians(values[name], seed=len(self.names) * index + number)
                medians[name] = numpy.log(numpy.concatenate(([numpy.median(values[name])], resampled)))
            best = numpy.min([medians[name] for name in candidates], axis=0)
            workloads.append(workload)
            count = workloads.count(workload)
            self.rows.append(workload if count == 1 else f"{workload} {count}")
            for name in self.names:
                self.logarithms[name].append(medians[name] - best)
        votes = collections.Counter(workloads)
        self.weights = [1 / (votes[workload] * len(votes)) for workload in workloads]

    @staticmethod
    def interval(logarithms):
        tail = 100 * (1 - CONFIDENCE) / 2
        low, high = numpy.percentile(logarithms[1:], [tail, 100 - tail])
        return tuple(float(numpy.exp(value)) for value in (logarithms[0], low, high))

    def mean(self, name):
        return numpy.average(self.logarithms[name], axis=0, weights=self.weights)

    def overall(self, name):
        return self.interval(self.mean(name))

    def in_row(self, row, name):
        return self.interval(self.logarithms[name][self.rows.index(row)])

    def between(self, one, other):
        return self.interval(self.mean(one) - self.mean(other))
