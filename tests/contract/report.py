"""report: what BRIM_STATS writes when a program ends, of programs that know nothing of it: as text, as JSON that a
parser reads, and where it goes when the program has done something to its stderr.

Started with BRIM_LIBRARY in the environment."""

import json
import os
import re
import subprocess
import tempfile
import unittest

BLOCKS = 20000

# A program in Perl that holds so many strings of so many bytes when it ends by exit.
HOLDER = f"our @held = map {{ 'x' x 3000 }} 1 .. {BLOCKS}; our $large = 'y' x (20 << 20); $| = 1; print 'held'"


def run(stats, command, **options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BRIM_", "MALLOC_"))}
    environment |= {"LD_PRELOAD": os.environ["BRIM_LIBRARY"], "LC_ALL": "C"}
    if stats is not None:
        environment["BRIM_STATS"] = stats
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True, **options)


def parse(text):
    """The last line is the report."""
    return json.loads(text.splitlines()[-1])


class Report(unittest.TestCase):
    def check_sums(self, report):
        heap = report["heap"]
        self.assertEqual(heap["live"] + heap["free"], heap["bytes"])
        self.assertGreaterEqual(heap["peak"], heap["bytes"])
        self.assertEqual(report["break"]["end"] - report["break"]["base"], heap["bytes"] + report["break"]["foreign"])
        for row in report["classes"]:
            blocks = row["live"] + row["free"] + row["unformed"]
            self.assertEqual(blocks, row["slabs"] * (row["slab_size"] // row["block_size"]), row)
            self.assertEqual(row["waste"], row["slabs"] * row["slab_size"] - row["live"] * row["block_size"], row)
        slabs = sum(row["slabs"] for row in report["classes"])
        self.assertEqual(sum(row["slabs"] for row in report["arenas"]), slabs)
        live = sum(row["live"] * row["block_size"] for row in report["classes"])
        self.assertEqual(sum(row["live"] for row in report["arenas"]), live)
        self.assertLessEqual(live + report["runs"]["live"], heap["live"])

    def test_json(self):
        done = run("json", ["perl", "-e", HOLDER])
        self.assertEqual(done.stdout, "held")
        report = parse(done.stderr)
        self.check_sums(report)
        held = [row for row in report["classes"] if 3000 <= row["block_size"] <= 4096] # some are a lender's
        self.assertGreaterEqual(sum(row["live"] for row in held), BLOCKS)
        self.assertGreaterEqual(report["heap"]["live"] + report["mappings"]["bytes"], BLOCKS * 3000 + (20 << 20))
        self.assertGreater(report["purge"]["budget"], 0)
        self.assertEqual(report["arenas"][0]["id"], 0)

    def test_no_limit_is_null(self):
        environment = ["env", "MALLOC_TRIM_THRESHOLD_=-1", "perl", "-e", "1"]
        self.assertIsNone(parse(run("json", environment).stderr)["purge"]["budget"])

    def test_text(self):
        for value in ("1", "text"):
            text = run(value, ["perl", "-e", HOLDER]).stderr
            self.assertRegex(text, r"^brim: statistics of process \d+, in bytes\n")
            self.assertRegex(text, r"\n  heap +\d+, peak \d+: live \d+, free \d+ ")
            self.assertRegex(text, r"\n  break +0x[0-9a-f]+ to 0x[0-9a-f]+, ")
            self.assertRegex(text, r"\n  mappings +\d+ in \d+, peak \d+ in [1-9]\d*\n")
            self.assertRegex(text, r"\n +class +slabs +live +free +unformed +waste\n")
            rows = re.findall(r"^ +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$", text, re.MULTILINE)
            held = sum(int(row[2]) for row in rows if 3000 <= int(row[0]) <= 4096) # some are a lender's
            self.assertGreaterEqual(held, BLOCKS, text)
            self.assertRegex(text, r"\n +1 +in use +\d+ +\d+ +\d+ +\d+\n")

    def test_nothing_unasked(self):
        for value in (None, "0"):
            self.assertEqual(run(value, ["perl", "-e", HOLDER]).stderr, "")

    def test_every_process_reports_for_itself(self):
        text = run("json", ["perl", "-e", "my $p = fork; waitpid $p, 0 if $p; exit"]).stderr
        reports = [json.loads(line) for line in text.splitlines()]
        self.assertEqual(len({report["pid"] for report in reports}), 2)
        for report in reports:
            self.check_sums(report)

    def test_a_program_that_closes_stderr(self):
        # The tools of coreutils close it in a handler at exit.
        self.check_sums(parse(run("json", ["ls", "/"]).stderr))
        self.check_sums(parse(run("json", ["perl", "-e", "close STDERR"]).stderr))

    def test_a_program_that_opens_something_else(self):
        with tempfile.NamedTemporaryFile() as file:
            program = f"open STDERR, '>', '{file.name}'; print STDERR 'mine'"
            done = run("1", ["perl", "-e", program])
            self.assertEqual(file.read(), b"mine")
            self.assertRegex(done.stderr, r"^brim: statistics")

    def test_a_program_that_takes_all_descriptors(self):
        with tempfile.NamedTemporaryFile() as file:
            program = (
                "use POSIX; POSIX::close($_) for 2 .. 300;"
                f"POSIX::open('{file.name}', O_WRONLY) for 2 .. 200; POSIX::_exit(0) if !-e '{file.name}'"
            )
            done = run("1", ["perl", "-e", program])
            self.assertEqual((file.read(), done.stderr), (b"", ""))


if __name__ == "__main__":
    unittest.main(verbosity=2)
