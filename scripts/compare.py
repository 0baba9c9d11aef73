"""compare: the same real work under glibc's malloc, jemalloc and brim, one after the other and in rotating
order, and a table of CPU time and peak RSS with a verdict where the difference is outside the noise.
`scripts/run` starts it.

    compare.py LIBBRIM      the comparison
    compare.py --work       python3's share of the work, in the process that is measured
"""

import hashlib
import json
import math
import os
import random
import re
import socket
import statistics
import string
import subprocess
import sys
import tempfile
import time

SECONDS = 50  # no round begins that would end later, once there are enough
ENOUGH_ROUNDS = 4
MOST_ROUNDS = 12
RUN_LIMIT = 120
# Two-sided 95 % quantiles of Student's t, by degrees of freedom, from 3.
STUDENT = [3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20]
WORTH_SAYING = 0.01


class RunFailed(Exception):
    """A program crashed, hung, gave a wrong answer, or ran on another allocator than it was meant to."""


def cpu_seconds(process):
    """What the process and its threads have used so far. Not wall time, to which a busy machine adds."""
    with open(f"/proc/{process}/stat", encoding="utf-8") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_rss(process):
    """In KiB. The kernel's ru_maxrss will not do: it begins with the peak of the process that forked."""
    with open(f"/proc/{process}/status", encoding="ascii") as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1))


# python3's work: documents, dictionaries, strings and objects, as a small service or a data script has them.

def python_work():
    chance = random.Random(1)
    words = ["".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 14))) for _ in range(20000)]
    total = hashlib.sha256()
    records = []
    for number in range(20000):
        records.append({"id": number, "name": " ".join(chance.choices(words, k=3)), "score": chance.random(),
                        "tags": chance.choices(words, k=chance.randint(0, 6)), "parent": {"id": number // 7}})
    for _ in range(3):
        text = json.dumps(records)
        records = json.loads(text)
        total.update(text.encode())
        by_tag = {}
        for record in records:
            for tag in record["tags"]:
                by_tag.setdefault(tag, []).append((record["name"], record["score"]))
        for tag in sorted(by_tag):
            by_tag[tag].sort()
            total.update(f"{tag} {len(by_tag[tag])} {by_tag[tag][0][0]}".encode())
        lines = [re.sub(r"[aeiou]+", str(len(record["tags"])), record["name"]).split() for record in records]
        total.update("\n".join(" ".join(reversed(line)) for line in lines).encode())
        records = [record for record in records if chance.random() < 0.9]
    print(total.hexdigest(), time.process_time(), peak_rss("self"))


def run_python(environment, _folder):
    """Returns (CPU seconds, peak RSS in KiB, answer)."""
    result = subprocess.run(["/usr/bin/python3", "-S", "-B", os.path.abspath(__file__), "--work"],
                            env=dict(environment, PYTHONMALLOC="malloc", PYTHONHASHSEED="1"),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=RUN_LIMIT, check=False)
    if result.returncode != 0:
        raise RunFailed(f"exit status {result.returncode}")
    answer, seconds, peak = result.stdout.split()
    return float(seconds), int(peak), answer


# redis' work: redis-benchmark against a server on a socket of its own.

REDIS_SERVER = "/usr/bin/redis-check-rdb"  # what redis-server links to; its package starts no service
REDIS_TESTS = "set,get,incr,lpush,sadd,hset,zadd"


def ask(path, command):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(RUN_LIMIT)
        connection.connect(path)
        connection.sendall(command + b"\r\n")
        return connection.recv(1000)


def run_redis(environment, folder):
    path = os.path.join(folder, "redis.sock")
    command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
    server = subprocess.Popen(command, executable=REDIS_SERVER, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + RUN_LIMIT
        while True:
            try:
                if ask(path, b"PING") == b"+PONG\r\n":
                    break
            except OSError:
                pass
            if server.poll() is not None or time.monotonic() > deadline:
                raise RunFailed("the server did not start")
            time.sleep(0.01)
        start = cpu_seconds(server.pid)
        subprocess.run(["/usr/bin/redis-benchmark", "-s", path, "-q", "-n", "60000", "-c", "20", "-P", "16",
                        "-d", "200", "-r", "50000", "-t", REDIS_TESTS], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, timeout=RUN_LIMIT, check=True)
        seconds = cpu_seconds(server.pid) - start
        peak = peak_rss(server.pid)
        answer = ask(path, b"LLEN mylist")
        try:
            ask(path, b"SHUTDOWN NOSAVE")
        except ConnectionResetError:
            pass
        if server.wait(RUN_LIMIT) != 0:
            raise RunFailed(f"the server ended with status {server.returncode}")
        return seconds, peak, answer
    except subprocess.CalledProcessError as error:
        raise RunFailed(f"redis-benchmark: status {error.returncode}; the server: {server.poll()}") from error
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


WORK = {
    "python3": (run_python, "/usr/bin/python3",
                "JSON, dictionaries, strings, sorting; every object is a malloc (PYTHONMALLOC=malloc)"),
    "redis": (run_redis, REDIS_SERVER, f"redis-benchmark: {REDIS_TESTS}; values of 200 bytes"),
}


def allocators(brim):
    """Name to library. glibc is preloaded, too: this puts it before the jemalloc that redis is linked to."""
    return {"glibc": "libc.so.6", "jemalloc": "libjemalloc.so.2", "brim": brim}


def environment_for(library):
    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith(("MALLOC_", "BRIM_")) and key not in ("LD_PRELOAD", "GLIBC_TUNABLES")}
    return dict(environment, LD_PRELOAD=library, LC_ALL="C.UTF-8")


def check_binding(program, library, folder):
    """The loader's own account of where the program's malloc comes from: a preload that failed is silent."""
    log = os.path.join(folder, "bindings")
    environment = dict(environment_for(library), LD_DEBUG="bindings", LD_BIND_NOW="1", LD_DEBUG_OUTPUT=log)
    subprocess.run([program, "--version"], env=environment, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, timeout=RUN_LIMIT, check=False)
    text = ""
    for name in os.listdir(folder):
        if name.startswith("bindings."):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                text += file.read()
            os.unlink(os.path.join(folder, name))
    binding = rf"binding file {re.escape(program)} \[0\] to (\S+) \[0\]: normal symbol `malloc'"
    found = {os.path.basename(path) for path in re.findall(binding, text)}
    found -= {os.path.basename(program)}  # its own jump to it
    if found != {os.path.basename(library)}:
        raise RunFailed(f"its malloc comes from {', '.join(sorted(found)) or 'nowhere'}")


def measure(field):
    """Returns {work: {allocator: [(seconds, KiB)]}}."""
    samples = {work: {name: [] for name in field} for work in WORK}
    answers = {}
    names = list(field)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="brim-compare-") as folder:
        for work, (_, program, _) in WORK.items():
            for name, library in field.items():
                try:
                    check_binding(program, library, folder)
                except RunFailed as failure:
                    raise RunFailed(f"{work} on {name}: {failure}") from failure
        for round_number in range(MOST_ROUNDS):
            spent = time.monotonic() - begin
            if round_number >= ENOUGH_ROUNDS and spent * (round_number + 1) / round_number > SECONDS:
                break
            turn = round_number % len(names)
            for work, (run, _, _) in WORK.items():
                for name in names[turn:] + names[:turn]:
                    progress(f"round {round_number + 1}: {work} on {name}")
                    try:
                        seconds, peak, answer = run(environment_for(field[name]), folder)
                    except (RunFailed, OSError, subprocess.TimeoutExpired) as failure:
                        raise RunFailed(f"{work} on {name}: {failure}") from failure
                    if answers.setdefault(work, answer) != answer:
                        raise RunFailed(f"{work} on {name}: wrong answer")
                    samples[work][name].append((seconds, peak))
    progress("")
    return samples


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def ratio(ours, theirs):
    """The ratio and its 95 % interval, from the ratios within each round: the machine's drift hits both."""
    logs = [math.log(our / their) for our, their in zip(ours, theirs)]
    middle = statistics.mean(logs)
    half = STUDENT[len(logs) - 4] * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def verdict(work, rival, thing, found):
    middle, low, high = found
    if low <= 1 <= high or abs(middle - 1) < WORTH_SAYING:
        return f"{work}: no difference in {thing} between brim and {rival} outside the noise."
    direction = "less" if middle < 1 else "more"
    return f"{work}: brim takes {abs(1 - middle):.0%} {direction} {thing} than {rival}."


def report(samples, field):
    verdicts = []
    for work, by_name in samples.items():
        print(f"\n{work}: {WORK[work][2]}")
        print(f"{'':10s} {'CPU time':>8s}  {'ratio to glibc':22s} {'peak RSS':>10s}  ratio to glibc")
        reference = by_name["glibc"]
        for name in field:
            cells = []
            for metric, form in ((0, "{:6.2f} s"), (1, "{:6.1f} MiB")):
                ours = [sample[metric] for sample in by_name[name]]
                middle = statistics.median(ours) / (1024 if metric else 1)
                text = ""
                if name != "glibc":
                    theirs = [sample[metric] for sample in reference]
                    text = "{:.2f} [{:.2f}, {:.2f}]".format(*ratio(ours, theirs))
                cells += [form.format(middle), text]
            print(f"{name:10s} {cells[0]:>8s}  {cells[1]:22s} {cells[2]:>10s}  {cells[3]}".rstrip())
        for rival in field:
            if rival != "brim":
                for metric, thing in enumerate(("CPU time", "memory")):
                    found = ratio([sample[metric] for sample in by_name["brim"]],
                                  [sample[metric] for sample in by_name[rival]])
                    verdicts.append(verdict(work, rival, thing, found))
    rounds = len(reference)
    print(f"\nMedians of {rounds} rounds; ratios are means over the rounds, in brackets the 95 % interval.\n")
    print("\n".join(verdicts))


def main():
    if sys.argv[1:] == ["--work"]:
        python_work()
        return 0
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    field = allocators(sys.argv[1])
    print(f"The same work of {' and '.join(WORK)} under {', '.join(field)}, in turn. This takes a minute.",
          flush=True)
    try:
        report(measure(field), field)
    except RunFailed as failure:
        progress("")
        print(f"compare: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
