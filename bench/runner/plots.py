"""The plots of the page, each drawn twice: for light and for dark. All data comes from the result document
(output.py), so that a page can be drawn again from result.json."""

import io
import itertools
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

# A hue for each allocator, lighter or darker as the ground wants it. Apart in normal sight and in protanopia,
# deuteranopia and tritanopia (by simulation, CIE 1976 distance 10 and more), which takes steps in lightness
# as well; for the rest each allocator has a marker of its own. The ramp goes one way in lightness.
THEMES = {
    "light": {
        "ground": "#ffffff",
        "text": "#1b1f24",
        "faint": "#d5dae0",
        "muted": "#5b6570",
        "fail": "#9b1c31",
        "ramp": ["#f3f1ec", "#fbdcae", "#ee9a4d", "#a83e0a"],
        "colors": {
            "brim": "#d1490c",
            "glibc": "#3e4246",
            "jemalloc": "#1c63b7",
            "mimalloc": "#0fa36b",
            "tcmalloc": "#c560dd",
        },
        "spare": ["#8c6d00", "#0a7f8c", "#b0305f", "#7a5230", "#5f5adb"],
    },
    "dark": {
        "ground": "#14181d",
        "text": "#e6e9ec",
        "faint": "#323a43",
        "muted": "#9aa5b1",
        "fail": "#ff8095",
        "ramp": ["#20262d", "#5a4222", "#b46a1e", "#ffb95e"],
        "colors": {
            "brim": "#ff8e43",
            "glibc": "#eef2f6",
            "jemalloc": "#5cc0ff",
            "mimalloc": "#1f8f5f",
            "tcmalloc": "#a56bb0",
        },
        "spare": ["#c9a227", "#35b5b5", "#e0739f", "#a5825a", "#8488f0"],
    },
}
MARKERS = ["o", "s", "D", "^", "v", "P", "X", "*", "<", ">"]


class Style:
    """Colours and markers of the allocators, the same in all plots."""

    def __init__(self, names, theme):
        self.names = names
        self.theme = THEMES[theme]
        spare = itertools.cycle(self.theme["spare"])
        self.colors = {name: self.theme["colors"].get(name) or next(spare) for name in names}
        self.markers = {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(names)}

    def line(self, name):
        """brim is the one drawn thick."""
        return {
            "color": self.colors[name],
            "marker": self.markers[name],
            "markersize": 4,
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
    handles = [matplotlib.lines.Line2D([], [], **style.line(name)) for name in names]
    lines = math.ceil(len(names) / 6)
    columns = math.ceil(len(names) / lines)
    figure.legend(handles, names, loc="lower center", ncol=columns, bbox_to_anchor=(0.5, below))


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
    figure.tight_layout(rect=(0, 0.35 / figure.get_figheight(), 1, 1))
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


def heat_lines(rows):
    """The rows, with each group's name ahead of its first."""
    lines = []
    for group, members in itertools.groupby(rows, key=lambda row: row["group"]):
        lines.append(group)
        lines.extend(members)
    return lines


def heat_map(style, rows):
    if not rows or not style.names:
        return None
    lines = heat_lines(rows)
    ramp = LinearSegmentedColormap.from_list("ratio", style.theme["ramp"])
    # Every column is as wide as its allocator's name needs.
    width = max(0.66, 0.1 * max(len(name) for name in style.names))
    figure, axes = pyplot.subplots(
        1, 2, figsize=(2.9 + 2 * width * len(style.names), 0.23 * len(lines) + 1.0), sharey=True
    )
    for axis, (metric, title) in zip(axes, [("time", "time"), ("rss", "peak RSS")]):
        axis.grid(False)
        axis.set_xlim(0, len(style.names))
        axis.set_ylim(len(lines), 0)
        for y, line in enumerate(lines):
            if isinstance(line, str):
                axis.axhline(y + 0.98, color=style.theme["faint"], linewidth=1.0)
                continue
            for x, name in enumerate(style.names):
                heat_cell(axis, style, ramp, line, metric, name, x, y)
        axis.set_xticks([x + 0.5 for x in range(len(style.names))], style.names, color=style.theme["text"])
        # A long map has the names at its end, too.
        axis.tick_params(length=0, top=True, labeltop=True, labelbottom=len(lines) > 30)
        axis.set_title(title, pad=22)
        for spine in axis.spines.values():
            spine.set_visible(False)
    labels = [line if isinstance(line, str) else line["name"] for line in lines]
    axes[0].set_yticks([y + 0.5 for y in range(len(lines))], labels, color=style.theme["text"], fontsize=8)
    for label, line in zip(axes[0].get_yticklabels(), lines):
        if isinstance(line, str):
            label.set(weight="bold", color=style.theme["muted"])
    figure.tight_layout()
    return figure


def readable_on(color):
    """Black or white, whichever stands out more on this cell."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.18 else "#ffffff"


def heat_cell(axis, style, ramp, row, metric, name, x, y):
    text = {"ha": "center", "va": "center", "fontsize": 7.5}
    box = {"xy": (x + 0.03, y + 0.06), "width": 0.94, "height": 0.88}
    if name in row["failures"]:
        axis.add_patch(pyplot.Rectangle(**box, fill=False, edgecolor=style.theme["fail"], linewidth=1))
        axis.text(x + 0.5, y + 0.52, "FAIL", weight="bold", color=style.theme["fail"], **text)
        return
    cell = row["estimates"][metric].get(name)
    if cell is None or cell["ratio_to_best"] is None:
        axis.text(x + 0.5, y + 0.52, "-", color=style.theme["muted"], **text)
        return
    ratio = cell["ratio_to_best"]
    color = ramp(min(1.0, math.log(max(ratio, 1.0)) / math.log(HEAT_MOST)))
    axis.add_patch(pyplot.Rectangle(**box, color=color, linewidth=0))
    axis.text(
        x + 0.5,
        y + 0.52,
        (f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}") + ("=" if cell["level_with_best"] else ""),
        color=readable_on(color),
        weight="bold" if cell["level_with_best"] else "normal",
        **text,
    )


# -- time against memory -------------------------------------------------


def bar_of(result):
    """How far the interval reaches to both sides; nothing where there is none."""
    if result["low"] is None or result["high"] is None:
        return [[0.0], [0.0]]
    return [[max(0.0, result["ratio"] - result["low"])], [max(0.0, result["high"] - result["ratio"])]]


def ratio_ticks(limits, most):
    """Ticks of a logarithmic axis of ratios: 1, and from there to both sides round figures that are far
    enough apart."""
    apart = (limits[1] / limits[0]) ** (1 / most)
    kept = [1.0]
    for figure in [0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01]:
        if limits[0] <= figure and figure * apart <= kept[-1]:
            kept.append(figure)
    kept.reverse()
    for figure in [1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100]:
        if figure <= limits[1] and figure >= kept[-1] * apart:
            kept.append(figure)
    return kept


LABEL_PLACES = [(8, 6, "left"), (-8, 6, "right"), (8, -13, "left"), (-8, -13, "right")]


def label_place(axis, name, at, taken):
    """Of the four corners of a point the one where its name lies on the least of what is drawn (`taken`,
    points in the figure's units)."""
    x, y = axis.transData.transform(at)
    unit = axis.figure.dpi / 72
    width = 7 * len(name) * unit
    within = axis.get_window_extent()

    def badness(place):
        left = x + place[0] * unit - (width if place[2] == "right" else 0)
        low = y + place[1] * unit
        covered = sum(left <= px <= left + width and low <= py <= low + 9 * unit for px, py in taken)
        return covered + (0 if within.x0 <= left and left + width <= within.x1 else 5)

    best = min(LABEL_PLACES, key=badness)
    left = x + best[0] * unit - (width if best[2] == "right" else 0)
    taken += [(left + width * part / 8, y + (best[1] + 4) * unit) for part in range(9)]
    return best


def time_and_memory(style, overall):
    time, rss = overall.get("time", {}), overall.get("rss", {})
    names = [name for name in style.names if name in time and name in rss]
    if len(names) < 2:
        return None
    figure, axis = pyplot.subplots(figsize=(6.0, 4.0))
    drawn = []  # points on marks and bars, that no name should lie on
    for name in names:
        x, y = time[name]["ratio"], rss[name]["ratio"]
        across, up = bar_of(time[name]), bar_of(rss[name])
        axis.errorbar(
            [x],
            [y],
            xerr=across,
            yerr=up,
            fmt=style.markers[name],
            markersize=11 if name == "brim" else 9,
            capsize=3,
            color=style.colors[name],
            elinewidth=1.2,
        )
        for part in range(13):
            drawn.append((x - across[0][0] + (across[0][0] + across[1][0]) * part / 12, y))
            drawn.append((x, y - up[0][0] + (up[0][0] + up[1][0]) * part / 12))
    axis.axvline(1, color=style.theme["muted"], linewidth=0.8, linestyle=":")
    axis.axhline(1, color=style.theme["muted"], linewidth=0.8, linestyle=":")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.margins(0.12)
    plain_ticks(axis.xaxis, ratio_ticks(axis.get_xlim(), 9), lambda value: f"{value:g}")
    plain_ticks(axis.yaxis, ratio_ticks(axis.get_ylim(), 9), lambda value: f"{value:g}")
    axis.set_xlabel("time, ratio to glibc (left is faster)")
    axis.set_ylabel("peak RSS, ratio to glibc (down is smaller)")
    figure.tight_layout()
    taken = [tuple(axis.transData.transform(point)) for point in drawn]
    for name in names:
        at = (time[name]["ratio"], rss[name]["ratio"])
        right, up, align = label_place(axis, name, at, taken)
        axis.annotate(
            name,
            at,
            xytext=(right, up),
            textcoords="offset points",
            ha=align,
            color=style.colors[name],
            weight="bold",
            fontsize=10,
            bbox={"facecolor": style.theme["ground"], "linewidth": 0, "alpha": 0.8, "pad": 0.5},
            zorder=5,
        )
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


def marked(count, index, among):
    """Which points of a curve bear its marker: about six, elsewhere for each allocator, so that curves that
    run on top of each other can be told apart."""
    step = max(1, count // 6)
    return (step * index // among, step)


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
        for index, name in enumerate(style.names):
            if name in curves:
                points = curves[name]["points"]
                axis.plot(
                    [x for x, _ in points],
                    [y / 2**20 for _, y in points],
                    markevery=marked(len(points), index, len(style.names)),
                    **style.line(name),
                )
        axis.set_title(row["name"])
        unit = next(iter(curves.values()))["x_unit"]
        axis.set_xlabel(unit)
        axis.set_ylabel("RSS, MiB")
        axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        # Seconds stay seconds (0.05, not 50m); steps can be millions.
        axis.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:g}") if unit == "seconds" else EngFormatter(sep="")
        )
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
                    markevery=marked(len(points), style.names.index(name), len(style.names)),
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
        axis.set_ylabel("time of a request")
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
    """Lines with a bar for each interval. The bars stand side by side: on top of each other, or as bands, no
    one could tell whose they are. For that the points are shifted a little along the (logarithmic) axis."""
    for index, name in enumerate(style.names):
        shift = 2 ** (0.05 * (index - (len(style.names) - 1) / 2))
        values = [(x, median_time(row, name)) for x, row in members]
        values = [(x, *value) for x, value in values if value]
        axis.plot([shift * v[0] for v in values], [y_of(v[1]) for v in values], **style.line(name))
        # A single repetition has no interval.
        barred = [v for v in values if v[3] is not None]
        axis.vlines(
            [shift * v[0] for v in barred],
            [y_of(v[2]) for v in barred],
            [y_of(v[3]) for v in barred],
            color=style.colors[name],
            alpha=0.6,
            linewidth=1.1,
            zorder=2,
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
        axis.set_ylabel("million iterations / s" if fast else "iterations / s")
    return finish(figure, style, style.names)


def spread(sizes):
    """Those of the sizes whose labels do not touch on a logarithmic axis; the largest is one."""
    least = max(2.0, (sizes[-1] / sizes[0]) ** (1 / 8))
    kept = [sizes[-1]]
    for size in reversed(sizes):
        if size * least <= kept[-1]:
            kept.append(size)
    return kept


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
        plain_ticks(axis.xaxis, spread(sizes), lambda value: short_quantity(value, "B"))
        axis.tick_params(axis="x", labelsize=7.5)
        readable_log(axis.yaxis, "s")
        axis.set_title(family)
        axis.set_xlabel("size of a block")
        axis.set_ylabel("time")
    return finish(figure, style, style.names)
