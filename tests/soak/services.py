"""services: the programs of a soak. Each is started once, is loaded in cycles by a thread of its own, checks its
data in every cycle and all of it at the end, and names the process whose memory must not grow."""

import glob
import json
import os
import pwd
import random
import re
import select
import shutil
import socket
import subprocess
import time
import zlib

from place import LIMIT, Fault, anonymous_bytes, ended_well, tail, until

# What redis-server links to; its package starts no service.
REDIS_SERVER = "/usr/bin/redis-check-rdb"


class Service:
    """`done` counts what was done, for the report. Of every method only `memory` is called by two threads."""

    name = ""
    programs = ()  # that must have run on brim
    ends_gently = False  # on SIGQUIT: what it has in the system goes with it

    def __init__(self, place):
        self.place = place
        self.process = None
        self.done = {}

    def log(self):
        return self.place.path(f"{self.name}.log")

    def count(self, what, number=1):
        self.done[what] = self.done.get(what, 0) + number

    def is_alive(self):
        return self.process.poll() is None

    def memory(self):
        return anonymous_bytes(self.process.pid)

    def start(self):
        raise NotImplementedError

    def cycle(self):
        """Some seconds of load, and a check."""
        raise NotImplementedError

    def finish(self):
        """All data checked, and a clean stop."""
        raise NotImplementedError


class RedisClient:
    """The protocol's few forms, on the server's socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    @staticmethod
    def encoded(words):
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)

    def answer(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        raise Fault(f"redis: {line.decode(errors='replace').strip() or 'the connection is closed'}")

    def all(self, commands):
        self.socket.sendall(b"".join(self.encoded(words) for words in commands))
        return [self.answer() for _ in commands]

    def __call__(self, *words):
        return self.all([words])[0]


class Redis(Service):
    """One database is kept in step with a model here, key by key; another one is redis-benchmark's. Each cycle forks
    a child that writes a snapshot while both change."""

    name = "redis"
    programs = ("redis-check-rdb", "redis-benchmark")
    KEYS = 20000
    MOST_GROWN = 4096  # bytes: what is kept must not go up and down by itself, with a few large values
    CHECKED = 400  # in each cycle
    PAUSE = 0.5  # seconds: there are others on the machine

    def start(self):
        os.mkdir(self.place.path("redis"))
        program = self.place.path("redis-server")
        os.symlink(REDIS_SERVER, program)
        options = {
            "port": 0,
            "unixsocket": self.place.path("redis.sock"),
            "dir": self.place.path("redis"),
            "save": "",
            "appendonly": "no",
            "enable-debug-command": "local",
            "lazyfree-lazy-user-del": "yes",
        }
        arguments = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        self.process = self.place.start(self.place.command(program, *arguments), "redis.log")
        until("redis", lambda: os.path.exists(options["unixsocket"]), self.process, self.log())
        self.client = RedisClient(options["unixsocket"])
        self.model = {}
        self.chance = random.Random(1)
        for _ in range(5):
            self.change(self.KEYS)

    def value(self):
        seed = self.chance.randrange(1 << 30)
        return (b"%d," % seed) * min(int(self.chance.paretovariate(0.8)), 500)

    def change(self, count):
        """Some keys set, grown, removed, in the server and in the model, which keeps a checksum and a length."""
        commands = []
        for _ in range(count):
            key = f"key:{self.chance.randrange(self.KEYS)}"
            what = self.chance.random()
            if what < 0.2:
                self.model.pop(key, None)
                commands.append(("DEL", key))
            else:
                value = self.value()
                grown = what < 0.4 and key in self.model and self.model[key][1] < self.MOST_GROWN
                checksum, length = self.model[key] if grown else (0, 0)
                self.model[key] = (zlib.crc32(value, checksum), length + len(value))
                commands.append(("APPEND" if grown else "SET", key, value))
        self.client.all(commands)

    def check(self, keys):
        for key, value in zip(keys, self.client.all([("GET", key) for key in keys])):
            if value is None or (zlib.crc32(value), len(value)) != self.model[key]:
                raise Fault(f"redis: the value of {key} is not what was put there")
        self.count("keys checked", len(keys))

    def persistence(self, key):
        found = re.search(rf"{key}:(\S+)", self.client("INFO", "persistence").decode())
        return found[1] if found else ""

    def cycle(self):
        command = ["redis-benchmark", "-s", self.place.path("redis.sock"), "-q", "--dbnum", "1", "-c", "20"]
        command += ["-n", "8000", "-P", "8", "-d", "150", "-r", "20000", "-t", "set,get,incr,lpush,lpop,sadd,zadd"]
        self.change(500)
        self.count("changes", 500)
        benchmark = self.place.start(self.place.command(*command), "redis-benchmark.log", stdout=subprocess.DEVNULL)
        self.client("BGSAVE")
        while benchmark.poll() is None or self.persistence("rdb_bgsave_in_progress") != "0":
            self.change(50)
            self.count("changes", 50)
            time.sleep(0.02)
        ended_well("redis-benchmark", benchmark, self.place.path("redis-benchmark.log"))
        if self.persistence("rdb_last_bgsave_status") != "ok":
            raise Fault(f"redis: a snapshot failed: {tail(self.log())}")
        self.count("snapshots by forked children")
        self.check(self.chance.sample(sorted(self.model), min(self.CHECKED, len(self.model))))
        self.client.all([("SELECT", 1), ("FLUSHDB", "ASYNC"), ("SELECT", 0)])
        time.sleep(self.PAUSE)

    def finish(self):
        """The digest holds over a snapshot that is read again."""
        if self.client("DBSIZE") != len(self.model):
            raise Fault(f"redis: {self.client('DBSIZE')} keys instead of {len(self.model)}")
        self.check(list(self.model))
        before = self.client("DEBUG", "DIGEST")
        self.client("DEBUG", "RELOAD")
        if self.client("DEBUG", "DIGEST") != before:
            raise Fault("redis: the digest changed over a reload")
        self.check(list(self.model))
        self.client.socket.sendall(self.client.encoded(("SHUTDOWN", "NOSAVE")))
        ended_well("redis", self.process, self.log())
        self.client.close()


class PostgreSQL(Service):
    """pgbench at a fixed rate, in every other cycle with a new connection, which is a fork, for each transaction; and
    one session that works as long as the server."""

    name = "postgresql"
    programs = ("postgres", "pgbench", "psql")
    ends_gently = True
    RATE = 150  # transactions a second
    SECONDS = 2
    # Tables, strings and arrays of its own; the answer is a constant.
    WORK = (
        "SELECT md5(string_agg(t, ',' ORDER BY t)) FROM (SELECT md5((i * 7919 % 5003)::text) AS t, "
        "array_agg(i ORDER BY i) AS a FROM generate_series(1, 20000) AS i GROUP BY 1) AS s WHERE cardinality(a) > 3"
    )
    BALANCED = (
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = coalesce(sum(delta), 0) AND (SELECT sum(bbalance) "
        "FROM pgbench_branches) = coalesce(sum(delta), 0) AND (SELECT sum(tbalance) FROM pgbench_tellers) = "
        "coalesce(sum(delta), 0), count(*) FROM pgbench_history"
    )

    def command(self, name, *arguments, **options):
        settings = ["PGUSER=postgres", "PGDATABASE=postgres", f"PGHOST={self.folder}", "PSQLRC=/dev/null"]
        return self.place.command(os.path.join(self.programs_folder, name), *arguments, settings=settings, **options)

    def start(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda path: int(path.split("/")[4]))
        if not found:
            raise Fault("postgresql is not installed")
        self.programs_folder = os.path.dirname(found[-1])
        self.folder = self.place.path("postgresql")
        os.mkdir(self.folder)
        user = None
        if os.geteuid() == 0:  # the server refuses to run as root
            user = "postgres"
            entry = pwd.getpwnam(user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        data = os.path.join(self.folder, "data")
        options = ["--auth=trust", "--username=postgres", "--no-sync", "--locale=C.UTF-8", "--encoding=UTF8"]
        self.place.call(self.command("initdb", "-D", data, "--data-checksums", *options, user=user))
        settings = ["listen_addresses=", "fsync=off", "max_connections=20", "shared_buffers=16MB"]
        arguments = [word for setting in settings for word in ("-c", setting)]
        arguments = ["-D", data, "-k", self.folder, *arguments]
        self.process = self.place.start(self.command("postgres", *arguments, user=user, death="QUIT"), "postgresql.log")
        until("postgresql", self.is_ready, self.process, self.log())
        self.place.call(self.command("pgbench", "-i", "-q"))
        self.session = self.place.start(
            self.command("psql", "-qAtX", "-v", "ON_ERROR_STOP=1"),
            "psql.log",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.backend = int(self.ask("SELECT pg_backend_pid()"))
        self.expected = self.ask(self.WORK)

    def is_ready(self):
        command = self.command("pg_isready", "-q")
        ready = subprocess.run(
            command, cwd=self.place.folder, stdin=subprocess.DEVNULL, timeout=LIMIT, check=False
        )
        return ready.returncode == 0

    def ask(self, query):
        self.session.stdin.write(query + ";\n")
        self.session.stdin.flush()
        if not select.select([self.session.stdout], [], [], LIMIT)[0]:
            raise Fault(f"postgresql: no answer after {LIMIT} s: {query}")
        line = self.session.stdout.readline().strip()
        if not line:
            raise Fault(f"postgresql: the session ended: {tail(self.place.path('psql.log'))}")
        return line

    def memory(self):
        return anonymous_bytes(self.process.pid) + anonymous_bytes(self.backend)

    def check_balances(self):
        wanted = f"t|{self.done.get('transactions', 0)}"
        found = self.ask(self.BALANCED)
        if found != wanted:
            raise Fault(f"postgresql: the books balance, transactions: {found}, not {wanted}")
        self.count("balances checked")

    def cycle(self):
        number = self.done.get("balances checked", 0)
        options = ["-n", "-c", "4", "-j", "2", "-T", str(self.SECONDS), "-R", str(self.RATE)]
        options += ["-C"] if number % 2 else ["-M", "prepared"]
        report = self.place.call(self.command("pgbench", *options))
        done = re.search(r"actually processed: (\d+)", report)
        if not done or "number of failed transactions: 0 " not in report:
            raise Fault(f"pgbench: {report}")
        self.count("transactions", int(done[1]))
        self.count("backends forked", int(done[1]) if number % 2 else 4)
        if self.ask(self.WORK) != self.expected:
            raise Fault("postgresql: a query has another answer")
        self.check_balances()

    def finish(self):
        self.check_balances()
        self.session.stdin.close()
        ended_well("psql", self.session, self.place.path("psql.log"))
        self.session.stdout.close()
        self.process.terminate()
        ended_well("postgresql", self.process, self.log())
        with open(self.log(), encoding="utf-8", errors="replace") as file:
            found = re.search(r".*(terminated by signal|PANIC|server process).*", file.read())
        if found:
            raise Fault(f"postgresql: {found[0]}")
        data = os.path.join(self.folder, "data")
        self.place.call(self.command("pg_checksums", "--check", "-D", data))


class Python(Service):
    """python_worker.py, every object a block."""

    name = "python"
    programs = (os.path.basename(os.path.realpath("/usr/bin/python3")),)
    leak = 0

    def start(self):
        script = shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "python_worker.py"),
                             self.place.folder)
        command = self.place.command(
            "/usr/bin/python3", "-S", "-B", script, str(self.leak), settings=["PYTHONMALLOC=malloc"]
        )
        self.process = self.place.start(command, "python.log", stdout=subprocess.PIPE, text=True)

    def report(self):
        if not select.select([self.process.stdout], [], [], LIMIT)[0]:
            raise Fault(f"python: no cycle in {LIMIT} s")
        line = self.process.stdout.readline()
        if not line:
            ended_well("python", self.process, self.log())
            return False
        report = json.loads(line)
        self.done = {
            "entries replaced": report["replaced"],
            "forks": report["cycles"],
            "memory limits": report["cycles"],
            "times out of memory": report["refused"],
        }
        return True

    def cycle(self):
        if not self.report():
            raise Fault(f"python: ended by itself: {tail(self.log())}")

    def finish(self):
        self.process.terminate()
        while self.report():
            pass
        self.process.stdout.close()


SERVICES = (Redis, PostgreSQL, Python)
