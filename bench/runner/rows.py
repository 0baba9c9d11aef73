"""The rows of the result: each workload with each of its arguments, grouped as bench/workloads.def has them,
and which of them --quick keeps."""

import os
import re
import subprocess
from dataclasses import dataclass, field as dataclass_field

from .macro import PROGRAMS
from .replay import Trace
from .suite import suite_programs

GROUPS = {
    "fast paths": [
        "single_size",
        "batch",
        "mixed_small",
        "calloc",
        "realloc",
        "aligned",
        "sized_free",
        "new_delete",
    ],
    "servers": ["larson", "xmalloc", "migration", "threadtest", "thread_churn", "fork_heap"],
    "caches": ["false_sharing", "locality"],
    "distributions": ["pareto", "glibc_thread", "large_blocks"],
    "memory": ["burst", "slow_leak", "server_day"],
    "start-up": ["startup"],
    "real programs": ["macro"],
    "mimalloc-bench": ["mimalloc-bench"],
    "replay": ["trace"],
}

# Enough for every plot and every group.
QUICK = re.compile(
    r"""^(
    single_size/size:(8|64|512|4096|32768|131072|262144|1048576)
    | batch/(lifo|random) | mixed_small/.* | calloc/size:(64|262144) | realloc/.*
    | aligned/alignment:(64|4096)
    | sized_free | new_delete/sized | larson/.* | xmalloc/.* | migration/threads:[2-9].* | threadtest/.*
    | thread_churn | fork_heap/.* | false_sharing/passive/threads:[2-9].* | locality/list | pareto/threads:1
    | glibc_thread/.* | large_blocks | burst | slow_leak | server_day/.* | startup/.*
    | macro/(python3|git)
)$""",
    re.VERBOSE,
)
QUICK_SCALE = 0.2


@dataclass
class Row:
    name: str
    kind: str  # "micro", "macro" or "trace"
    full_name: str = ""  # micro: the name that Google Benchmark knows it by
    program: object = None  # macro and trace: what to run
    samples: dict = dataclass_field(default_factory=dict)  # allocator name -> [Sample]
    failures: dict = dataclass_field(default_factory=dict)  # allocator name -> reason
    system_calls: dict = dataclass_field(default_factory=dict)  # allocator name -> {call: count}

    @property
    def workload(self):
        """Rows of one workload differ in arguments only; real programs and traces are each their own."""
        return self.name.split("/")[0] if self.kind == "micro" else self.name

    @property
    def group(self):
        head = self.name.split("/")[0]
        for group, heads in GROUPS.items():
            if head in heads:
                return group
        return "other"


def short_name(full_name):
    """Google Benchmark's name without what is the same for all: iterations and the clock that was used."""
    return re.sub(r"/(iterations:\d+|real_time|process_time|manual_time|blocks:\d+)", "", full_name)


def micro_rows(launcher, scale):
    listing = subprocess.run(
        [launcher.path("workloads"), f"--scale={scale:.9g}", "--benchmark_list_tests=true"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    return [Row(short_name(name), "micro", full_name=name) for name in listing.stdout.split()]


def macro_rows(scale):
    return [Row("macro/" + program.name, "macro", program=program(scale)) for program in PROGRAMS]


def suite_rows(build):
    return [Row("mimalloc-bench/" + program.name, "macro", program=program) for program in suite_programs(build)]


def trace_rows(paths):
    return [
        Row("trace/" + os.path.basename(path).removesuffix(".trace"), "trace", program=Trace(path))
        for path in paths
    ]


def select(rows, quick, only, skip):
    if quick and not only:
        rows = [row for row in rows if QUICK.match(row.name)]
    if only:
        rows = [row for row in rows if any(re.search(pattern, row.name) for pattern in only)]
    if skip:
        rows = [row for row in rows if not any(re.search(pattern, row.name) for pattern in skip)]
    return rows
