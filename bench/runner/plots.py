"""The plots of the page, each drawn twice: for light and for dark. All data comes from the result document
(output.py), so that a page can be drawn again from result.json."""

import io
import math
import re

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402  (the backend is chosen first)
from matplotlib.colors import LinearSegmentedColormap  # noqa: E402
from matplotlib.ticker import (
    EngFormatter,
    FuncFormatter,
    LogLocator,
    MaxNLocator,  # noqa: E402
    NullFormatter,
    NullLocator,
)

from .table import quantity  # noqa: E402

THEMES = {
    "light": {
        "ground": "#ffffff",
        "text": "#1b1f24",
        "faint": "#d5dae0",
        "muted": "#5b6570",
        "fail": "#9b1c31",
        "ramp": ["#e9f5ec", "#fdf3d0", "#f6b26b", "#c8452f"],
        "ramp_text": "#1b1f24",
    },
    "dark": {
        "ground": "#14181d",
        "text": "#e6e9ec",
        "faint": "#323a43",
        "muted": "#9aa5b1",
        "fail": "#ff8095",
        "ramp": ["#1c3a2b", "#5a4f1d", "#a0591d", "#d8452f"],
        "ramp_text": "#f4f6f8",
    },
}
# Distinguishable with the common colour blindnesses, on both grounds. brim is the one drawn thick.
COLORS = {
    "brim": "#e4572e",
    "glibc": "#7a8793",
    "jemalloc": "#2f86c5",
    "mimalloc": "#3aa76d",
    "tcmalloc": "#a26bd1",
}
SPARE_COLORS = ["#c9a227", "#17a2a2", "#d6639c", "#8c6d46", "#5f7adb"]
MARKERS = ["o", "s", "D", "^", "v", "P", "X", "*", "<", ">"]


class Style:
    """Colours and markers of the allocators, the same in all plots."""

    def __init__(self, names, theme):
        self.names = names
        self.theme = THEMES[theme]
        spare = iter(SPARE_COLORS * 8)
        self.colors = {name: COLORS.get(name) or next(spare) for name in names}
        self.markers = {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(names)}

    def line(self, name):
        return {
            "color": self.colors[name],
            "linewidth": 2.4 if name == "brim" else 1.4,
            "zorder": 4 if name == "brim" else 3,
        }

    def settings(self):
        theme = self.theme
        return {
            "figure.facecolor": theme["ground"],
            "axes.facecolor": theme["ground"],
            "text.color": theme["text"],
            "axes.edgecolor": theme["faint"],
            "axes.labelcolor": theme["muted"],
            "xtick.color": theme["muted"],
            "ytick.color": theme["muted"],
            "grid.color": theme["faint"],
            "axes.grid": True,
            "grid.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "font.size": 9,
            "font.family": "sans-serif",
            "legend.frameon": False,
            "svg.fonttype": "path",
            "svg.hashsalt": "brim",
        }


def svg(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return buffer.getvalue()


def draw(names, plot, *arguments):
    """{theme: SVG bytes} of a plot function, or None where it has nothing to show."""
    drawn = {}
    for theme in THEMES:
        style = Style(names, theme)
        with pyplot.rc_context(style.settings()):
            figure = plot(style, *arguments)
            if figure is None:
                return None
            drawn[theme] = svg(figure)
    return drawn


def legend(figure, style, names, below=0.0):
    handles = [
        matplotlib.lines.Line2D([], [], marker=style.markers[name], **style.line(name)) for name in names
    ]
    figure.legend(handles, names, loc="lower center", ncol=min(6, len(names)), bbox_to_anchor=(0.5, below))


def panels(count, width=3.3, height=2.5, most=3):
    """A figure of `count` axes, at most `most` in a row; spare ones are removed."""
    columns = min(most, count)
    lines = math.ceil(count / columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(max(width * columns, 4.6), height * lines + 0.5), squeeze=False
    )
    flat = [axis for line in axes for axis in line]
    for axis in flat[count:]:
        axis.remove()
    return figure, flat[:count]


def finish(figure, style, names):
    figure.tight_layout(rect=(0, 0.6 / figure.get_figheight(), 1, 1))
    legend(figure, style, names, below=0.0)
    return figure


def plain_ticks(axis, values, text):
    axis.set_major_locator(matplotlib.ticker.FixedLocator(values))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def readable_log(axis, unit):
    """Ticks of a logarithmic axis as people write them (20 ns, 1 µs), and few of them."""
    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5), numticks=8))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_quantity(value, unit)))


def short_quantity(value, unit):
    text = quantity(value, unit)
    return re.sub(r"\.0+(?= |$)", "", re.sub(r"(\.\d)0(?= |$)", r"\1", text))


# -- heat map ------------------------------------------------------------

HEAT_MOST = 4.0  # ratios from here on have the strongest colour


def heat_map(style, rows):
    panels_of = [("time", "time"), ("rss", "peak RSS")]
    if not rows or not style.names:
        return None
    ramp = LinearSegmentedColormap.from_list("ratio", style.theme["ramp"])
    height = 0.23 * len(rows) + 1.0
    # Every column is as wide as its allocator's name needs.
    figure, axes = pyplot.subplots(1, 2, figsize=(3.4 + 2 * 0.78 * len(style.names), height), sharey=True)
    for axis, (metric, title) in zip(axes, panels_of):
        axis.grid(False)
        axis.set_xlim(0, len(style.names))
        axis.set_ylim(len(rows), 0)
        for y, row in enumerate(rows):
            for x, name in enumerate(style.names):
                heat_cell(axis, style, ramp, row, metric, name, x, y)
        axis.set_xticks([x + 0.5 for x in range(len(style.names))], style.names, color=style.theme["text"])
        axis.xaxis.tick_top()
        axis.tick_params(length=0)
        axis.set_title(title, pad=22)
        for spine in axis.spines.values():
            spine.set_visible(False)
        for y in range(1, len(rows)):
            if rows[y]["group"] != rows[y - 1]["group"]:
                axis.axhline(y, color=style.theme["muted"], linewidth=1.0)
    axes[0].set_yticks(
        [y + 0.5 for y in range(len(rows))],
        [row["name"] for row in rows],
        color=style.theme["text"],
        fontsize=8,
    )
    figure.tight_layout()
    return figure


def heat_cell(axis, style, ramp, row, metric, name, x, y):
    if name in row["failures"]:
        axis.text(
            x + 0.5,
            y + 0.5,
            "FAIL",
            ha="center",
            va="center",
            fontsize=7.5,
            weight="bold",
            color=style.theme["fail"],
        )
        return
    cell = row["estimates"][metric].get(name)
    if cell is None or cell["ratio_to_best"] is None:
        return
    ratio = cell["ratio_to_best"]
    shade = min(1.0, math.log(max(ratio, 1.0)) / math.log(HEAT_MOST))
    axis.add_patch(pyplot.Rectangle((x + 0.03, y + 0.06), 0.94, 0.88, color=ramp(shade), linewidth=0))
    text = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
    axis.text(
        x + 0.5,
        y + 0.52,
        text + ("=" if cell["level_with_best"] else ""),
        ha="center",
        va="center",
        fontsize=7.5,
        color="#ffffff" if shade > 0.8 else style.theme["ramp_text"],
        weight="bold" if cell["level_with_best"] else "normal",
    )


# -- time against memory -------------------------------------------------


def time_and_memory(style, overall):
    time, rss = overall.get("time", {}), overall.get("rss", {})
    names = [name for name in style.names if name in time and name in rss]
    if len(names) < 2:
        return None
    figure, axis = pyplot.subplots(figsize=(5.6, 4.2))
    for name in names:
        one, other = time[name], rss[name]
        bars = {}
        if None not in (one["low"], one["high"], other["low"], other["high"]):
            bars = {
                "xerr": [[one["ratio"] - one["low"]], [one["high"] - one["ratio"]]],
                "yerr": [[other["ratio"] - other["low"]], [other["high"] - other["ratio"]]],
            }
            bars = {
                key: [[max(0.0, value) for value in side] for side in sides] for key, sides in bars.items()
            }
        axis.errorbar(
            [one["ratio"]],
            [other["ratio"]],
            fmt=style.markers[name],
            markersize=9,
            capsize=3,
            color=style.colors[name],
            ecolor=style.colors[name],
            elinewidth=1,
            **bars,
        )
        axis.annotate(
            name,
            (one["ratio"], other["ratio"]),
            xytext=(8, 7),
            textcoords="offset points",
            color=style.colors[name],
            weight="bold",
        )
    axis.axvline(1, color=style.theme["muted"], linewidth=0.8, linestyle=":")
    axis.axhline(1, color=style.theme["muted"], linewidth=0.8, linestyle=":")
    axis.margins(0.2)
    axis.set_xlabel("time, ratio to glibc (geometric mean; left is faster)")
    axis.set_ylabel("peak RSS, ratio to glibc (lower is smaller)")
    figure.tight_layout()
    return figure


# -- curves --------------------------------------------------------------


def middle_sample(samples):
    """The repetition whose time is the median: a curve of one real run, not an average of several."""
    return sorted(samples, key=lambda sample: sample["time"])[len(samples) // 2]


def curves_of(row, curve):
    return {
        name: middle_sample(samples)["curves"][curve]
        for name, samples in row["samples"].items()
        if samples and middle_sample(samples)["curves"].get(curve, {}).get("points")
    }


def memory_over_time(style, rows):
    found = [(row, curves_of(row, "rss")) for row in rows]
    found = [(row, curves) for row, curves in found if curves]
    # Programs that report no curve of their own were sampled from outside.
    for row in rows:
        if row["kind"] == "macro" and row["samples"]:
            sampled = {
                name: {"x_unit": "seconds", "points": middle_sample(samples)["rss"]}
                for name, samples in row["samples"].items()
                if len(middle_sample(samples)["rss"]) > 3
            }
            if sampled:
                found.append((row, sampled))
    if not found:
        return None
    figure, axes = panels(len(found), width=3.6)
    for axis, (row, curves) in zip(axes, found):
        live = curves_of(row, "live")
        if live:
            points = next(iter(live.values()))["points"]
            axis.fill_between(
                [x for x, _ in points],
                [y / 2**20 for _, y in points],
                color=style.theme["faint"],
                linewidth=0,
                zorder=1,
            )
        for name in style.names:
            if name in curves:
                points = curves[name]["points"]
                axis.plot([x for x, _ in points], [y / 2**20 for _, y in points], **style.line(name))
        axis.set_title(row["name"])
        axis.set_xlabel(next(iter(curves.values()))["x_unit"])
        axis.set_ylabel("RSS, MiB")
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.set_ylim(bottom=0)
    return finish(figure, style, style.names)


def latency(style, rows):
    found = [(row, curves_of(row, "latency")) for row in rows]
    found = [(row, curves) for row, curves in found if curves]
    if not found:
        return None
    figure, axes = panels(len(found), width=4.4, height=3.0)
    for axis, (row, curves) in zip(axes, found):
        for name in style.names:
            if name in curves:
                points = [(x, y) for x, y in curves[name]["points"] if y > 0]
                axis.plot(
                    [x for x, _ in points],
                    [y * 1e-9 for _, y in points],
                    drawstyle="default",
                    **style.line(name),
                )
        axis.set_xscale("log")
        axis.set_yscale("log")
        plain_ticks(
            axis.xaxis,
            [1, 10, 100, 1000, 10000],
            lambda value: {1: "0 %", 10: "90 %", 100: "99 %", 1000: "99.9 %", 10000: "99.99 %"}[round(value)],
        )
        readable_log(axis.yaxis, "s")
        axis.set_title(row["name"])
        axis.set_xlabel("share of requests that were not slower")
    return finish(figure, style, style.names)


# -- scaling -------------------------------------------------------------


def median_time(row, name):
    cell = row["estimates"]["time"].get(name)
    return cell and (cell["median"], cell["low"], cell["high"])


def families(rows, argument):
    """{name without the argument: [(value of the argument, row)]} for those with at least two values."""
    found = {}
    for row in rows:
        match = re.search(rf"/{argument}:(\d+)$", row["name"])
        if match:
            found.setdefault(row["name"][: match.start()], []).append((int(match.group(1)), row))
    return {
        family: sorted(members, key=lambda member: member[0])
        for family, members in found.items()
        if len(members) > 1
    }


def plot_family(axis, style, members, y_of):
    for name in style.names:
        values = [(x, median_time(row, name)) for x, row in members]
        values = [(x, *value) for x, value in values if value]
        axis.plot(
            [v[0] for v in values],
            [y_of(v[1]) for v in values],
            marker=style.markers[name],
            markersize=4,
            **style.line(name),
        )
        # A single repetition has no interval.
        banded = [v for v in values if v[3] is not None]
        axis.fill_between(
            [v[0] for v in banded],
            [y_of(v[2]) for v in banded],
            [y_of(v[3]) for v in banded],
            color=style.colors[name],
            alpha=0.15,
            linewidth=0,
        )


def scaling_with_threads(style, rows):
    found = families(rows, "threads")
    if not found:
        return None
    figure, axes = panels(len(found))
    for axis, (family, members) in zip(axes, found.items()):
        per_iteration = members[0][1]["estimates"]["time"]
        fast = all(cell["median"] < 1e-4 for cell in per_iteration.values())
        plot_family(
            axis, style, members, (lambda seconds: 1e-6 / seconds) if fast else (lambda seconds: 1 / seconds)
        )
        axis.set_xscale("log", base=2)
        plain_ticks(axis.xaxis, [x for x, _ in members], lambda value: f"{value:.0f}")
        axis.set_ylim(bottom=0)
        axis.set_title(family)
        axis.set_xlabel("threads")
        axis.set_ylabel("million per second" if fast else "per second")
    return finish(figure, style, style.names)


def scaling_with_size(style, rows):
    found = families(rows, "size")
    if not found:
        return None
    figure, axes = panels(len(found), width=5.2, height=3.4, most=2)
    for axis, (family, members) in zip(axes, found.items()):
        plot_family(axis, style, members, lambda seconds: seconds)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        sizes = [x for x, _ in members]
        plain_ticks(axis.xaxis, sizes[:: max(1, len(sizes) // 8)], lambda value: short_quantity(value, "B"))
        axis.tick_params(axis="x", labelsize=7.5)
        readable_log(axis.yaxis, "s")
        axis.set_title(family)
        axis.set_xlabel("size of a block")
        axis.set_ylabel("time")
    return finish(figure, style, style.names)
