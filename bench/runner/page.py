"""One HTML page with everything, that opens offline: no script, no font, no image from elsewhere. Its colours
follow the reader's light or dark setting."""

import base64
import html
import os
import re

from . import plots
from .table import METRICS, WORDS, quantity

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1b1f24; --muted: #5b6570; --line: #d5dae0;
  --panel: #f5f7f9; --good: #1d7a46; --bad: #b03a2e; --fail: #9b1c31; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #14181d; --text: #e6e9ec; --muted: #9aa5b1; --line: #323a43;
  --panel: #1c2229; --good: #63c78d; --bad: #f0806f; --fail: #ff8095; } }
* { box-sizing: border-box; }
body { background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 1080px; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 40px 0 6px; }
p { max-width: 80ch; } .muted { color: var(--muted); }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid var(--line); font-weight: 600; }
.group td { background: var(--panel); font-weight: 600; }
.scroll { overflow-x: auto; } .better { color: var(--good); } .worse { color: var(--bad); }
td small { display: block; max-width: 16ch; white-space: normal; color: var(--muted); font-size: 12px;
  font-weight: 400; }
.overall td { vertical-align: top; } .overall small { margin-left: auto; }
.overall td:first-child small { margin-left: 0; } .overall th, .overall td { padding: 4px 28px 4px 0; }
.scroll th:first-child, .scroll td:first-child { position: sticky; left: 0; background: var(--ground); }
.scroll .group td:first-child { background: var(--panel); }
.fail { color: var(--fail); font-weight: 600; } .best { font-weight: 700; }
figure { margin: 12px 0; overflow-x: auto; } figure img { max-width: 100%; height: auto; display: block; }
@media (max-width: 600px) { body { padding: 16px 14px 40px; }
  .overall th, .overall td { padding-right: 12px; }
  .scroll td:first-child { max-width: 40vw; white-space: normal; overflow-wrap: anywhere; }
  dl { display: block; } dd { margin-bottom: 6px; } }
details { margin: 8px 0; } summary { cursor: pointer; font-weight: 600; padding: 4px 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; }
dt { color: var(--muted); } dd { margin: 0; }
"""


def escape(text):
    return html.escape(str(text))


def figure(drawn, description):
    """Both drawings; the browser shows the one for the reader's setting."""

    def uri(theme):
        return "data:image/svg+xml;base64," + base64.b64encode(drawn[theme]).decode("ascii")

    # Where a plot is too wide for a phone, its letters are: there it scrolls.
    width = float(re.search(rb'<svg[^>]* width="([0-9.]+)pt"', drawn["light"]).group(1))
    wide = f' style="min-width: {width:.0f}px"' if width > 600 else ""
    return (
        f'<figure><picture>'
        f'<source media="(prefers-color-scheme: dark)" srcset="{uri("dark")}">'
        f'<img src="{uri("light")}" alt="{escape(description)}"{wide}></picture></figure>'
    )


def overall_cell(result, words, reference):
    if result is None:
        return "<td>-</td>"
    if reference:
        return "<td>1.000<small>reference</small></td>"
    interval = ""
    if result["high"] is not None:
        interval = f"<small>{result['low']:.3f} to {result['high']:.3f}</small>"
    word = {"better": words[0], "worse": words[1], "level": "level"}[result["verdict"]]
    return f'<td>{result["ratio"]:.3f} <span class="{result["verdict"]}">{word}</span>{interval}</td>'


def overall_table(document):
    reference = document["reference"]
    lines = ['<table class="overall"><thead><tr><th>allocator</th>']
    lines += [f"<th>{METRICS[metric][0]}</th>" for metric in WORDS]
    lines.append("<th>FAIL</th></tr></thead><tbody>")
    for allocator in document["allocators"]:
        name = allocator["name"]
        lines.append(f"<tr><td>{escape(name)}<small>{escape(allocator['version'])}</small></td>")
        for metric, words in WORDS.items():
            result = document["overall"].get(metric, {}).get(name)
            lines.append(overall_cell(result, words, name == reference))
        failed = sum(name in row["failures"] for row in document["rows"])
        lines.append(f'<td{" class=fail" if failed else ""}>{failed}</td></tr>')
    lines.append("</tbody></table>")
    result = next(iter(document["overall"].get("time", {}).values()), {"rows": 0, "workloads": 0})
    return "".join(lines) + (
        f'<p class="muted">Geometric mean of the ratios to {escape(reference)} over the '
        f"{result['workloads']} workloads ({result['rows']} rows, those of a workload share its vote) "
        f"that everybody finished, and its 95 % interval by bootstrap. Less is better. An interval "
        f"that contains 1 is reported as level.</p>"
    )


def figures_table(document, metric):
    names = [allocator["name"] for allocator in document["allocators"]]
    unit = METRICS[metric][1]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = [f"<table><thead><tr><th>{METRICS[metric][0]}</th>{head}</tr></thead><tbody>"]
    group = None
    for row in document["rows"]:
        if row["group"] != group:
            group = row["group"]
            lines.append(f'<tr class="group"><td colspan="{len(names) + 1}">{escape(group)}</td></tr>')
        lines.append(f"<tr><td>{escape(row['name'])}</td>")
        for name in names:
            cell = row["estimates"][metric].get(name)
            if name in row["failures"]:
                lines.append(f'<td class="fail" title="{escape(row["failures"][name])}">FAIL</td>')
            elif cell is None:
                lines.append("<td>-</td>")
            else:
                low, high = cell["low"], cell["high"]
                hint = "" if high is None else f"{quantity(low, unit)} to {quantity(high, unit)}"
                mark = "=" if cell["level_with_best"] else ""
                lines.append(
                    f'<td title="{escape(hint)}"{" class=best" if mark else ""}>'
                    f'{quantity(cell["median"], unit)}{mark}</td>'
                )
        lines.append("</tr>")
    lines.append("</tbody></table>")
    return "".join(lines)


def calls_table(document):
    names = [allocator["name"] for allocator in document["allocators"]]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = [f"<table><thead><tr><th>system calls</th>{head}</tr></thead><tbody>"]
    for row in document["rows"]:
        if not row["system_calls"]:
            continue
        lines.append(f"<tr><td>{escape(row['name'])}</td>")
        for name in names:
            counts = row["system_calls"].get(name)
            hint = ", ".join(f"{call} {count}" for call, count in sorted((counts or {}).items()))
            lines.append(f'<td title="{escape(hint)}">{sum(counts.values()) if counts else "-"}</td>')
        lines.append("</tr>")
    return "".join(lines) + "</tbody></table>"


def counters_table(document):
    """What a workload counted itself: percentiles, resident over live, pages copied."""
    names = [allocator["name"] for allocator in document["allocators"]]
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = [f"<table><thead><tr><th>counter</th>{head}</tr></thead><tbody>"]
    for row in document["rows"]:
        counters = []
        for samples in row["samples"].values():
            for key in samples[0]["counters"] if samples else []:
                if key not in counters:
                    counters.append(key)
        for counter in counters:
            lines.append(f"<tr><td>{escape(row['name'])} {escape(counter)}</td>")
            for name in names:
                values = sorted(sample["counters"].get(counter, 0) for sample in row["samples"].get(name, []))
                lines.append(f"<td>{values[len(values) // 2]:.4g}</td>" if values else "<td>-</td>")
            lines.append("</tr>")
    return "".join(lines) + "</tbody></table>"


def failures_list(document):
    items = [
        f'<li><span class="fail">FAIL</span> {escape(row["name"])} on {escape(name)}: '
        f"{escape(reason)}</li>"
        for row in document["rows"]
        for name, reason in row["failures"].items()
    ]
    return f"<h2>Failures</h2><ul>{''.join(items)}</ul>" if items else ""


def machine_list(document):
    entries = {**document["machine"], **document["settings"]}
    if "memory_bytes" in entries:
        entries = {"memory": quantity(entries.pop("memory_bytes"), "B"), **entries}

    def readable(value):
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:.3g}" if isinstance(value, float) else value

    items = "".join(
        f"<dt>{escape(key.replace('_', ' '))}</dt><dd>{escape(readable(value))}</dd>"
        for key, value in entries.items()
    )
    return f"<dl>{items}</dl>"


def ending_note(document):
    """What the reader must know before the figures: that there is not all of them."""
    settings = document["settings"]
    notes = []
    if settings["ending"] != "complete":
        notes.append(
            f"<strong>Not all rounds were run</strong> (ended by: {escape(settings['ending'])}, after "
            f"{settings['rounds_done']} of {settings['rounds']} whole rounds). What was measured by then is "
            "below."
        )
    left_out = settings.get("rows_left_out_for_time", "none")
    if left_out != "none":
        notes.append(
            f"<strong>{left_out.count(',') + 1} rows were left out</strong> for lack of time; the end of the "
            "page names them."
        )
    return "".join(f"<p>{note}</p>" for note in notes)


def render(document, folder):
    """The page; each plot is also left as SVG files in `folder`, for a document that wants only one."""
    names = [allocator["name"] for allocator in document["allocators"]]
    rows = [row for row in document["rows"] if row["samples"] or row["failures"]]
    sections = []

    def add(title, note, function, *arguments):
        drawn = plots.draw(names, function, *arguments)
        if drawn:
            for theme, image in drawn.items():
                name = f"{title.lower().replace(' ', '-')}-{theme}.svg"
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(image)
            sections.append(f'<h2>{title}</h2><p class="muted">{note}</p>{figure(drawn, title)}')

    add(
        "Time against memory",
        "Geometric means over the rows that everybody finished. The lower left corner is where to be. "
        "Bars: 95 % intervals; both axes are logarithmic.",
        plots.time_and_memory,
        document["overall"],
    )
    add(
        "Every row",
        "Ratio to the best of the row; = means level with the best (intervals overlap). The strongest colour "
        f"is {plots.HEAT_MOST:g} times the best, or more. FAIL: crashed, hung, or gave a wrong answer.",
        plots.heat_map,
        rows,
    )
    add(
        "Memory over time",
        "Resident memory of one run (that of the median time), lower is better. Shaded: the bytes that were "
        "live, where the workload knows.",
        plots.memory_over_time,
        rows,
    )
    add(
        "Latency",
        "How long requests took, up to the slowest in ten thousand; one run (that of the median time). "
        "Lower is better.",
        plots.latency,
        rows,
    )
    add(
        "Scaling with threads",
        "Throughput, higher is better; bars are 95 % intervals.",
        plots.scaling_with_threads,
        rows,
    )
    add(
        "Scaling with size",
        "Time of one allocation and its free, lower is better; bars are 95 % intervals.",
        plots.scaling_with_size,
        rows,
    )

    tables = "".join(
        f'<details><summary>{METRICS[metric][0]}</summary><div class="scroll">'
        f"{figures_table(document, metric)}</div></details>"
        for metric in METRICS
    )
    tables += (
        "<details><summary>system calls that an allocator makes (memory and waiting; hover for which)"
        "</summary>"
        f'<div class="scroll">{calls_table(document)}</div></details>'
    )
    tables += (
        "<details><summary>counters of the workloads (latencies in ns; median of the repetitions)"
        "</summary>"
        f'<div class="scroll">{counters_table(document)}</div></details>'
    )
    machine = document["machine"]
    subtitle = (
        f"{machine['processor']}, {machine['cores']} cores"
        f"{', virtual' if machine['virtual_machine'] else ''}; "
        f"Linux {machine['kernel']}; transparent huge pages: {machine['transparent_hugepages']}; "
        f"{machine['date'][:10]}"
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>Memory allocators compared</title>'
        f"<style>{STYLE}</style></head><body><h1>Memory allocators compared</h1>"
        f'<p class="muted">{escape(subtitle)}</p>{ending_note(document)}'
        f'<div class="scroll">{overall_table(document)}</div>{failures_list(document)}{"".join(sections)}'
        f'<h2>Figures</h2><p class="muted">Medians; = and bold: level with the best of the row. Hover for '
        f"the interval.</p>{tables}<h2>Measured on</h2>{machine_list(document)}</body></html>\n"
    )


def write(folder, document):
    path, plot_folder = os.path.join(folder, "index.html"), os.path.join(folder, "plots")
    os.makedirs(plot_folder, exist_ok=True)
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(render(document, plot_folder))
    os.replace(path + ".part", path)
    return path
