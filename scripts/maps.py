"""maps: the memory of a process as /proc/PID/smaps tells it, by what it is for: a table, JSON, or a picture
(maps_svg.py). `scripts/maps` starts it.

The kernel tells of ranges; this file decides what each is (KINDS), with what the process's own memory says of brim's
parts (maps_brim.py)."""

import argparse
import json
import os
import re
import sys
from dataclasses import dataclass, field

import maps_brim
import maps_svg

KIB = 1 << 10

# What is told of each range: name, heading, the lines of smaps that are its sum. Without the first of them the
# figure is unknown; the others are not in every kernel, nor in every range. Pages of hugetlbfs count apart there.
FIGURES = {
    "reserved": ("reserved", ["Size"]),
    "resident": ("resident", ["Rss", "Shared_Hugetlb", "Private_Hugetlb"]),
    "proportional": ("proportional", ["Pss"]),
    "shared": ("shared", ["Shared_Clean", "Shared_Dirty", "Shared_Hugetlb"]),
    "private_dirty": ("private dirty", ["Private_Dirty", "Private_Hugetlb"]),
    "swapped": ("swapped", ["Swap"]),
    "locked": ("locked", ["Locked"]),
}

# What a range can be, in the order of the table; with the words for it.
KINDS = {
    "break": "break region",
    "region": "further regions of brim",
    "mapping": "brim's large blocks",
    "heap": "heap",
    "brim": "brim's own tables",
    "anonymous": "other anonymous mappings",
    "shared": "other shared memory",
    "file": "files",
    "stack": "stacks",
    "kernel": "the kernel's pages",
}


class MapsError(Exception):
    """What a person is told in one line."""


@dataclass
class Range:
    """One range of smaps: [start, end), and its figures in bytes; None where the kernel does not tell."""

    start: int
    end: int
    permissions: str
    offset: int
    device: str
    inode: int
    name: str
    figures: dict = field(default_factory=dict)
    flags: tuple = ()
    kind: str = ""
    heap: object = None  # maps_brim.Heap

    @property
    def anonymous_private(self):
        return self.permissions[3] == "p" and self.inode == 0

    @property
    def accessible(self):
        return self.permissions[:3] != "---"


# ---- reading ----

HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) (\S+) (\d+)(?:\s+(.*))?$")
FIELD = re.compile(r"(\w+):\s+(\d+) kB$")


def parse_smaps(text):
    """The ranges of a smaps or, with reserved figures only, of a maps file."""
    ranges, fields = [], {}

    def finish():
        if ranges:
            last = ranges[-1]
            fields.setdefault("Size", last.end - last.start)
            for figure, (_, names) in FIGURES.items():
                known = names[0] in fields
                last.figures[figure] = sum(fields.get(name, 0) for name in names) if known else None
            fields.clear()

    for line in text.splitlines():
        if match := FIELD.match(line):
            fields[match[1]] = int(match[2]) * KIB
        elif match := HEAD.match(line):
            finish()
            name = (match[7] or "").strip().replace("\\012", "\n")
            ranges.append(Range(int(match[1], 16), int(match[2], 16), match[3], int(match[4], 16), match[5],
                                int(match[6]), name))
        elif line.startswith("VmFlags:") and ranges:
            ranges[-1].flags = tuple(line.split()[1:])
    finish()
    return ranges


class Process:
    """A process in /proc, or in a copy of it."""

    def __init__(self, pid, proc="/proc"):
        self.pid = pid
        self.folder = os.path.join(proc, str(pid))

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def read_text(self, *names):
        with open(self.path(*names), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def program(self):
        try:
            return self.read_text("comm").rstrip("\n")
        except OSError:
            return "?"

    def ranges(self):
        if not os.path.isdir(self.folder):
            raise MapsError(f"there is no process {self.pid}")
        try:
            try:
                text = self.read_text("smaps")
            except FileNotFoundError:
                text = self.read_text("maps")  # a kernel without smaps, unless it is the process that is gone
        except PermissionError:
            advice = "" if os.geteuid() == 0 else " by this user; root may"
            raise MapsError(f"process {self.pid} ({self.program()}) may not be read{advice}") from None
        except (FileNotFoundError, ProcessLookupError):
            raise MapsError(f"process {self.pid} ended while it was read") from None
        ranges = parse_smaps(text)
        if not ranges:
            self.explain_nothing()
        return ranges

    def explain_nothing(self):
        """No memory: a thread of the kernel, or a process on its way out, which still counts as running for a while."""
        try:
            flags = int(self.read_text("stat").rpartition(")")[2].split()[6])
        except OSError:
            flags = 0
        if flags & KERNEL_THREAD:
            raise MapsError(f"process {self.pid} ({self.program()}) has no memory of its own: it is the kernel's")
        raise MapsError(f"process {self.pid} has ended")

    def stack_pointers(self):
        """Of the threads that wait in a system call; the others' cannot be had from outside."""
        found = []
        try:
            threads = os.listdir(self.path("task"))
        except OSError:
            return found
        for thread in threads:
            try:
                words = self.read_text("task", thread, "syscall").split()
            except OSError:
                continue
            if len(words) >= 3:
                found.append(int(words[-2], 16))
        return found


# ---- deciding ----

KERNELS = re.compile(r"\[(vdso|vvar\w*|vsyscall|uprobes|sigpage|vectors)\]$")
SHARED = re.compile(r"/dev/zero \(deleted\)$|/memfd:|/SYSV[0-9a-f]{8}|/dev/shm/|\[anon_shmem:")
GUARD_MOST = 1 << 20
KERNEL_THREAD = 0x00200000  # PF_KTHREAD, among the flags in /proc/PID/stat


def kind_of(one):
    """By what the kernel says of the range alone."""
    if one.name == "[heap]":
        return "break"
    if one.name.startswith("[stack"):
        return "stack"
    if KERNELS.match(one.name):
        return "kernel"
    if re.match(r"\[anon(_shmem)?:brim\b", one.name):
        return "brim"
    if SHARED.match(one.name):
        return "shared"
    if one.inode != 0 or one.name.startswith("/"):
        return "file"
    return "anonymous"


def mark_stacks(ranges, pointers):
    """The stacks of threads are anonymous mappings; the kernel no longer names them. The range without access
    below one is its guard."""
    for at, one in enumerate(ranges):
        if one.kind == "anonymous" and any(one.start <= pointer < one.end for pointer in pointers):
            one.kind = "stack"
            below = ranges[at - 1] if at > 0 else None
            if (below and below.kind == "anonymous" and below.end == one.start and not below.accessible
                    and below.end - below.start <= GUARD_MOST):
                below.kind = "stack"


def classify(process):
    """(the ranges of the process, each with its kind, and those of heaps with their heap; what a reader must know)"""
    ranges = process.ranges()
    for one in ranges:
        one.kind = kind_of(one)
    mark_stacks(ranges, process.stack_pointers())
    try:
        return maps_brim.mark(process, ranges), ""
    except maps_brim.Unreadable as error:
        return maps_brim.mark_by_names(ranges), (
            f"Not all that is brim's could be told apart: the process's memory may not be read ({error}).")


# ---- telling ----


def add(figures):
    """Figure by figure; unknown if it is unknown of any."""
    total = {}
    for name in FIGURES:
        values = [one[name] for one in figures]
        total[name] = None if any(value is None for value in values) else sum(values)
    return total


def human(size):
    """As people write it: 12 KiB, 3.4 MiB."""
    if size is None:
        return "?"
    value = float(size)
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"]:
        if value < 1000 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if value >= 100 or value == int(value) else f"{value:.1f} {unit}"


def groups_of(ranges):
    """[(kind, title, ranges)]: each heap by itself, and everything else by kind."""
    groups = []
    for kind, words in KINDS.items():
        own = [one for one in ranges if one.kind == kind]
        if kind == "heap":
            by_heap = {}
            for one in own:
                by_heap.setdefault(id(one.heap), []).append(one)
            groups += [(kind, parts[0].heap.title(), parts) for parts in by_heap.values()]
        elif own:
            groups.append((kind, words, own))
    return groups


def printable(text):
    """Names of files are anybody's bytes; a terminal's control characters are none of them."""
    return "".join(c if c.isprintable() else "?" for c in text)


def table(ranges, every):
    if every:
        rows = [(f"{one.start:012x}-{one.end:012x} {one.permissions} {what_of(one)}", one.figures)
                for one in ranges]
    else:
        rows = [(title, add([one.figures for one in parts])) for _, title, parts in groups_of(ranges)]
    rows.append(("all", add([one.figures for one in ranges])))
    width = max(len(printable(title)) for title, _ in rows)
    lines = [" " * width + "".join(f"{heading:>14s}" for heading, _ in FIGURES.values())]
    for title, figures in rows:
        cells = "".join(f"{human(figures[name]) if figures[name] != 0 else '-':>14s}" for name in FIGURES)
        lines.append(f"{printable(title):{width}s}{cells}")
    return "\n".join(lines)


def what_of(one):
    """A range's own words: its heap, its name, or its kind."""
    if one.heap:
        return one.heap.title()
    if one.kind == "break":
        return KINDS["break"]
    if one.kind == "stack" and not one.name:
        return "a thread's stack" if one.accessible else "a stack's guard"
    if one.kind in ("region", "mapping", "brim"):
        return KINDS[one.kind]
    if not one.name:
        return "anonymous" if one.accessible else "anonymous, no access"
    return one.name


def document(process, ranges):
    def whole(value):
        return {"figures": add([one.figures for one in value])}

    return {
        "pid": process.pid,
        "program": process.program(),
        "total": whole(ranges)["figures"],
        "groups": [
            {"kind": kind, "title": title, "heap": parts[0].heap.facts() if parts[0].heap else None,
             "ranges": len(parts), **whole(parts)}
            for kind, title, parts in groups_of(ranges)
        ],
        "ranges": [
            {"start": one.start, "end": one.end, "permissions": one.permissions, "offset": one.offset,
             "name": one.name, "kind": one.kind, "figures": one.figures}
            for one in ranges
        ],
    }


def positive(text):
    if not re.fullmatch(r"[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"not a process number: {text}")
    return int(text)


def main(arguments):
    parser = argparse.ArgumentParser(prog="maps", usage="scripts/maps [--all] [--json] [--svg FILE] PID")
    parser.add_argument("pid", type=positive, metavar="PID")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--svg", metavar="FILE")
    parser.add_argument("--proc", default="/proc", help=argparse.SUPPRESS)
    wanted = parser.parse_args(arguments)
    process = Process(wanted.pid, wanted.proc)
    try:
        program = process.program()
        ranges, note = classify(process)
        if wanted.svg:
            picture = maps_svg.draw(f"{program} ({wanted.pid})", ranges, groups_of(ranges), add, human, what_of)
            with open(wanted.svg, "w", encoding="utf-8", errors="replace") as file:
                file.write(picture)
        if wanted.json:
            print(json.dumps(document(process, ranges)))
        else:
            print(f"{printable(program)} ({wanted.pid})\n")
            print(table(ranges, wanted.all))
            if note:
                print(f"\n{note}")
        sys.stdout.flush()
    except MapsError as error:
        print(f"maps: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"maps: {error.filename or 'cannot write'}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
