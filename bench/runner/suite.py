"""The programs of mimalloc-bench, for those who have it built: rows like those of real programs, with the arguments
that its own bench.sh gives them. A program's time is the figure that it prints, where it prints one: some run for a
fixed time and tell how much they did in it."""

import os
import re
from dataclasses import replace

from .macro import Program, digest
from .measure import RunFailed

THREADS = str(os.cpu_count())
SEED = "4141"


class Figure:
    """The seconds that a program prints, or those of one operation where it prints how many it did."""

    def __init__(self, pattern, is_rate=False):
        self.pattern = re.compile(pattern, re.MULTILINE)
        self.is_rate = is_rate

    def seconds(self, text):
        match = self.pattern.search(text)
        figure = float(match[1]) if match else 0.0
        if figure <= 0:
            raise RunFailed("it printed no figure")
        return 1 / figure if self.is_rate else figure


LARSON = Figure(r"relative time: ([0-9.]+)s")

# name, its file, its arguments, its figure (None: the wall time)
PROGRAMS = [
    ("cfrac", "cfrac", ["17545186520507317056371138836327483792789528"], None),
    ("espresso", "espresso", ["{sources}/espresso/largest.espresso"], None),
    ("barnes", "barnes", [], None),
    ("larsonN", "larson", ["2", "8", "1000", "5000", "100", SEED, THREADS], LARSON),
    ("larsonN-sized", "larson-sized", ["2", "8", "1000", "5000", "100", SEED, THREADS], LARSON),
    ("mstressN", "mstress", [THREADS, "50", "25"], None),
    (
        "rptestN",
        "rptest",
        [THREADS, "0", "1", "2", "500", "1000", "100", "8", "16000"],
        Figure(r"\.([0-9]+) memory ops", is_rate=True),
    ),
    ("alloc-test1", "alloc-test", ["1"], None),
    ("alloc-testN", "alloc-test", [THREADS], None),
    ("xmalloc-testN", "xmalloc-test", ["-w", THREADS, "-t", "2", "-s", "64"], Figure(r"rtime: ([0-9.]+)")),
    ("cache-scratch1", "cache-scratch", ["1", "1000", "1", "2000000", THREADS], None),
    ("cache-scratchN", "cache-scratch", [THREADS, "1000", "1", "2000000", THREADS], None),
    ("cache-thrashN", "cache-thrash", [THREADS, "1000", "1", "2000000", THREADS], None),
    ("glibc-simple", "glibc-simple", [], None),
    ("glibc-thread", "glibc-thread", [THREADS], Figure(r"^([0-9]+) iterations", is_rate=True)),
    ("malloc-large", "malloc-large", [], None),
    ("mleak10", "mleak", ["5"], None),
    ("mleak100", "mleak", ["50"], None),
]
INPUTS = {"barnes": "{sources}/barnes/input"}
# These print their result and nothing else.
WITH_ANSWER = ("cfrac", "espresso")


class SuiteProgram(Program):
    # The dynamic linker tells of the bindings without a run: these programs have no --version.
    version_arguments = []
    version_environment = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_WARN": "yes"}

    def __init__(self, build, name, file, arguments, figure):
        super().__init__(1.0)
        self.build = os.path.abspath(build)
        self.name = name
        self.file = file
        self.arguments = arguments
        self.figure = figure

    def binary(self):
        return os.path.join(self.build, self.file)

    def source(self, path):
        """The sources lie beside the folder `out`, of which the build folder is one."""
        return path.format(sources=os.path.join(os.path.dirname(os.path.dirname(self.build)), "bench"))

    def set_up(self):
        for path in [word for word in self.arguments if "/" in word] + list(filter(None, [INPUTS.get(self.name)])):
            if not os.path.exists(self.source(path)):
                raise RunFailed(f"there is no {self.source(path)}")

    def command(self):
        # One of them leaves files where it runs, and one reads its input.
        return [
            "/bin/sh",
            "-c",
            'cd "$1" && exec <"$2" && shift 2 && exec "$@"',
            "sh",
            self.folder,
            self.source(INPUTS.get(self.name, "/dev/null")),
            self.binary(),
            *map(self.source, self.arguments),
        ]

    def answer(self, output):
        return digest(output) if self.name in WITH_ANSWER else ""

    def run_once(self, launcher, allocator):
        answer, sample = super().run_once(launcher, allocator)
        if self.figure:
            with open(os.path.join(self.folder, "output.txt"), encoding="utf-8", errors="replace") as file:
                seconds = self.figure.seconds(file.read())
            # CPU time for the same work, as the time is.
            sample = replace(sample, time=seconds, cpu=sample.cpu * seconds / sample.time)
        return answer, sample


def suite_programs(build):
    """Those that are built in the folder."""
    programs = [SuiteProgram(build, *program) for program in PROGRAMS]
    return [program for program in programs if os.access(program.binary(), os.X_OK)]
