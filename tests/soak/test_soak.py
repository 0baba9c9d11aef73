"""What a soak must find, and that it leaves nothing behind, whatever ends it. BRIM_LIBRARY and BRIM_PROBE are the
built ones."""

import contextlib
import ctypes.util
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import place
import services
import soak

LIBRARY = os.environ["BRIM_LIBRARY"]
PROBE = os.environ["BRIM_PROBE"]
SOAK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "soak.py")


def soak_command(library, *arguments):
    return [sys.executable, SOAK, "--library", library, "--probe", PROBE, *arguments]


def processes_with(text):
    """Process ids whose command line or environment names the text."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        for file in ("cmdline", "environ"):
            try:
                with open(f"/proc/{name}/{file}", "rb") as opened:
                    if text.encode() in opened.read():
                        found.append(int(name))
            except OSError:
                pass
    return found


class Drift(unittest.TestCase):
    def test_quarters(self):
        samples = [(float(at), 1000 + at) for at in range(100)]
        self.assertEqual(soak.quarters(samples, 0, 100), (1037, 1087))
        self.assertIsNone(soak.quarters(samples[:60], 0, 100))

    def test_tolerance(self):
        self.assertFalse(soak.has_drifted(100 << 20, 111 << 20))
        self.assertTrue(soak.has_drifted(100 << 20, 113 << 20))
        self.assertFalse(soak.has_drifted(100 << 20, 50 << 20))


class Faults(unittest.TestCase):
    """Each in a soak of one service, here in this process."""

    def outcome(self, kind, seconds, disturb=None):
        """Runs a soak; `disturb` gets the service when it runs. Returns (status, output)."""
        made = []

        def make(at):
            made.append(kind(at))
            return made[0]

        def wait_and_disturb():
            while not (made and made[0].done):
                time.sleep(0.05)
            disturb(made[0])

        if disturb:
            threading.Thread(target=wait_and_disturb, daemon=True).start()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                status = soak.run(LIBRARY, PROBE, [make], seconds)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self.assertFalse(os.path.exists(made[0].place.folder))
        self.assertEqual(processes_with(made[0].place.folder), [])
        return status, output.getvalue()

    def test_a_leak_is_drift(self):
        class Leaking(services.Python):
            leak = 8 << 20

        status, output = self.outcome(Leaking, 20)
        self.assertEqual(status, 1, output)
        self.assertRegex(output, r"soak: FAILED: the memory of python grew")

    def test_changed_value_is_lost_data(self):
        def change(redis):
            other = services.RedisClient(redis.place.path("redis.sock"))
            other.all([("SET", key, "something else") for key in list(redis.model)])
            other.close()

        status, output = self.outcome(services.Redis, 20, change)
        self.assertEqual(status, 1, output)
        self.assertRegex(output, r"soak: FAILED: redis: the value of key:\d+ is not what was put there")

    def test_changed_balance_is_lost_data(self):
        def change(server):
            place.Place.call(server.place, server.command("psql", "-c", "UPDATE pgbench_tellers SET tbalance = 1"))

        status, output = self.outcome(services.PostgreSQL, 30, change)
        self.assertEqual(status, 1, output)
        self.assertRegex(output, r"soak: FAILED: postgresql: the books balance, transactions: f")

    def test_killed_server(self):
        status, output = self.outcome(services.Redis, 20, lambda redis: redis.process.kill())
        self.assertEqual(status, 1, output)
        self.assertRegex(output, r"soak: FAILED: (redis|process \d+ is gone)")

    def test_stopped_server_is_stuck(self):
        limit = soak.STUCK
        self.addCleanup(setattr, soak, "STUCK", limit)
        soak.STUCK = 5
        status, output = self.outcome(services.Redis, 60, lambda redis: redis.process.send_signal(signal.SIGSTOP))
        self.assertEqual(status, 1, output)
        self.assertRegex(output, r"soak: FAILED: redis: stuck")


class Endings(unittest.TestCase):
    """Each in a process of its own, which has a place for its folder to itself: there are other soaks."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="soak-test-")
        self.addCleanup(holder.cleanup)
        os.chmod(holder.name, 0o711)
        self.folder = holder.name
        self.environment = dict(os.environ, TMPDIR=holder.name)

    def test_another_allocator_is_refused(self):
        libc = ctypes.util.find_library("c")
        libc = next(f"{folder}/{libc}" for folder in ("/lib/x86_64-linux-gnu", "/lib64", "/lib/aarch64-linux-gnu")
                    if os.path.exists(f"{folder}/{libc}"))
        result = subprocess.run(
            soak_command(libc, "1", "redis"),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertRegex(result.stdout, r"soak: FAILED: .*the blocks of this program are not brim's")

    def end_by(self, send):
        """A soak of everything that is ended when it runs; returns (status, output)."""
        command = soak_command(LIBRARY, "5")
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 100
        # The service that is started last.
        while not any("python.log" in files for _, _, files in os.walk(self.folder)):
            self.assertIsNone(process.poll())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        time.sleep(3)
        self.assertGreater(len(processes_with(self.folder)), 5)
        send(process)
        output, _ = process.communicate(timeout=100)
        return process.returncode, output

    def test_interrupted(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            status, output = self.end_by(lambda process, number=number: process.send_signal(number))
            self.assertEqual((status, output), (130, "soak: interrupted: no verdict\n"))
            self.assertEqual(os.listdir(self.folder), [])
            self.assertEqual(processes_with(self.folder), [])

    def test_killed(self):
        """Nobody can remove the folder then, but no process stays."""
        status, _ = self.end_by(lambda process: process.kill())
        self.assertEqual(status, -signal.SIGKILL)
        deadline = time.monotonic() + 30
        while processes_with(self.folder):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    def test_usage(self):
        for arguments in ([], ["0"], ["1", "no-such-service"]):
            result = subprocess.run(soak_command(LIBRARY, *arguments), capture_output=True, timeout=60, check=False)
            self.assertEqual(result.returncode, 2)


if __name__ == "__main__":
    # What a soak that failed still has open goes with its process; here it is this one.
    unittest.main(warnings="ignore")
