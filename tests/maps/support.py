"""What the tests of scripts/maps share: the subject (subject.c) and how maps is run on it.

Started with MAPS, SUBJECT, STATIC_SUBJECT, HEAPS and BRIM_LIBRARY in the environment."""

import contextlib
import json
import os
import subprocess
import sys

MAPS = os.environ["MAPS"]
KIB, MIB = 1 << 10, 1 << 20

if not os.path.exists("/proc/self/smaps"):
    print("skipped: this kernel does not tell what is resident (no /proc/self/smaps)")
    sys.exit(77)


class Subject:
    """A running subject: `told` is {name: [(start, bytes ...)]}."""

    def __init__(self, process):
        self.pid = process.pid
        self.told = {}
        for line in process.stdout:
            if line == "ready\n":
                return
            name, *numbers = line.split()
            self.told.setdefault(name, []).append(tuple(int(number, 0) for number in numbers))
        raise AssertionError("the subject ended before it was ready")


@contextlib.contextmanager
def running(program="SUBJECT", library="", arguments=()):
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("LD_PRELOAD", "GLIBC_TUNABLES") and not name.startswith(("MALLOC_", "BRIM_"))}
    command = [os.environ[program], *arguments]
    with subprocess.Popen(command, env=environment | {"LD_PRELOAD": library}, text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        try:
            yield Subject(process)
            process.stdin.close()
            if process.wait(60) != 0:
                raise AssertionError(f"the subject ended with status {process.returncode}")
        finally:
            process.kill()


def maps(*arguments, status=0, **options):
    """(stdout, stderr) of scripts/maps."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    run = subprocess.run([MAPS, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=120,
                         check=False, **options)
    if run.returncode != status:
        raise AssertionError(f"maps {arguments} ended with status {run.returncode}: {run.stdout}{run.stderr}")
    return run.stdout, run.stderr


def report(subject, *arguments):
    return json.loads(maps("--json", *arguments, subject.pid)[0])


def range_at(document, start):
    return next(one for one in document["ranges"] if one["start"] <= start < one["end"])


def group(document, kind):
    return next((one for one in document["groups"] if one["kind"] == kind), None)
