"""The table in the terminal: ratios to the best of each row, '=' where an allocator is level with the
best."""

import math

from .estimate import compare_row, overall
from .field import REFERENCE


def quantity(value, unit):
    """A figure with three significant digits and a fitting prefix."""
    if unit == "s":
        steps = [(1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s")]
    elif unit == "B":
        steps = [(1.0, "B"), (1024.0, "KiB"), (1024.0**2, "MiB"), (1024.0**3, "GiB")]
    else:
        steps = [(1.0, unit)]
    factor, name = steps[0]
    for candidate, label in steps:
        if value >= candidate:
            factor, name = candidate, label
    scaled = value / factor
    digits = 0 if scaled >= 100 else 1 if scaled >= 10 else 2
    return f"{scaled:.{digits}f} {name}".strip()


METRICS = {
    # key: (title, unit, how to read it from a sample)
    "time": ("time", "s", lambda sample: sample.time),
    "cpu": ("CPU time", "s", lambda sample: sample.cpu),
    "rss": ("peak RSS", "B", lambda sample: sample.peak_rss),
    "faults": ("page faults", "", lambda sample: sample.minor_faults),
}


def values_of(row, metric):
    read = METRICS[metric][2]
    return {name: [read(sample) for sample in samples] for name, samples in row.samples.items()}


def votes_of(rows, metric):
    return [(row.workload, values_of(row, metric)) for row in rows]


def cell_text(row, name, cells):
    if name in row.failures:
        return "FAIL"
    if name not in cells:
        return "-"
    cell = cells[name]
    if math.isnan(cell.to_best):
        return "more"
    return f"{cell.to_best:.2f}" + ("=" if cell.level_with_best else " ")


def render(rows, field, metric):
    """The lines of one table."""
    title, unit, _ = METRICS[metric]
    names = [allocator.name for allocator in field]
    width = max([len(row.name) for row in rows] + [20])
    columns = [max(7, len(name)) for name in names]
    lines = [f"{title}: ratio to the best of the row, less is better; = level with the best", ""]
    lines.append(
        f"{'':{width}s} {'best':>10s} " + " ".join(f"{name:>{size}s}" for name, size in zip(names, columns))
    )
    group = None
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(f"-- {group} --")
        cells = compare_row(values_of(row, metric), REFERENCE)
        best = quantity(min(cell.estimate.median for cell in cells.values()), unit) if cells else "-"
        texts = [cell_text(row, name, cells) for name in names]
        lines.append(
            f"{row.name:{width}s} {best:>10s} "
            + " ".join(f"{text:>{size}s}" for text, size in zip(texts, columns))
        )
    return lines


WORDS = {"time": ("faster", "slower"), "rss": ("smaller", "larger")}


def verdict_lines(rows, field):
    """The overall verdict of each allocator against the reference, in words."""
    lines = []
    for metric, (good, bad) in WORDS.items():
        answer = overall(votes_of(rows, metric), REFERENCE)
        for allocator in field:
            result = answer.get(allocator.name)
            if not result or allocator.name == REFERENCE:
                continue
            word = {"better": good, "worse": bad, "level": "level"}[result.verdict]
            interval = "" if math.isinf(result.high) else f" [{result.low:.3f}, {result.high:.3f}]"
            lines.append(
                f"{METRICS[metric][0]:8s} {allocator.name:>10s} / {REFERENCE} = {result.ratio:.3f}{interval}"
                f"  {word}  ({result.workloads} workloads, {result.rows} rows)"
            )
    if lines:
        lines.insert(
            0, "geometric means over the rows that everybody finished; the rows of a workload share its vote"
        )
    return lines


def failure_lines(rows):
    return [f"FAIL {row.name} on {name}: {reason}" for row in rows for name, reason in row.failures.items()]
