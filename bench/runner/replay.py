"""A recorded trace as a row: checked and compiled once, replayed by each allocator."""

import os

from .measure import RunFailed, Sample, read_report


class Trace:
    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.plan = None

    def prepare(self, launcher, folder):
        os.makedirs(folder, exist_ok=True)
        self.plan = os.path.join(folder, "plan")
        # A trace that is cut off or corrupt ends here, with the tool's own message.
        launcher.launch(
            [launcher.path("trace_tool"), "compile", self.path, self.plan],
            {},
            os.path.join(folder, "compile.txt"),
        )

    def run(self, launcher, allocator):
        report = self.plan + ".report"
        if os.path.exists(report):
            os.unlink(report)
        result = launcher.launch(
            [launcher.path("replay"), self.plan, report], allocator.environment(), self.plan + ".output"
        )
        malloc, curves, outcome = read_report(report)
        if os.path.realpath(malloc) != allocator.library:
            raise RunFailed(f"malloc came from {malloc or 'nowhere'}, not from {allocator.name}")
        cpu = result["user"] + result["system"]
        return Sample(
            outcome["seconds"],
            cpu,
            outcome["peak"],
            result["minor_faults"],
            {"events": outcome["events"]},
            curves,
            result["rss"],
        )
