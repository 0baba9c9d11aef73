"""startup: what brim costs a process that does next to nothing: `bash -c :` and `git --version` make at most
6 system calls more, and hold at most 100 KiB of private memory more, than with an empty library preloaded.

Started with BRIM_LIBRARY, EMPTY_LIBRARY and EXIT_REPORT_LIBRARY (exit_report.c) in the environment."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from trace import SKIPPED, clean_environment, require_strace, run_traced

MOST_CALLS = 6
MOST_KIBIBYTES = 100
# The least of a few runs: the position of stack and break varies, and with it a page or two.
RUNS = 7

BRIM, EMPTY = os.environ["BRIM_LIBRARY"], os.environ["EMPTY_LIBRARY"]
# By its name an option: brim would look it up in a table that a quiet start does not read.
del os.environ["BRIM_LIBRARY"]


def system_calls(command, library):
    """Every process that the command starts counts; lines that are no call (signals, exits) do not."""
    lines = run_traced(command, library)
    return sum(1 for line in lines if "(" in line and "<unfinished" not in line)


def sum_private(smaps, library):
    """Private memory in KiB, as (dirty, clean). Clean pages count if they are the library's own or anonymous;
    those of other files are the page cache's, and private only as long as nobody else runs the same program."""
    dirty = clean = 0
    counts = False
    for line in smaps.splitlines():
        words = line.split()
        if re.match(r"[0-9a-f]+-[0-9a-f]+$", words[0]):
            path = " ".join(words[5:])
            counts = not path.startswith("/") or os.path.realpath(path) == os.path.realpath(library)
        elif words[0] == "Private_Dirty:":
            dirty += int(words[1])
        elif words[0] == "Private_Clean:" and counts:
            clean += int(words[1])
    return dirty, clean


def private_memory(command, library):
    """What sum_private says of a process of the command, at its exit."""
    with tempfile.NamedTemporaryFile(mode="r") as report:
        environment = clean_environment() | {
            "LD_PRELOAD": f"{os.environ['EXIT_REPORT_LIBRARY']}:{library}",
            "EXIT_REPORT": report.name,
        }
        quiet = {"stdin": subprocess.DEVNULL, "capture_output": True}
        subprocess.run(command, env=environment, check=True, timeout=60, **quiet)
        dirty, clean = sum_private(report.read(), library)
        if dirty == 0:
            raise AssertionError(f"{command} left no report")
        return dirty, clean


class Startup(unittest.TestCase):
    commands = (["bash", "-c", ":"], ["git", "--version"])

    def test_system_calls(self):
        for command in self.commands:
            with self.subTest(command=command):
                empty = min(system_calls(command, EMPTY) for _ in range(3))
                brim = min(system_calls(command, BRIM) for _ in range(3))
                print(f"{' '.join(command)}: {brim} system calls, {empty} with an empty library")
                self.assertLessEqual(brim - empty, MOST_CALLS)

    def test_private_memory(self):
        for command in self.commands:
            with self.subTest(command=command):
                empty = min((private_memory(command, EMPTY) for _ in range(RUNS)), key=sum)
                brim = min((private_memory(command, BRIM) for _ in range(RUNS)), key=sum)
                print(
                    f"{' '.join(command)}: {sum(brim)} KiB private ({brim[0]} dirty, {brim[1]} clean),"
                    f" {sum(empty)} KiB ({empty[0]}, {empty[1]}) with an empty library"
                )
                self.assertLessEqual(sum(brim) - sum(empty), MOST_KIBIBYTES)


if __name__ == "__main__":
    require_strace()
    if not os.path.exists("/proc/self/smaps"):
        print("skipped: this kernel does not tell private memory (no /proc/self/smaps)")
        sys.exit(SKIPPED)
    for program in ("bash", "git"):
        if not shutil.which(program):
            print(f"skipped: {program} is not installed")
            sys.exit(SKIPPED)
    unittest.main(verbosity=2)
