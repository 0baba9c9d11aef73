"""The command line of the runner. scripts/bench installs what is missing, builds, and calls this."""

import argparse
import difflib
import json
import os
import re
import sys
import tempfile
import time

from . import field as fields
from . import bars, machine, output, page, rows as row_module, table
from .measure import Launcher, Limits, RunFailed, count_system_calls, run_workload
from .schedule import Progress, Schedule

# Of the 3 minutes; the build before it and the page after it are to fit in, on a busy machine, too.
QUICK_SECONDS = 150


def parse(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Compare memory allocators.")
    parser.add_argument("--quick", action="store_true", help="a smaller set of rows, done within 3 minutes")
    parser.add_argument(
        "--allocator",
        action="append",
        default=[],
        metavar="NAME=path.so",
        help="one more allocator (repeatable)",
    )
    parser.add_argument("--field", metavar="NAME,...", help="only these allocators")
    parser.add_argument(
        "--only", action="append", default=[], metavar="REGEX", help="only rows that match (repeatable)"
    )
    parser.add_argument(
        "--skip", action="append", default=[], metavar="REGEX", help="no rows that match (repeatable)"
    )
    parser.add_argument(
        "--trace", action="append", default=[], metavar="FILE", help="replay this trace (repeatable)"
    )
    parser.add_argument(
        "--mimalloc-bench",
        metavar="FOLDER",
        help="the programs of mimalloc-bench that are built there; other rows with --only",
    )
    parser.add_argument(
        "--bars", action="store_true", help="enter brim twice, and say whether it reaches what it is held to"
    )
    parser.add_argument("--rounds", type=int, help="repetitions of everything (7, or 5 with --quick)")
    parser.add_argument(
        "--scale", type=float, help="times the work of each micro workload (1, or 0.2 with --quick)"
    )
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one run (120)")
    parser.add_argument(
        "--memory-limit",
        type=int,
        metavar="MIB",
        help="resident memory of one run (three quarters of the machine's)",
    )
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="begin no further row after this")
    parser.add_argument("--output", metavar="FOLDER", help="where the result goes (build/bench-results/DATE)")
    parser.add_argument("--list", action="store_true", help="list the rows and the field, and stop")
    parser.add_argument(
        "--page", metavar="FOLDER", help="draw the page and plots of this earlier result again, and stop"
    )
    parser.add_argument("--packages", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--build", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--brim", help=argparse.SUPPRESS)
    parser.add_argument("--repository", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = 5 if options.quick else 7
    if options.scale is None:
        options.scale = row_module.QUICK_SCALE if options.quick else 1.0
    if options.time_limit is None and options.quick:
        options.time_limit = QUICK_SECONDS
    if options.memory_limit is None:
        options.memory_limit = machine.memory_bytes() * 3 // 4 >> 20
    if options.rounds < 1 or options.scale <= 0 or options.timeout <= 0 or options.memory_limit < 1:
        parser.error("rounds, scale, timeout and memory limit must be positive")
    for pattern in options.only + options.skip:
        try:
            re.compile(pattern)
        except re.error as error:
            parser.error(f"'{pattern}' is not a regular expression: {error}")
    return options


def no_row_matches(options, launcher):
    """What to say then: the nearest names there are."""
    every = row_module.micro_rows(launcher, options.scale) + row_module.macro_rows(options.scale)
    if options.mimalloc_bench:
        every += row_module.suite_rows(options.mimalloc_bench)
    names = sorted({row.name for row in every} | {row.name.split("/")[0] for row in every})
    near = [name for wanted in options.only for name in difflib.get_close_matches(wanted, names)]
    hint = f" Near to it: {', '.join(near)}." if near else ""
    return f"no row matches.{hint} --list names the rows."


def gather_rows(options, launcher):
    """With --trace or --mimalloc-bench alone only the traces or its programs; with --only, what matches of all."""
    suite = row_module.suite_rows(options.mimalloc_bench) if options.mimalloc_bench else []
    rows = row_module.select(suite, False, options.only, options.skip)
    if not (options.trace or options.mimalloc_bench) or options.only:
        own = row_module.micro_rows(launcher, options.scale) + row_module.macro_rows(options.scale)
        rows = row_module.select(own, options.quick, options.only, options.skip) + rows
    return rows + row_module.trace_rows(options.trace)


def prepare(launcher, rows, field, folder, progress):
    """Input for real programs and traces, in a folder of its own. What cannot be prepared fails for
    everybody."""
    os.chmod(folder, 0o711)  # a server may run as another user
    for row in rows:
        if row.program:
            progress.show("preparing", f" {row.name}")
            try:
                row.program.prepare(launcher, os.path.join(folder, row.name.replace("/", "-")))
            except (RunFailed, OSError) as failure:
                row.failures.update({allocator.name: f"cannot be prepared: {failure}" for allocator in field})


def measure_all(options, launcher, rows, field, folder):
    def run(row, allocator):
        if row.program:
            return row.program.run(launcher, allocator)
        return run_workload(launcher, allocator, row.full_name, options.scale)

    def warm_up(row, allocator):
        if row.program:
            row.program.run(launcher, allocator)
            return
        if options.quick and row.workload == "startup":
            # Under strace a start takes 25 times as long: half of the whole warm-up for two rows.
            run_workload(launcher, allocator, row.full_name, options.scale)
            return
        counts = count_system_calls(launcher, allocator, row.full_name, options.scale)
        if counts is not None:
            row.system_calls[allocator.name] = counts

    progress = Progress()
    schedule = Schedule(rows, field, options.rounds, run, warm_up, options.time_limit, progress)
    try:
        prepare(launcher, rows, field, folder, progress)
    except KeyboardInterrupt:
        schedule.ending = "interrupted"
        return schedule
    schedule.execute()
    return schedule


def report(folder, rows, field, description, settings, context, with_bars):
    document = output.write_all(folder, rows, field, description, settings, context)
    measured = [row for row in rows if row.samples or row.failures]
    for metric in ("time", "cpu", "rss") if with_bars else ("time", "rss"):
        print("\n".join(table.render(measured, field, metric)) + "\n")
    lines = table.verdict_lines(measured, field) + table.failure_lines(measured)
    print("\n".join(lines))
    if with_bars:
        print("\n" + "\n".join(bars.verdict_lines(measured)))
    print(f"\nresult: {os.path.join(folder, 'result.json')}\npage:   {page.write(folder, document)}")


def draw_again(folder):
    try:
        with open(os.path.join(folder, "result.json"), encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError) as error:
        print(f"scripts/bench: {folder} holds no result: {error}", file=sys.stderr)
        return 2
    print(f"page:   {page.write(folder, document)}")
    return 0


def main():
    options = parse(sys.argv[1:])
    if options.page:
        return 0 if options.packages else draw_again(options.page)
    launcher = Launcher(options.build, Limits(options.timeout, options.memory_limit))
    try:
        field = fields.assemble(
            options.brim,
            machine.commit(options.repository),
            options.allocator,
            options.field.split(",") if options.field else None,
            bars.TWIN if options.bars else None,
        )
    except fields.FieldError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 2
    for path in options.trace:
        if not os.path.isfile(path):
            print(f"scripts/bench: there is no trace {path}", file=sys.stderr)
            return 2
    if options.mimalloc_bench and not row_module.suite_rows(options.mimalloc_bench):
        print(f"scripts/bench: no program of mimalloc-bench is built in {options.mimalloc_bench}", file=sys.stderr)
        return 2
    rows = gather_rows(options, launcher)
    if not rows:
        print(f"scripts/bench: {no_row_matches(options, launcher)}", file=sys.stderr)
        return 2
    if options.packages:
        wanted = {package for row in rows if row.kind == "macro" for package in row.program.packages}
        print("\n".join(sorted(wanted)))
        return 0
    if options.list:
        print("\n".join(row.name for row in rows))
        print("\n" + "\n".join(f"{a.name:10s} {a.version:24s} {a.library}" for a in field))
        return 0

    description = machine.describe(options.repository)
    folder = options.output or os.path.join(
        options.repository, "build", "bench-results", time.strftime("%Y-%m-%d-%H%M%S")
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        schedule = measure_all(options, launcher, rows, field, work)
    rows = schedule.rows
    settings = {
        "quick": options.quick,
        "rounds": options.rounds,
        "scale": options.scale,
        "ending": schedule.ending,
        "rounds_done": schedule.rounds_done,
        "rows_left_out_for_time": ", ".join(schedule.left_out) or "none",
        "timeout": options.timeout,
        "memory_limit_mib": options.memory_limit,
    }
    if not any(row.samples or row.failures for row in rows):
        print("scripts/bench: stopped before the first result", file=sys.stderr)
        return 130
    report(folder, rows, field, description, settings, launcher.context, options.bars)
    if schedule.left_out:
        print(
            f"scripts/bench: {len(schedule.left_out)} rows were left out for lack of time "
            "(result.json names them)",
            file=sys.stderr,
        )
    if schedule.ending != "complete":
        print(
            f"scripts/bench: ended by: {schedule.ending}, "
            f"after {schedule.rounds_done} of {options.rounds} rounds",
            file=sys.stderr,
        )
    return 130 if schedule.ending == "interrupted" else 0


if __name__ == "__main__":
    sys.exit(main())
