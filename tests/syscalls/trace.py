"""trace: runs a program under strace and reads what it wrote: the phases and blocks that the program notes by
writes to no file, and the system calls between them. Shared by the tests that read system calls."""

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

SKIPPED = 77


@dataclass
class Call:
    """One system call that is complete, as strace writes it."""

    name: str
    arguments: list[str]
    result: int

    def __str__(self):
        return f"{self.name}({', '.join(self.arguments)}) = {self.result:#x}"


@dataclass
class Block:
    """A block that the program noted, and how many calls had been made by then."""

    address: int
    calls_before: int


@dataclass
class Trace:
    """The calls by phase, in order; the first phase, before any note, is ''. Blocks as they were noted."""

    calls: list[Call] = field(default_factory=list)
    phases: dict[str, list[Call]] = field(default_factory=lambda: {"": []})
    blocks: list[Block] = field(default_factory=list)

    def named(self, phase, *names):
        return [call for call in self.phases[phase] if call.name in names]

    def breaks(self):
        """Where the break was, first to last."""
        return [call.result for call in self.calls if call.name == "brk"]

    def mapping_of(self, block):
        """The last mmap or mremap before the block's note that returned memory around it, or None."""
        length_argument = {"mmap": 1, "mremap": 2}
        for call in reversed(self.calls[: block.calls_before]):
            if call.name in length_argument:
                length = int(call.arguments[length_argument[call.name]], 0)
                if call.result <= block.address < call.result + length:
                    return call
        return None

    def lies_on_break(self, block):
        return min(self.breaks()) <= block.address < max(self.breaks())


CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\w+)")
NOTE = re.compile(r'^(?:\d+ +)?write\(-1, "(phase|block) ([^"]*)"')


def clean_environment():
    """This process's environment without what would change the allocator under test."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("LD_PRELOAD", "GLIBC_TUNABLES") and not name.startswith("MALLOC_")
    }


def run_traced(command, preload, *options):
    """Runs the command under strace, the libraries preloaded into it and not into strace; returns the lines."""
    with tempfile.NamedTemporaryFile(mode="r", errors="replace") as log:
        strace = ["strace", "-f", "-s", "64", "-o", log.name, *options, "-E", f"LD_PRELOAD={preload}"]
        quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        run = subprocess.run(strace + command, env=clean_environment(), timeout=120, **quiet)
        if run.returncode != 0:
            raise AssertionError(f"{' '.join(command)} ended with status {run.returncode}: {run.stderr}")
        return log.read().splitlines()


def require_strace():
    """Ends the test as skipped where no process may be traced."""
    try:
        command = ["strace", "-o", "/dev/null", "true"]
        probe = subprocess.run(command, capture_output=True, text=True, timeout=60)
        reason = probe.stderr.strip()
    except FileNotFoundError:
        probe, reason = None, "strace is not installed"
    if probe is None or probe.returncode != 0:
        print(f"skipped: no process can be traced here: {reason}")
        sys.exit(SKIPPED)


def read_trace(lines):
    """Calls of other threads that were interrupted in the log are put together again first."""
    trace, phase, unfinished = Trace(), "", {}
    for line in lines:
        process = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            unfinished[process] = line[: -len("<unfinished ...>")]
            continue
        resumed = re.search(r"<\.\.\. \w+ resumed>", line)
        if resumed:
            line = unfinished.pop(process, "") + line[resumed.end() :]
        note = NOTE.match(line)
        if note and note[1] == "phase":
            phase = note[2]
            trace.phases.setdefault(phase, [])
            continue
        if note:
            trace.blocks.append(Block(int(note[2], 16), len(trace.calls)))
            continue
        match = CALL.match(line)
        if match and match[3] != "?":
            call = Call(match[1], match[2].split(", "), int(match[3], 0))
            trace.calls.append(call)
            trace.phases[phase].append(call)
    return trace
