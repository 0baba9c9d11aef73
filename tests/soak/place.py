"""place: the folder in which everything of a soak lies, and how a program is started there: on brim, with the
witness that refuses to run on anything else (tests/preload/probe.c), and so that it ends when the soak does,
however that ends."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

# Seconds in which every command and every answer must have come; only a hang takes so long.
LIMIT = 120


class Fault(Exception):
    """What a soak is there to find: data lost, a process gone or stuck, an allocator that is not brim."""


class Place:
    def __init__(self, library, probe):
        self.folder = tempfile.mkdtemp(prefix="brim-soak-")
        # A server that runs as another user passes through; its own folder is its own.
        os.chmod(self.folder, 0o711)
        # Copies: a build's path may hold what LD_PRELOAD cannot, or be closed to others.
        self.preload = []
        for name, path in (("libbrim.so.1", library), ("probe.so", probe)):
            copy = self.path(name)
            shutil.copyfile(path, copy)
            os.chmod(copy, 0o755)
            self.preload.append(copy)
        self.witnesses = self.path("witnesses")
        with open(self.witnesses, "w", encoding="utf-8"):
            os.chmod(self.witnesses, 0o666)
        self.logs = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def command(self, program, *arguments, user=None, death="KILL", settings=()):
        """The program on brim. `death`: the signal that it gets when the thread that started it is gone."""
        identity = [f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        preload = f"LD_PRELOAD={':'.join(self.preload)}"
        environment = [preload, f"BRIM_PROBE_LOG={self.witnesses}", "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=/nonexistent"]
        environment += ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", *settings]
        return ["setpriv", f"--pdeathsig={death}", *identity, "env", "-i", *environment, program, *arguments]

    def start(self, command, log, **options):
        path = self.path(log)
        if path not in self.logs:
            self.logs.append(path)
        with open(path, "ab") as file:
            options = {"stdout": file, "stdin": subprocess.DEVNULL, **options}
            return subprocess.Popen(command, cwd=self.folder, stderr=file, **options)

    def call(self, command):
        """Runs it to its end; returns what it printed."""
        try:
            result = subprocess.run(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Fault(f"no end of {' '.join(command)} after {LIMIT} s") from error
        if result.returncode != 0:
            raise Fault(f"status {result.returncode} of {' '.join(command)}: {result.stdout[-500:]}")
        return result.stdout

    def check(self, *programs):
        """That each of these ran on brim, and that no process complained of its allocator: a child's end is
        seen by nobody else."""
        with open(self.witnesses, encoding="utf-8") as file:
            seen = {os.path.basename(line.strip()) for line in file}
        missing = set(programs) - seen
        if missing:
            raise Fault(f"{', '.join(sorted(missing))} did not run on brim")
        for path in self.logs:
            with open(path, encoding="utf-8", errors="replace") as file:
                found = re.search(r"^(.*(brim: |probe: the blocks|ld\.so: object).*)$", file.read(), re.MULTILINE)
            if found:
                raise Fault(f"{os.path.basename(path)}: {found[1]}")

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def tail(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return " | ".join(file.read().split("\n")[-4:])[-400:]


def anonymous_bytes(process):
    """Resident anonymous memory: what an allocator can let grow. Shared buffers and files are not in it."""
    try:
        with open(f"/proc/{process}/status", encoding="ascii", errors="replace") as file:
            return int(re.search(r"RssAnon:\s+(\d+) kB", file.read())[1]) << 10
    except (OSError, TypeError) as error:
        raise Fault(f"process {process} is gone") from error


def until(what, ready, process, log):
    """Waits for a process to be ready."""
    deadline = time.monotonic() + LIMIT
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Fault(f"{what}: {tail(log)}")
        time.sleep(0.05)


def ended_well(what, process, log):
    try:
        status = process.wait(LIMIT)
    except subprocess.TimeoutExpired as error:
        raise Fault(f"{what} did not end") from error
    if status != 0:
        raise Fault(f"{what} ended with status {status}: {tail(log)}")


def descendants(of):
    found = []
    for task in os.listdir(f"/proc/{of}/task"):
        try:
            with open(f"/proc/{of}/task/{task}/children", encoding="ascii") as file:
                children = [int(word) for word in file.read().split()]
        except OSError:
            continue
        for child in children:
            found.append(child)
            try:
                found += descendants(child)
            except OSError:
                pass
    return found


def end_all(gently):
    """Ends every process that this one started, and theirs, first those of `gently` by SIGQUIT: PostgreSQL then
    takes its shared memory with it. Orphans are this process's children, as it is the subreaper."""
    for process in gently:
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                pass
    for _ in range(1000):
        for process in descendants(os.getpid()):
            try:
                os.kill(process, signal.SIGKILL)
            except OSError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)
