"""What the tests of the harness share. They run with Debian's python3; BENCH_BUILD is the folder of the built
programs, BENCH_FIXTURES that of the faulty allocators and the subjects, BENCH_REPOSITORY the source."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ["BENCH_BUILD"]
FIXTURES = os.environ["BENCH_FIXTURES"]
REPOSITORY = os.environ["BENCH_REPOSITORY"]

sys.path.insert(0, os.path.join(REPOSITORY, "bench"))


def fixture(name):
    return os.path.join(FIXTURES, name)


def faulty(name):
    return f"{name}={fixture(f'libfaulty_{name}.so')}"


class FolderTest(unittest.TestCase):
    """A test with a folder of its own, that is gone afterwards."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="bench-test-")
        self.addCleanup(holder.cleanup)
        self.folder = holder.name

    def runner_command(self, *arguments):
        return [
            sys.executable,
            "-m",
            "runner",
            "--build",
            BUILD,
            "--repository",
            REPOSITORY,
            "--output",
            os.path.join(self.folder, "result"),
            *arguments,
        ]

    def run_harness(self, *arguments, status=0):
        """Runs the runner to its end; returns (its output, the result document or None)."""
        environment = dict(os.environ, PYTHONPATH=os.path.join(REPOSITORY, "bench"))
        result = subprocess.run(
            self.runner_command(*arguments),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result.stdout + result.stderr, self.document()

    def document(self):
        path = os.path.join(self.folder, "result", "result.json")
        if not os.path.exists(path):
            return None
        with open(path, encoding="utf-8") as file:
            return json.load(file)


def row_of(document, name):
    return next(row for row in document["rows"] if row["name"] == name)
