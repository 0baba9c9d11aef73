"""One run of one program under one allocator: started by the launcher, measured from outside, and turned into
a sample or a failure. Nothing here knows how samples are compared."""

import json
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field

# What an allocator asks of the kernel, and how its locks wait.
COUNTED_CALLS = "brk,mmap,munmap,mremap,madvise,mprotect,futex,sched_yield"


@dataclass
class Sample:
    """Times are seconds per iteration (micro) or per run (macro); memory is bytes."""

    time: float
    cpu: float
    peak_rss: float
    minor_faults: float
    counters: dict = field(default_factory=dict)
    curves: dict = field(default_factory=dict)
    rss: list = field(default_factory=list)
    library_entry: dict = field(default_factory=dict)  # as Google Benchmark printed it


class RunFailed(Exception):
    """The program crashed, hung, went over its memory, or ran on the wrong allocator."""


@dataclass(frozen=True)
class Limits:
    timeout: float
    memory_mib: int


class Launcher:
    """Starts programs through the helper `launch` of the build folder."""

    def __init__(self, build, limits):
        self.build = build
        self.limits = limits
        self.context = {}  # Google Benchmark's, of the last run

    def path(self, name):
        return os.path.join(self.build, name)

    def launch(self, command, environment, output, user=None, timeout=None):
        """Runs the command to its end. Returns the launcher's result and raises RunFailed unless it went
        well."""
        process, result_path = self.start(command, environment, output, user, timeout)
        return self.finish(process, result_path, output)

    def start(self, command, environment, output, user=None, timeout=None):
        result_file = tempfile.NamedTemporaryFile(prefix="launch-", suffix=".json", delete=False)
        result_file.close()
        arguments = [
            self.path("launch"),
            f"--result={result_file.name}",
            f"--output={output}",
            f"--timeout={timeout or self.limits.timeout}",
            f"--memory-limit={self.limits.memory_mib}",
        ]
        if user:
            arguments.append(f"--user={user}")
        arguments += [f"--env={name}={value}" for name, value in environment.items()]
        return subprocess.Popen([*arguments, "--", *command], stdin=subprocess.DEVNULL), result_file.name

    def finish(self, process, result_path, output, stopped=False):
        """`stopped`: we ended the program ourselves, so SIGTERM, and an exit status of its own, are fine."""
        try:
            try:
                status = process.wait()
            except KeyboardInterrupt:
                # The launcher got the signal, too, and is taking its family down.
                process.wait()
                raise
            if status == 130:
                raise KeyboardInterrupt
            with open(result_path, encoding="ascii") as file:
                text = file.read()
            if not text:
                raise RunFailed(f"the launcher failed with status {status}")
            result = json.loads(text)
        finally:
            os.unlink(result_path)
        explain(result, output, self.limits, stopped)
        return result


def explain(result, output, limits, stopped=False):
    """Raises RunFailed with a reason that a person understands, unless the program ended well."""
    verdict, code = result["verdict"], result["code"]
    if verdict == "ok" or (stopped and verdict in ("exit", "signal") and code in (0, 1, signal.SIGTERM)):
        return
    if verdict == "timeout":
        raise RunFailed(f"timeout ({limits.timeout:g} s)")
    if verdict == "memory":
        raise RunFailed(f"over the memory limit ({limits.memory_mib} MiB)")
    last = last_line(output)
    if verdict == "signal":
        try:
            name = signal.Signals(code).name
        except ValueError:
            name = f"signal {code}"
        raise RunFailed(name + (f": {last}" if last else ""))
    raise RunFailed(f"exit status {code}" + (f": {last}" if last else ""))


def last_line(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file.read()[-4000:].splitlines() if line.strip()]
            # Google Benchmark's own remarks are not why a program failed.
            lines = [line for line in lines if not line.startswith("***WARNING***")]
    except OSError:
        return ""
    return lines[-1][:200] if lines else ""


def read_report(path):
    """What a workload or replay wrote about itself: its malloc's file, its curves, and a replay's outcome."""
    malloc, curves, outcome = "", {}, {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            if "malloc" in entry:
                malloc = entry["malloc"]
            elif "replay" in entry:
                outcome = entry["replay"]
            else:
                curves[entry["curve"]] = {key: entry[key] for key in ("x_unit", "y_unit", "points")}
    return malloc, curves, outcome


SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
# The keys of Google Benchmark's JSON; everything else in an entry is a counter.
LIBRARY_KEYS = {
    "name",
    "family_index",
    "per_family_instance_index",
    "run_name",
    "run_type",
    "repetitions",
    "repetition_index",
    "threads",
    "iterations",
    "real_time",
    "cpu_time",
    "time_unit",
    "label",
    "error_occurred",
    "error_message",
    "items_per_second",
    "bytes_per_second",
}


def run_workload(launcher, allocator, full_name, scale):
    """One repetition of one micro workload."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        out, report, output = (
            os.path.join(folder, name) for name in ("out.json", "report.jsonl", "output.txt")
        )
        command = [
            launcher.path("workloads"),
            f"--scale={scale:.9g}",
            f"--report={report}",
            f"--benchmark_filter=^{full_name}$",
            f"--benchmark_out={out}",
            "--benchmark_out_format=json",
        ]
        result = launcher.launch(command, allocator.environment(), output)
        malloc, curves, _ = read_report(report)
        if os.path.realpath(malloc) != allocator.library:
            raise RunFailed(f"malloc came from {malloc or 'nowhere'}, not from {allocator.name}")
        with open(out, encoding="utf-8") as file:
            document = json.load(file)
        launcher.context = document["context"]
        if len(document["benchmarks"]) != 1:
            raise RunFailed(f"{len(document['benchmarks'])} results instead of one")
        entry = document["benchmarks"][0]
        if entry.get("error_occurred"):
            raise RunFailed(entry.get("error_message", "error"))
        unit = SECONDS[entry["time_unit"]]
        counters = {key: value for key, value in entry.items() if key not in LIBRARY_KEYS}
        return Sample(
            entry["real_time"] * unit,
            entry["cpu_time"] * unit,
            result["peak_rss"],
            result["minor_faults"],
            counters,
            curves,
            result["rss"],
            entry,
        )


def count_system_calls(launcher, allocator, full_name, scale):
    """The same run under strace, which slows it down: for its counts, never for its time. Returns {call:
    count} or None where this system lets nobody trace."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        table, output = os.path.join(folder, "calls"), os.path.join(folder, "output.txt")
        preload = [] if allocator.preload is None else ["-E", f"LD_PRELOAD={allocator.preload}"]
        command = [
            "strace",
            "--follow-forks",
            "--seccomp-bpf",
            "--quiet=all",
            "--summary-only",
            "--summary-columns=calls,name",
            f"--trace={COUNTED_CALLS}",
            f"--output={table}",
            *preload,
            launcher.path("workloads"),
            f"--scale={scale:.9g}",
            f"--benchmark_filter=^{full_name}$",
        ]
        try:
            launcher.launch(command, {}, output)
        except RunFailed:
            # Either tracing is not allowed here, or the allocator fails; the untraced runs will tell.
            return None
        counts = {}
        with open(table, encoding="utf-8") as file:
            for line in file:
                words = line.split()
                if len(words) == 2 and words[0].isdigit() and words[1] != "total":
                    counts[words[1]] = int(words[0])
        return counts
