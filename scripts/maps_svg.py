"""maps_svg: one picture of an address space: the ranges from the lowest address to the highest, as bars whose
height grows with the logarithm of the size, filled from the left as far as they are resident; what nobody uses in
between is left out. Plain SVG, which takes the reader's light or dark ground."""

import math
from xml.sax.saxutils import escape

# As in the plots of bench/, and on the same grounds: a hue for each kind, for light and for dark.
THEMES = {
    "light": {
        "ground": "#ffffff", "text": "#1b1f24", "faint": "#d5dae0", "muted": "#5b6570", "break":
        "#d1490c", "region": "#e07a3c", "mapping": "#c98a00", "heap": "#0b8a5a", "brim": "#8c6d00",
        "anonymous": "#1c63b7", "shared": "#5f5adb", "file": "#5b6570", "stack": "#b0305f", "kernel":
        "#7a5230",
    },
    "dark": {
        "ground": "#14181d", "text": "#e6e9ec", "faint": "#323a43", "muted": "#9aa5b1", "break":
        "#ff8e43", "region": "#d96a20", "mapping": "#f2c14e", "heap": "#34b981", "brim": "#b59a52",
        "anonymous": "#5cc0ff", "shared": "#8f93ff", "file": "#9aa5b1", "stack": "#e0739f", "kernel":
        "#a5825a",
    },
}

MARGIN = 24
BAR_LEFT, BAR_WIDTH = 152, 400
WORDS_LEFT = BAR_LEFT + BAR_WIDTH + 16
WIDTH = 960
ROWS_MOST = 48  # so many bars; beyond, neighbours share one
GAP_LEAST = 1 << 20  # smaller gaps are only a space


class Item:
    """What one bar stands for: neighbouring ranges that belong together."""

    def __init__(self, ranges, title):
        self.ranges = ranges
        self.titles = [title]

    @property
    def start(self):
        return self.ranges[0].start

    @property
    def end(self):
        return self.ranges[-1].end

    def kinds(self):
        return {one.kind for one in self.ranges}

    def kind(self):
        """The colour: of most of what is resident, or else reserved."""
        weight = {}
        for one in self.ranges:
            figures = one.figures
            weight[one.kind] = weight.get(one.kind, 0) + (figures["resident"] or 0) + figures["reserved"] / 2**40
        return max(weight, key=weight.get)

    def title(self, what):
        if len(self.titles) == 1:
            return self.titles[0]
        named = "files" if self.kinds() == {"file"} else "ranges"
        return f"{len(self.titles)} {what.get(self.kind(), named) if len(self.kinds()) == 1 else named}: " \
               f"{self.titles[0]} … {self.titles[-1]}"

    def join(self, other):
        joined = Item(self.ranges + other.ranges, "")
        joined.titles = self.titles + other.titles
        return joined


def short_name(title):
    return title.rpartition("/")[2] if title.startswith("/") else title


def items_of(ranges, words, what_of):
    """Neighbours that are parts of one thing are one item: a file's segments, a heap's, a stack and its guard."""
    items = []
    for one in ranges:
        title = words["kernel"] if one.kind == "kernel" else short_name(what_of(one))
        last = items[-1] if items else None
        before = last.ranges[-1] if last else None
        if (last and one.start - last.end < GAP_LEAST and before.kind == one.kind
                and (last.titles[-1] == title or (one.kind == "stack" and not before.accessible))):
            last.ranges.append(one)
            last.titles = [title]
        else:
            items.append(Item([one], title))
    return items


PROMINENT = {"break", "region", "heap"}  # these keep a bar of their own as long as can be


def fewer(items, most):
    """Joins neighbours until there are at most `most`: those of one kind first, the smallest first."""

    def joinable(one, other, strict):
        if strict:
            return one.kinds() == other.kinds() and not one.kinds() & PROMINENT
        return not (one.kinds() | other.kinds()) & PROMINENT

    for strict in (True, False):
        limit = 64 << 10
        while len(items) > most and limit < 1 << 47:
            joined = []
            for item in items:
                last = joined[-1] if joined else None
                if (last and joinable(last, item, strict) and item.end - last.start <= limit
                        and len(joined) + len(items) > most):
                    joined[-1] = last.join(item)
                else:
                    joined.append(item)
            items, limit = joined, limit * 4
    return items


def bar_height(size):
    """4 KiB: 30, and 2 for each doubling; two lines of words fit beside the lowest."""
    return 30 + 2 * max(0.0, math.log2(max(size, 4096) / 4096))


def style_sheet():
    def rules(theme):
        lines = [f".{name} {{ fill: {color} }}" for name, color in theme.items()]
        lines += [f".line {{ stroke: {theme['faint']} }}", f".mark {{ fill: {theme['text']} }}"]
        lines += [f".edge-{name} {{ stroke: {color} }}" for name, color in theme.items()]
        return " ".join(lines)

    return (
        "text { font-family: system-ui, 'DejaVu Sans', sans-serif; font-size: 12px } "
        ".mono { font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-size: 11px } "
        ".title { font-size: 18px; font-weight: 600 } .name { font-weight: 600 } .small { font-size: 11px } "
        ".end { text-anchor: end } .middle { text-anchor: middle } "
        ".reserved { fill-opacity: 0.16 } .resident { fill-opacity: 0.5 } "
        ".edge { fill: none; stroke-width: 1 } .closed { stroke-dasharray: 4 3 } "
        f"{rules(THEMES['light'])} @media (prefers-color-scheme: dark) {{ {rules(THEMES['dark'])} }}"
    )


class Picture:
    """SVG text that grows downwards."""

    def __init__(self, human):
        self.human = human
        self.parts = []
        self.y = float(MARGIN)

    def text(self, x, y, classes, content):
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{classes}">{escape(content)}</text>')

    def rectangle(self, x, y, width, height, classes, fill=""):
        extra = f' style="fill:url(#{fill})"' if fill else ""
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="2" '
                          f'class="{classes}"{extra}/>')

    def bar(self, x, y, width, height, kind, figures, closed=False):
        """Pale: reserved; half: resident; full: private and dirty; hatched: swapped; a line below: locked."""
        def share(name):
            value = figures[name]
            return 0.0 if not value else max(2.0, width * min(1.0, value / figures["reserved"]))

        self.rectangle(x, y, width, height, f"{kind} reserved")
        resident, dirty, swapped, locked = (share(n) for n in ("resident", "private_dirty", "swapped", "locked"))
        if resident:
            self.rectangle(x, y, resident, height, f"{kind} resident")
        if dirty:
            self.rectangle(x, y, dirty, height, kind)
        if swapped:
            self.rectangle(min(x + resident, x + width - swapped), y, swapped, height, kind, f"hatch-{kind}")
        if locked:
            self.rectangle(x, y + height - 3, locked, 3, "mark")
        self.rectangle(x, y, width, height, f"edge edge-{kind}{' closed' if closed else ''}")

    def header(self, title, groups, add):
        self.y += 16
        self.text(MARGIN, self.y, "text title", title)
        self.y += 14
        right = [500, 640, 790, WIDTH - MARGIN]
        columns = ["reserved", "resident", "private_dirty", "swapped"]
        self.y += 12
        for x, name in zip(right, columns):
            self.text(x, self.y, "muted small end", name.replace("_", " "))
        rows = [(kind, words, add([one.figures for one in ranges])) for kind, words, ranges in groups]
        everything = add([one.figures for _, _, ranges in groups for one in ranges])
        for kind, words, figures in [*rows, ("", "all", everything)]:
            self.y += 20
            if kind:
                self.rectangle(MARGIN, self.y - 10, 12, 12, kind)
            self.text(MARGIN + 20, self.y, "text", shortened(words, 44))
            for x, name in zip(right, columns):
                self.text(x, self.y, "text end", "–" if figures[name] == 0 else self.human(figures[name]))
        self.y += 30

    def key(self):
        """What the fills mean."""
        x = MARGIN
        sample = {"reserved": 100, "resident": 0, "private_dirty": 0, "swapped": 0, "locked": 0}
        for words, changed in [("reserved", {}), ("resident", {"resident": 100}),
                               ("private and dirty", {"private_dirty": 100}), ("swapped", {"swapped": 100}),
                               ("locked", {"locked": 100})]:
            self.bar(x, self.y - 11, 22, 14, "file", {**sample, **changed})
            self.text(x + 30, self.y, "muted small", words)
            x += 52 + 6 * len(words)
        self.bar(x, self.y - 11, 22, 14, "file", sample, closed=True)
        self.text(x + 30, self.y, "muted small", "no access")
        self.y += 20
        self.text(MARGIN, self.y, "muted small", "From the lowest address to the highest. The taller a bar, the larger "
                                                 "the range: 2 points for each doubling.")
        self.y += 18

    def gap(self, size):
        if size < GAP_LEAST:
            self.y += 6
            return
        self.y += 15
        middle = BAR_LEFT + BAR_WIDTH / 2
        self.text(middle, self.y, "muted small middle", f"{self.human(size)} not in use")
        for x in (BAR_LEFT, middle + 80):
            self.parts.append(f'<line x1="{x:g}" y1="{self.y - 4:g}" x2="{x + BAR_WIDTH / 2 - 80:g}" '
                              f'y2="{self.y - 4:g}" stroke-dasharray="1 4" class="line"/>')
        self.y += 9

    def item(self, item, figures, title):
        height = bar_height(figures["reserved"])
        closed = not any(one.accessible for one in item.ranges)
        details = [f"{self.human(figures['reserved'])}"]
        for name, words in [("resident", "resident"), ("private_dirty", "dirty"), ("shared", "shared"),
                            ("swapped", "swapped"), ("locked", "locked")]:
            if figures[name]:
                details.append(f"{self.human(figures[name])} {words}")
        if closed:
            details.append("no access")
        self.parts.append(f"<g><title>{escape(title)}&#10;{item.start:#x} to {item.end:#x}&#10;"
                          f"{escape(', '.join(details))}</title>")
        self.bar(BAR_LEFT, self.y, BAR_WIDTH, height, item.kind(), figures, closed)
        self.text(BAR_LEFT - 10, self.y + 12, "muted mono end", f"{item.start:#x}")
        self.text(WORDS_LEFT, self.y + 12, "text name", shortened(title, 50))
        self.text(WORDS_LEFT, self.y + 27, "muted small", shortened(" · ".join(details), 68))
        self.parts.append("</g>")
        self.y += height

    def svg(self, label):
        height = self.y + MARGIN
        hatches = "".join(
            f'<pattern id="hatch-{kind}" width="5" height="5" patternUnits="userSpaceOnUse" '
            f'patternTransform="rotate(45)"><rect width="2" height="5" class="{kind}"/></pattern>'
            for kind in THEMES["light"] if kind not in ("ground", "text", "faint", "muted"))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}" role="img" aria-label="{escape(label, {chr(34): "&quot;"})}">\n'
            f"<style>{style_sheet()}</style><defs>{hatches}</defs>\n"
            f'<rect width="{WIDTH}" height="{height:g}" class="ground"/>\n' + "\n".join(self.parts) + "\n</svg>\n"
        )


def shortened(text, most):
    """The middle goes first: beginnings and ends of names tell more."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    if len(text) <= most:
        return text
    return text[: most // 2] + "…" + text[len(text) - (most - most // 2 - 1):]


def draw(title, ranges, groups, add, human, what_of):
    """The picture as SVG text. `groups`: (kind, title, ranges) for the table above the bars."""
    picture = Picture(human)
    picture.header(shortened(title, 80), groups, add)
    picture.key()
    words = {kind: name for kind, name, _ in groups if kind != "heap"}
    previous = None
    # A page at the very top that belongs to the kernel says nothing, and is far from everything.
    shown = [one for one in ranges if one.name != "[vsyscall]"]
    for item in fewer(items_of(shown, words, what_of), ROWS_MOST):
        if previous is not None:
            if item.start > previous:
                picture.gap(item.start - previous)
            else:
                picture.y += 2
        picture.item(item, add([one.figures for one in item.ranges]), item.title(words))
        previous = item.end
    return picture.svg(f"address space of {title}")
