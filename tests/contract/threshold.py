"""threshold: the table of threshold.rows, on glibc's allocator and on brim: what each asks of the kernel for the same
step, by kind. Every row must agree, but for those that differ on purpose: DIFFERENCES has them with the reason, and a
difference that is listed must be there.

Started with STEPS (the program of steps.c) and BRIM_LIBRARY in the environment. With --all it prints the whole table,
else the rows that differ."""

import os
import re
import sys
import tempfile
from dataclasses import dataclass

from trace import read_trace, require_strace, run_traced

HERE = os.path.dirname(os.path.abspath(__file__))

@dataclass(frozen=True)
class Difference:
    """Rows that differ on purpose: scenario and step as regular expressions, the kinds, and why."""

    scenario: str
    step: str
    glibc: str
    brim: str
    reason: str

    def matches(self, scenario, step, glibc, brim):
        return (
            re.fullmatch(self.scenario, scenario)
            and re.fullmatch(self.step, step)
            and (glibc, brim) == (self.glibc, self.brim)
        )


DIFFERENCES = [
    Difference(
        "default, after frees|threshold 20000, aligned.*|no mappings from outside|two blocks on top",
        "free",
        "lowered",
        "kept",
        "a default trim threshold counts from what growth for small blocks leaves at the top, or each would be undone",
    ),
    Difference(
        "threshold 20000, in one class",
        "malloc 19977",
        "mmap",
        "break",
        "it fits the free memory of a slab that is there for smaller requests of the same size class",
    ),
    Difference(
        "realloc at page boundaries", "realloc (413672|413697)", "kept", "mremap", "no header: other sizes fill a page"
    ),
    Difference(
        "realloc at page boundaries", "realloc 413673", "mremap", "kept", "no header: other sizes fill a page"
    ),
    Difference(
        "realloc of the heap to a mapping", "realloc 131049", "mmap", "break", "the block has room: it is two slices"
    ),
    Difference("realloc of the heap to a mapping", "realloc 500000", "mremap", "mmap", "see the row before"),
]


def numbers(text):
    """The numbers of "1,2,5..8"."""
    for part in text.split(","):
        first, _, last = part.partition("..")
        yield from range(int(first), int(last or first) + 1)


def repeated(steps):
    """The steps between brackets, once for each number in their braces."""
    match = re.fullmatch(r"(.*)\{([^}]*)\}(.*)", steps)
    if not match:
        raise ValueError(f"no {{numbers}} to repeat for in [{steps}]")
    return "; ".join(f"{match[1]}{number}{match[3]}" for number in numbers(match[2]))


def read_scenarios(path):
    """Name, environment and steps of each scenario."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.partition("#")[0].strip()
            if not line:
                continue
            name, _, rest = line.partition(": ")
            rest = re.sub(r"\[([^\]]*)\]", lambda match: repeated(match[1]), rest)
            words = [word.strip() for word in rest.split(";")]
            yield name, [word for word in words if "=" in word], [word for word in words if "=" not in word]


def is_row(step):
    return step.split()[0] not in ("drain", "mallopt", "fill")


def covers(start, length, address):
    return start <= address < start + length


def kind_of_allocation(calls, address, place):
    """"mmap" or "mremap" if the block lies in what this very step got from these calls, else where it lies."""
    lengths = {"mmap": 1, "mremap": 2}
    for call in calls:
        if call.name in lengths and covers(call.result, int(call.arguments[lengths[call.name]], 0), address):
            return call.name
    return place


def kind_of_release(calls, address, break_before):
    for call in calls:
        if call.name == "munmap" and covers(int(call.arguments[0], 0), int(call.arguments[1], 0), address):
            return "munmap"
        if call.name == "brk" and call.result < break_before:
            return "lowered"
    return "kept"


def kinds_of(trace, number, steps):
    """The kind of each of the steps, which are the rows of the scenario of that number."""
    break_before, done = {}, 0
    for call in trace.calls:
        if call.name == "brk":
            break_before[id(call)] = done
            done = call.result
    found, address = [], 0
    for row, (step, block) in enumerate(zip(steps, trace.blocks, strict=True)):
        calls = trace.phases[f"{number}/{row}"]
        (note,) = [call for call in calls if call.name == "write"]
        place = note.arguments[1].strip('"').removeprefix("kind ")
        if step.split()[0] in ("free", "unfill", "trim"):
            lowered = min((break_before[id(call)] for call in calls if call.name == "brk"), default=0)
            found.append(kind_of_release(calls, address, lowered))
        else:
            found.append(kind_of_allocation(calls, block.address, place))
        address = block.address
    return found


def table_of(allocator, scenarios):
    """Runs all scenarios under one strace; returns the kinds of all rows, in order."""
    os.environ["BRIM_TEST_ALLOCATOR"] = allocator
    preload = os.environ["BRIM_LIBRARY"] if allocator == "brim" else ""
    with tempfile.NamedTemporaryFile("w", suffix=".steps") as file:
        for number, (_, environment, steps) in enumerate(scenarios):
            file.write("; ".join([f"SCENARIO={number}", *environment, *steps]) + "\n")
        file.flush()
        lines = run_traced([os.environ["STEPS"], file.name], preload, "-e", "trace=%memory,write")
    processes, number_of = {}, {}
    for line in lines:
        process = line.split(" ", 1)[0]
        processes.setdefault(process, []).append(line)
        announced = re.search(r'write\(-1, "phase (\d+)/', line)
        if announced:
            number_of[int(announced[1])] = process
    table = []
    for number, (_, _, steps) in enumerate(scenarios):
        trace = read_trace(processes[number_of[number]])
        table += kinds_of(trace, number, [step for step in steps if is_row(step)])
    return table


def main():
    require_strace()
    scenarios = list(read_scenarios(os.path.join(HERE, "threshold.rows")))
    rows = [(name, step) for name, _, steps in scenarios for step in steps if is_row(step)]
    glibc, brim = table_of("glibc", scenarios), table_of("brim", scenarios)
    unused, wrong, differing = list(DIFFERENCES), 0, 0
    for (name, step), on_glibc, on_brim in zip(rows, glibc, brim, strict=True):
        reason = ""
        if on_glibc != on_brim:
            differing += 1
            reasons = [entry for entry in DIFFERENCES if entry.matches(name, step, on_glibc, on_brim)]
            reason = reasons[0].reason if reasons else "NOT ON PURPOSE"
            wrong += not reasons
            unused = [entry for entry in unused if entry not in reasons]
        if reason or "--all" in sys.argv:
            print(f"{name:40} {step:24} {on_glibc:10} {on_brim:10} {reason}")
    print(f"{len(rows)} rows, {differing} differ, {wrong} of them not on purpose")
    for entry in unused:
        print(f"listed as different, but no row is: {entry}")
    return 1 if wrong or unused else 0


if __name__ == "__main__":
    sys.exit(main())
