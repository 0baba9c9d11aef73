"""Real programs: started, driven, checked for the right answer and stopped. Each is run once without any
preload when it is prepared; its answer then is what every allocator must give. Before anything is measured,
the dynamic linker itself is asked (LD_DEBUG=bindings) whether the program's malloc is the allocator's: some
programs bring one of their own."""

import glob
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import time

from .field import libc_path
from .measure import RunFailed, Sample

MACRO_FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "macro")


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def call(*command, **options):
    """A driver or client, never preloaded. Its failure is the run's."""
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            **options,
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"{command[0]} hung") from error
    if result.returncode != 0:
        raise RunFailed(
            f"{command[0]}: exit status {result.returncode}: {' '.join(result.stdout.split())[-200:]}"
        )
    return result.stdout


def repeat(count, scale):
    return max(1, round(count * scale))


class Program:
    """A program that runs to its end. `command` and `answer` are what a subclass must say."""

    name = ""
    packages = []
    # Debian links some programs to an allocator: to have glibc's, the C library itself goes first.
    brings_allocator = False
    extra_environment = {}
    # What makes it load all its libraries and end.
    version_arguments = ["--version"]
    version_environment = {}

    def __init__(self, scale):
        self.scale = scale
        self.folder = None
        self.expected = None
        self.checked = set()

    def binary(self):
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def answer(self, output):
        """What the program found out, as text; by default what it printed."""
        return read_text(output)

    def set_up(self):
        """Once, before all runs: input files and the like, in self.folder."""

    def before_run(self):
        """Before each run: undo what the last one left."""

    def environment(self, allocator):
        environment = dict(self.extra_environment)
        if allocator is not None:
            environment.update(allocator.environment())
            if self.brings_allocator and allocator.preload is None:
                environment["LD_PRELOAD"] = libc_path()
        return environment

    def prepare(self, launcher, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.set_up()
        self.expected = self.run_once(launcher, None)[0]

    def check_binding(self, allocator):
        """Apart from the program's own file (where a program that takes malloc's address has a stub for it),
        `malloc` must be bound to the allocator's file and no other."""
        if allocator.name in self.checked:
            return
        log = os.path.join(self.folder, "bindings")
        environment = dict(
            os.environ,
            LD_DEBUG="bindings",
            LD_BIND_NOW="1",
            LD_DEBUG_OUTPUT=log,
            **self.version_environment,
            **self.environment(allocator),
        )
        result = subprocess.run(
            [self.binary(), *self.version_arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        targets = set()
        for path in glob.glob(log + ".*"):
            targets |= set(re.findall(r"to (\S+) \[0\]: normal symbol `malloc'", read_text(path)))
            os.unlink(path)
        if result.returncode != 0:
            raise RunFailed(f"{' '.join([self.binary(), *self.version_arguments])}: status {result.returncode}")
        targets = {os.path.realpath(path) for path in targets} - {os.path.realpath(self.binary())}
        if targets != {allocator.library}:
            raise RunFailed(
                f"malloc is bound to {', '.join(sorted(targets)) or 'no library'}, not to {allocator.name}"
            )
        self.checked.add(allocator.name)

    def run_once(self, launcher, allocator):
        """Returns (answer, Sample)."""
        self.before_run()
        output = self.fresh_output()
        result = launcher.launch(self.command(), self.environment(allocator), output)
        return self.answer(output), sample_of(result, result["wall"])

    def fresh_output(self):
        output = os.path.join(self.folder, "output.txt")
        if os.path.exists(output):
            os.unlink(output)
        return output

    def run(self, launcher, allocator):
        self.check_binding(allocator)
        answer, sample = self.run_once(launcher, allocator)
        if answer != self.expected:
            raise RunFailed("wrong answer")
        return sample


def sample_of(result, seconds):
    return Sample(
        seconds,
        result["user"] + result["system"],
        max(result["peak_rss"], result["family_peak_rss"]),
        result["minor_faults"],
        rss=result["rss"],
    )


class Python(Program):
    name = "python3"
    packages = ["python3"]

    def binary(self):
        return "/usr/bin/python3"

    def command(self):
        script = os.path.join(MACRO_FOLDER, "python_work.py")
        return [self.binary(), "-S", script, str(repeat(25, self.scale))]


class PythonMalloc(Python):
    """The same without Python's own small-object allocator: every object is a block."""

    name = "python3-malloc"
    extra_environment = {"PYTHONMALLOC": "malloc"}


class Node(Program):
    name = "node"
    packages = ["nodejs"]

    def binary(self):
        return shutil.which("node") or "/usr/bin/node"

    def command(self):
        return [self.binary(), os.path.join(MACRO_FOLDER, "node_work.js"), str(repeat(25, self.scale))]


class Perl(Program):
    name = "perl"
    packages = ["perl"]
    # The order of its hashes, and with it what is allocated when, is otherwise another one in each process.
    extra_environment = {"PERL_HASH_SEED": "0"}

    def binary(self):
        return "/usr/bin/perl"

    def command(self):
        return [self.binary(), os.path.join(MACRO_FOLDER, "perl_work.pl"), str(repeat(20, self.scale))]


class Ruby(Program):
    name = "ruby"
    packages = ["ruby"]

    def binary(self):
        return "/usr/bin/ruby"

    def command(self):
        return [self.binary(), os.path.join(MACRO_FOLDER, "ruby_work.rb"), str(repeat(20, self.scale))]


class Jq(Program):
    """Each of its values is a small block of its own with a reference count."""

    name = "jq"
    packages = ["jq"]

    def binary(self):
        return "/usr/bin/jq"

    def document(self):
        return os.path.join(self.folder, "document.json")

    def set_up(self):
        records = [
            {
                "number": number,
                "kind": f"kind {number % 97}",
                "line": f"line {number * 7919 % 100003} of {number}",
                "words": [f"word{number * factor % 1009}" for factor in (3, 5, 7)],
            }
            for number in range(repeat(6000, self.scale))
        ]
        with open(self.document(), "w", encoding="ascii") as file:
            json.dump(records, file)

    def command(self):
        return [self.binary(), "-rf", os.path.join(MACRO_FOLDER, "jq_work.jq"), self.document()]


class Z3(Program):
    """Factors of numbers, found bit by bit: clauses are made, learned and forgotten."""

    name = "z3"
    packages = ["z3"]
    FACTORS = [(8191, 6143), (10007, 9967), (12289, 7681)]

    def binary(self):
        return "/usr/bin/z3"

    def problems(self):
        return os.path.join(self.folder, "problems.smt2")

    def set_up(self):
        with open(self.problems(), "w", encoding="ascii") as file:
            file.write("(set-logic QF_BV)\n")
            for number in range(repeat(len(self.FACTORS), self.scale)):
                one, other = self.FACTORS[number % len(self.FACTORS)]
                file.write("(push)\n")
                for variable in "xy":
                    file.write(
                        f"(declare-const {variable} (_ BitVec 32))\n"
                        f"(assert (and (bvult (_ bv1 32) {variable}) (bvult {variable} (_ bv20000 32))))\n"
                    )
                file.write(f"(assert (= (bvmul x y) (_ bv{one * other} 32)))\n(check-sat)\n(pop)\n")

    def command(self):
        return [self.binary(), self.problems()]


class Ghostscript(Program):
    name = "ghostscript"
    packages = ["ghostscript"]

    def binary(self):
        return "/usr/bin/gs"

    def before_run(self):
        for path in self.pages():
            os.unlink(path)

    def pages(self):
        return sorted(glob.glob(os.path.join(self.folder, "page*.ppm")))

    def command(self):
        return [
            self.binary(),
            "-q",
            "-dSAFER",
            "-dBATCH",
            "-dNOPAUSE",
            f"-dpages={repeat(6, self.scale)}",
            "-sDEVICE=ppmraw",
            "-r100",
            "-dTextAlphaBits=4",
            "-o",
            os.path.join(self.folder, "page%d.ppm"),
            os.path.join(MACRO_FOLDER, "pages.ps"),
        ]

    def answer(self, output):
        return " ".join(digest(path) for path in self.pages())


class Sqlite(Program):
    name = "sqlite3"
    packages = ["sqlite3"]

    def binary(self):
        return "/usr/bin/sqlite3"

    def set_up(self):
        rows = repeat(300000, self.scale)
        with open(os.path.join(self.folder, "work.sql"), "w", encoding="ascii") as file:
            file.write(
                f"""
                create table item(id integer primary key, name text, bucket integer, price real);
                begin;
                with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows})
                insert into item select i, 'item ' || (i * 7919 % 1000003), i % 997, i * 0.25 from n;
                commit;
                create index by_name on item(name);
                create index by_bucket on item(bucket, price);
                select bucket, count(*), sum(price), min(name) from item group by bucket
                    order by 3 desc limit 20;
                select a.name, b.name from item a join item b on a.name = b.name and a.id < b.id
                    order by 1 limit 20;
                update item set name = upper(name) where bucket < 500;
                delete from item where bucket % 3 = 0;
                select count(*), sum(length(name)), group_concat(distinct bucket % 7) from item;
                pragma integrity_check;
                """
            )

    def before_run(self):
        for path in glob.glob(os.path.join(self.folder, "work.db*")):
            os.unlink(path)

    def command(self):
        return [
            self.binary(),
            "-init",
            "/dev/null",
            os.path.join(self.folder, "work.db"),
            ".read " + os.path.join(self.folder, "work.sql"),
        ]


class Gcc(Program):
    name = "gcc"
    packages = ["g++"]

    def binary(self):
        return call("g++", "-print-prog-name=cc1plus").strip()

    def command(self):
        return [
            "g++",
            "-std=c++17",
            "-O1",
            "-g0",
            f"-DINSTANCES={repeat(4, self.scale)}",
            "-c",
            os.path.join(MACRO_FOLDER, "large.cc"),
            "-o",
            os.path.join(self.folder, "large.o"),
        ]

    def answer(self, output):
        return digest(os.path.join(self.folder, "large.o"))


class Clang(Gcc):
    name = "clang"
    packages = ["clang", "g++"]  # the headers are the other one's

    def binary(self):
        return os.path.realpath("/usr/bin/clang++")

    def command(self):
        return ["/usr/bin/clang++", *super().command()[1:]]


class Git(Program):
    """History with many similar files, packed anew and checked; then all of it printed as patches."""

    name = "git"
    packages = ["git"]
    extra_environment = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}

    def binary(self):
        return "/usr/bin/git"

    def set_up(self):
        repository = os.path.join(self.folder, "repository")
        shutil.rmtree(repository, ignore_errors=True)
        call("git", "init", "--quiet", "--bare", repository)
        stream = os.path.join(self.folder, "stream")
        with open(stream, "w", encoding="ascii") as file:
            for number in range(repeat(400, self.scale)):
                file.write(
                    f"commit refs/heads/main\ncommitter A <a@b> {1000000000 + number} +0000\n"
                    f"data 8\nmessage\n\n"
                )
                for part in range(10):
                    text = "".join(
                        f"line {line * (part + 1) % 211} {number if line % 17 == number % 17 else part}\n"
                        for line in range(200)
                    )
                    file.write(f"M 100644 inline folder{number % 7}/file{part}\ndata {len(text)}\n{text}\n")
            file.write("done\n")
        with open(stream, "rb") as file:
            result = subprocess.run(
                ["git", "-C", repository, "fast-import", "--quiet", "--done"],
                stdin=file,
                check=False,
                capture_output=True,
            )
        if result.returncode != 0:
            raise RunFailed("git fast-import failed")
        os.unlink(stream)

    def command(self):
        script = (
            'set -e; cd "$1"; git repack -a -d -f -q --window=20 --threads=2; git fsck --full --strict;'
            "git log -p --stat main | git hash-object --stdin; git rev-list --count main"
        )
        return ["/bin/sh", "-c", script, "sh", os.path.join(self.folder, "repository")]


class Server(Program):
    """A program that is started, driven by a client that is not preloaded, and stopped. Its time is the
    client's."""

    user = None

    def wait_until_ready(self, process):
        deadline = time.monotonic() + 60
        while not self.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                return
            time.sleep(0.02)

    def is_ready(self):
        raise NotImplementedError

    def drive(self):
        """The work; returns the answer."""
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    def run_once(self, launcher, allocator):
        self.before_run()
        output = self.fresh_output()
        process, result_path = launcher.start(
            self.command(), self.environment(allocator), output, user=self.user
        )
        try:
            self.wait_until_ready(process)
            begun = time.monotonic()
            answer = self.drive()
            seconds = time.monotonic() - begun
            self.stop()
            result = launcher.finish(process, result_path, output, stopped=True)
        except RunFailed as failure:
            self.blame(process, result_path, output, launcher, failure)
        finally:
            # Whatever happened, Ctrl-C included: the server must not outlive its run.
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait()
            if os.path.exists(result_path):
                os.unlink(result_path)
        return answer, sample_of(result, seconds)

    @staticmethod
    def blame(process, result_path, output, launcher, failure):
        """The client complained. If the server had ended by then, that is the reason, and not the
        complaint."""
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise failure from None
        if os.path.exists(result_path):
            launcher.finish(process, result_path, output)
        raise failure


class Redis(Server):
    name = "redis"
    packages = ["redis-server", "redis-tools"]
    brings_allocator = True

    def binary(self):
        return "/usr/bin/redis-server"

    def socket(self):
        return os.path.join(self.folder, "redis.sock")

    def command(self):
        return [
            self.binary(),
            "--port",
            "0",
            "--unixsocket",
            self.socket(),
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            self.folder,
            "--daemonize",
            "no",
        ]

    def client(self, *arguments):
        return call("redis-cli", "-s", self.socket(), *arguments)

    def is_ready(self):
        try:
            return self.client("ping").strip() == "PONG"
        except RunFailed:
            return False

    def drive(self):
        requests = str(repeat(200000, self.scale))
        table = call(
            "redis-benchmark",
            "-s",
            self.socket(),
            "-n",
            requests,
            "-c",
            "20",
            "-P",
            "16",
            "-d",
            "100",
            "-r",
            "50000",
            "-t",
            "set,get,incr,lpush,lpop,sadd,hset,zadd,lrange_100",
            "--csv",
        )
        tests = re.findall(r'^"([A-Za-z_0-9 ()]+)","[0-9.]+"', table, re.MULTILINE)
        value = "x" * 100000
        self.client("set", "known", value)
        if self.client("get", "known").strip() != value:
            raise RunFailed("redis lost a value")
        return " ".join(tests)

    def stop(self):
        call("redis-cli", "-s", self.socket(), "shutdown", "nosave")


class Postgres(Server):
    name = "postgresql"
    packages = ["postgresql"]

    def __init__(self, scale):
        super().__init__(scale)
        if os.geteuid() == 0:
            self.user = "postgres"  # the server refuses to run as root

    @staticmethod
    def tool(name):
        found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
        if not found:
            raise RunFailed(f"{name} is not installed")
        return found[-1]

    def binary(self):
        return self.tool("postgres")

    def as_server_user(self, *command):
        if self.user:
            command = ("setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", *command)
        return call(*command, cwd="/")

    def cluster(self):
        return os.path.join(self.folder, "cluster")

    def set_up(self):
        shutil.rmtree(self.cluster(), ignore_errors=True)
        if self.user:
            entry = pwd.getpwnam(self.user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            # The folder is below private ones, perhaps: others need to pass through, not to read.
            os.chmod(self.folder, 0o711)
        self.as_server_user(
            self.tool("initdb"),
            "--pgdata",
            self.cluster(),
            "--auth=trust",
            "--username=bench",
            "--no-sync",
            "--no-locale",
            "--encoding=UTF8",
        )
        self.filled = False

    def command(self):
        return [
            self.binary(),
            "-D",
            self.cluster(),
            "-k",
            self.folder,
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            "shared_buffers=32MB",
            "-c",
            "autovacuum=off",
            "-c",
            "max_connections=20",
        ]

    def connection(self):
        return ["-h", self.folder, "-U", "bench", "postgres"]

    def query(self, text):
        return call(self.tool("psql"), *self.connection(), "-qAtc", text).strip()

    def is_ready(self):
        try:
            return self.query("select 1") == "1"
        except RunFailed:
            return False

    def drive(self):
        if not self.filled:
            call(self.tool("pgbench"), "-i", "-q", *self.connection())
            self.filled = True
        clients, reads, writes = 4, repeat(4000, self.scale), repeat(1000, self.scale)
        before = int(self.query("select count(*) from pgbench_history"))
        call(self.tool("pgbench"), "-n", "-S", "-c", str(clients), "-t", str(reads), *self.connection())
        call(self.tool("pgbench"), "-n", "-c", str(clients), "-t", str(writes), *self.connection())
        done = int(self.query("select count(*) from pgbench_history")) - before
        equal = self.query(
            "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from "
            "pgbench_history) and (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) "
            "from pgbench_tellers)"
        )
        return f"{done} transactions, books balance: {equal}"

    def stop(self):
        with open(os.path.join(self.cluster(), "postmaster.pid"), encoding="ascii") as file:
            os.kill(int(file.readline()), signal.SIGINT)


PROGRAMS = [
    Python,
    PythonMalloc,
    Perl,
    Ruby,
    Node,
    Jq,
    Z3,
    Ghostscript,
    Gcc,
    Clang,
    Git,
    Sqlite,
    Redis,
    Postgres,
]
