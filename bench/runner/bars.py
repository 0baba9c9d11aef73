"""What brim is held to, beside the newest peers, and whether a result reaches it: per group of rows and metric the
geometric mean of the ratios to the best of the row, and the rows that are too far behind their best. Every verdict
has an interval; what the noise leaves open is called open. brim is in the field twice for this: by how much the twins
differ is what the machine adds."""

from dataclasses import dataclass

from .estimate import LEAST_REPETITIONS, Standings
from .table import METRICS, votes_of

OURS = "brim"
TWIN = "brim-twin"


@dataclass(frozen=True)
class Bar:
    overall: float  # of the best peer's geometric mean
    row: float = None  # of the row's best


# (group of rows, metric) -> what is wanted there; the others are told and not judged.
BARS = {
    ("mimalloc-bench", "time"): Bar(0.97, 1.10),
    ("mimalloc-bench", "rss"): Bar(0.97, 1.25),
    ("real programs", "time"): Bar(1.0),
    ("real programs", "rss"): Bar(1.0),
}
TOLD = ("time", "cpu", "rss")


def interval_text(interval):
    center, low, high = interval
    return f"{center:.3f} [{low:.3f}, {high:.3f}]"


def overall_verdict(interval, bar):
    _, low, high = interval
    return "met" if high <= bar else "missed" if low > bar else "open"


def row_lines(standings, limit):
    """The rows above the limit: certainly so, with their whole interval, or by their median alone."""
    above = {"certainly": [], "perhaps": []}
    for name in standings.rows:
        center, low, _ = standings.in_row(name, OURS)
        if center > limit:
            above["certainly" if low > limit else "perhaps"].append((center, low, name))
    lines = []
    for word, found in above.items():
        texts = [f"{name} {center:.2f} (from {low:.2f})" for center, low, name in sorted(found, reverse=True)]
        lines.append(f"  rows {word} above {limit:.2f} of their best: {', '.join(texts) or 'none'}")
    return lines


def judge(rows, group, metric):
    """The lines for one group and metric; none where there is nobody to compare with."""
    standings = Standings(votes_of([row for row in rows if row.group == group], metric), twin=TWIN)
    peers = [name for name in standings.names if name not in (OURS, TWIN)]
    if not standings.rows or OURS not in standings.names or not peers:
        return []
    lines = [f"{group}, {METRICS[metric][0]}: geometric mean of the ratios to the best, {len(standings.rows)} rows"]
    for name in sorted(standings.names, key=lambda name: standings.overall(name)[0]):
        lines.append(f"  {name:12s} {interval_text(standings.overall(name))}")
    if standings.repetitions < LEAST_REPETITIONS:
        return lines + [f"  no verdict: it takes {LEAST_REPETITIONS} rounds"]
    if TWIN in standings.names:
        lines.append(f"  the twins: {TWIN} / {OURS} = {interval_text(standings.between(TWIN, OURS))}")
    best = min(peers, key=lambda name: standings.overall(name)[0])
    against = standings.between(OURS, best)
    bar = BARS.get((group, metric))
    verdict = f"; the bar is {bar.overall:.2f}: {overall_verdict(against, bar.overall)}" if bar else ""
    lines.append(f"  {OURS} / {best}, the best peer = {interval_text(against)}{verdict}")
    if bar and bar.row:
        lines += row_lines(standings, bar.row)
    return lines


def verdict_lines(rows):
    lines = []
    groups = list(dict.fromkeys(row.group for row in rows))
    for group in groups:
        for metric in TOLD:
            lines += judge(rows, group, metric)
    return lines
