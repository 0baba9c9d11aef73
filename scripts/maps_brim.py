"""maps_brim: which parts of a process's memory are brim's, read from the process itself. brim describes its tables in
one object that is found by its first bytes (allocator/guide.c). A range of smaps that is brim's in part, because the
kernel joins neighbours, is cut, and its figures are shared out by the pages that are there (/proc/PID/pagemap)."""

import bisect
import os
import re
import struct
from collections import Counter
from dataclasses import dataclass, replace

GUIDE_MAGIC = b"brim\xc5guide\xd7\x0e\xa3\x91\x6b\x01"
GUIDE = struct.Struct("=16s4Q22I")
GUIDE_WORDS = [
    "magic", "regions", "region_count", "mapping_table", "heap_handles", "region_size", "region_base",
    "region_map", "region_dirty", "region_capacity", "region_is_break", "slice_size", "slice_shift",
    "table_capacity", "table_bytes", "table_entries", "mapping_size", "mapping_pointer", "mapping_base",
    "mapping_length", "heap_size", "heap_base", "heap_limit", "heap_kind", "heap_in_use", "heap_next",
    "unused",
]
SEARCHED_MOST = 64 << 20  # of one range; a guide is looked for where programs and libraries keep their data
REGIONS_MOST = 64
HEAPS_MOST = 1 << 16
READ_MOST = 1 << 30
HEAP_KINDS = {1: "private", 2: "family", 3: "file", 4: "snapshot", 5: "locked"}  # enum brim_heap_kind
HEAP_MAGIC = b"brimheap"
ROWS_MOST = 1 << 24
# What a guide can say; anybody's memory can hold anything.
ROW_SIZES, ROW_MOST, SHIFT_MOST = ("region_size", "slice_size", "mapping_size", "heap_size"), 1 << 16, 40
PAGE = os.sysconf("SC_PAGESIZE")
PRESENT_PAGES = re.compile(rb"[\x80-\xff]+")
PRESENT, SWAPPED, ALONE = 0x80, 0x40, 0x01  # in the highest byte of an entry of pagemap: see proc_pid_pagemap(5)


class Unreadable(Exception):
    """The process's memory is not to be had: no permission, or it is gone."""


@dataclass
class Heap:
    """One heap of the process: its kind, where it lies, and its file if it has one."""

    kind: str
    start: int
    end: int
    path: str = ""

    def title(self):
        if self.kind == "snapshot":
            return f"snapshot of {self.path}"
        return f"file heap {self.path}" if self.path else f"{self.kind} heap at {self.start:#x}"

    def facts(self):
        return {"kind": self.kind, "start": self.start, "end": self.end, "path": self.path or None}


@dataclass
class Area:
    """What brim says of [start, end)."""

    start: int
    end: int
    kind: str
    heap: object = None


class Memory:
    """The memory of a process, read from outside."""

    def __init__(self, process):
        try:
            self.file = os.open(process.path("mem"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise Unreadable(error.strerror) from None

    def close(self):
        os.close(self.file)

    def read(self, address, size):
        try:
            data = os.pread(self.file, min(size, READ_MOST), address)
        except (OSError, OverflowError):
            data = b""
        if len(data) != size:
            raise Unreadable(f"no memory at {address:#x}")
        return data

    def word(self, address):
        return struct.unpack("=Q", self.read(address, 8))[0]


def page_tops(process, start, end):
    """The highest byte of each page's entry in pagemap."""
    try:
        with open(process.path("pagemap"), "rb", buffering=0) as file:
            return os.pread(file.fileno(), (end - start) // PAGE * 8, start // PAGE * 8)[7::8]
    except OSError as error:
        raise Unreadable(error.strerror) from None


# ---- what brim tells ----


def find_guide(process, memory, ranges):
    """The guide of the process's brim as {word: value}, or None where there is no brim. Its page is there, as the
    loader has relocated it, or what lies around it; to read pages that are not there would change the figures."""
    for one in ranges:
        if (one.kind != "file" or "x" in one.permissions or not one.permissions.startswith("r")
                or one.end - one.start > SEARCHED_MOST):
            continue
        for pages in PRESENT_PAGES.finditer(page_tops(process, one.start, one.end)):
            data = memory.read(one.start + pages.start() * PAGE, len(pages[0]) * PAGE)
            at = data.find(GUIDE_MAGIC)
            if at >= 0 and len(data) - at >= GUIDE.size:
                guide = dict(zip(GUIDE_WORDS, GUIDE.unpack_from(data, at)))
                if guide["slice_shift"] <= SHIFT_MOST and all(0 < guide[row] <= ROW_MOST for row in ROW_SIZES):
                    return guide
    return None


def up(address):
    return -(-address // PAGE) * PAGE


def region_areas(memory, guide):
    for index in range(min(memory.word(guide["region_count"]), REGIONS_MOST)):
        region = memory.read(guide["regions"] + index * guide["region_size"], guide["region_size"])

        def field(name):
            return struct.unpack_from("=Q", region, guide[name])[0]

        capacity = field("region_capacity")
        yield Area(field("region_dirty"), up(field("region_map") + capacity * guide["slice_size"]), "brim")
        if not region[guide["region_is_break"]]:
            base = field("region_base")
            yield Area(base, base + (capacity << guide["slice_shift"]), "region")


def mapping_areas(memory, guide):
    table = memory.word(guide["mapping_table"])
    if table == 0:
        return
    capacity = memory.word(table + guide["table_capacity"])
    yield Area(table, table + up(memory.word(table + guide["table_bytes"])), "brim")
    size = guide["mapping_size"]
    if capacity > ROWS_MOST or size == 0:
        return
    rows = memory.read(table + guide["table_entries"], capacity * size)
    for at in range(0, len(rows), size):
        pointer, base, length = (struct.unpack_from("=Q", rows, at + guide[name])[0]
                                 for name in ("mapping_pointer", "mapping_base", "mapping_length"))
        if pointer > 1:
            yield Area(base, base + length, "mapping")


def heap_areas(memory, guide):
    handle = memory.word(guide["heap_handles"])
    for _ in range(HEAPS_MOST):
        if handle == 0:
            return
        data = memory.read(handle, guide["heap_size"])
        base, limit, following = (struct.unpack_from("=Q", data, guide[name])[0]
                                  for name in ("heap_base", "heap_limit", "heap_next"))
        kind = HEAP_KINDS.get(struct.unpack_from("=I", data, guide["heap_kind"])[0])
        if data[guide["heap_in_use"]] and kind:
            end = base + (limit << guide["slice_shift"])
            yield Area(base, end, "heap", Heap(kind, base, end))
        yield Area(handle, up(handle + guide["heap_size"]), "brim")
        handle = following


def areas_of(process, ranges):
    """Raises Unreadable if the process does not let itself be read."""
    memory = Memory(process)
    areas = []
    try:
        guide = find_guide(process, memory, ranges)
        for told in (region_areas, mapping_areas, heap_areas) if guide else ():
            try:
                areas += told(memory, guide)
            except (Unreadable, struct.error, IndexError):
                pass  # it changed while it was read: what is left is told as anonymous
    finally:
        memory.close()
    return areas


# ---- cutting ----


def page_counts(process, start, end):
    """How many pages of [start, end) are (present, present and mapped by this process alone, swapped)."""
    tops = Counter(page_tops(process, start, end))
    present = sum(count for top, count in tops.items() if top & PRESENT)
    alone = sum(count for top, count in tops.items() if top & PRESENT and top & ALONE)
    return present, alone, sum(count for top, count in tops.items() if top & SWAPPED)


def share_out(total, weights):
    """Whole numbers that add up to `total`, in proportion."""
    if total is None:
        return [None] * len(weights)
    shares, seen, given, whole = [], 0, 0, sum(weights)
    for weight in weights:
        seen += weight
        upto = total * seen // whole if whole else 0
        shares.append(upto - given)
        given = upto
    shares[-1] += total - given
    return shares


def cut(process, one, places):
    """The range in parts, cut at these addresses."""
    edges = [one.start, *sorted(places), one.end]
    parts = [replace(one, start=start, end=end, figures={}, offset=one.offset + (start - one.start if one.inode else 0))
             for start, end in zip(edges, edges[1:])]
    sizes = [part.end - part.start for part in parts]
    present, alone, swapped = zip(*(page_counts(process, part.start, part.end) for part in parts))
    if one.figures["shared"] == 0 and any(alone):
        present = alone  # what is left is the page of zeros, which counts for nobody
    shared = [all_of - own for all_of, own in zip(present, alone)]
    for figure, total in one.figures.items():
        weights = {"reserved": sizes, "swapped": swapped, "shared": shared, "private_dirty": alone}.get(figure, present)
        if not any(weights):
            weights = present if any(present) else sizes
        for part, share in zip(parts, share_out(total, weights)):
            part.figures[figure] = share
    return parts


def apart(areas):
    """Sorted; what overlaps its predecessor was read while it changed, and is left out."""
    kept = []
    for area in sorted(areas, key=lambda area: area.start):
        if area.start < area.end and (not kept or kept[-1].end <= area.start):
            kept.append(area)
    return kept


def mark(process, ranges):
    """The ranges, cut where an area of brim's begins or ends within one, and these given their kind."""
    areas = apart(areas_of(process, ranges))
    starts, ends = [area.start for area in areas], [area.end for area in areas]
    marked = []
    for one in ranges:
        within = areas[bisect.bisect_right(ends, one.start) : bisect.bisect_left(starts, one.end)]
        if one.kind in ("break", "stack", "kernel") or not within:
            marked.append(one)
            continue
        places = {place for area in within for place in (area.start, area.end) if one.start < place < one.end}
        for part in cut(process, one, places) if places else [one]:
            area = areas[max(bisect.bisect_right(starts, part.start) - 1, 0)]
            if area.start <= part.start and part.end <= area.end:
                part.kind, part.heap = area.kind, area.heap
                if area.heap and area.heap.kind != "family" and part.inode and part.offset == 0:
                    area.heap.path = part.name
            marked.append(part)
    return marked


def mark_by_names(ranges):
    """The same where the process's memory may not be read: by the names that kernels can keep of anonymous memory, and
    by the first bytes of the files."""
    heap, inode = None, 0
    for one in ranges:
        if match := re.match(r"\[anon(?:_shmem)?:brim heap (\w+)\]", one.name):
            one.kind, one.heap = "heap", Heap(match[1], one.start, one.end)
        elif one.kind == "file" and one.offset == 0 and file_is_heap(one):
            inode = one.inode
            heap = Heap("file" if one.permissions[3] == "s" else "snapshot", one.start, one.end, one.name)
        if heap and one.kind == "file" and one.inode == inode:
            one.kind, one.heap = "heap", heap
    return ranges


def file_is_heap(one):
    try:
        file = os.open(one.name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return False
    try:
        return os.fstat(file).st_ino == one.inode and os.pread(file, len(HEAP_MAGIC), 0) == HEAP_MAGIC
    except OSError:
        return False
    finally:
        os.close(file)
