"""soak: runs the services on brim for as many minutes as one likes, and says at the end whether anything was lost,
got stuck, or grew. scripts/soak starts it.

usage: soak.py --library libbrim.so.1 --probe preload_probe.so MINUTES [SERVICE...]

Status 0: passed; 1: a fault, which the last line names; 2: wrong usage; 130: ended by Ctrl-C."""

import argparse
import ctypes
import faulthandler
import signal
import statistics
import sys
import threading
import time

import place as places
from place import Fault
from services import SERVICES

PR_SET_CHILD_SUBREAPER = 36
# A cycle takes seconds; on a machine that does other things, some more.
STUCK = 2 * places.LIMIT
# The last quarter's median against the second's: the first one is for growing. Five minutes without drift were within
# 3 %; what leaks, or collects what it never uses again, grew by a third.
DRIFT = 1.10
DRIFT_BYTES = 2 << 20
LEAST_SAMPLES = 4  # in each of the two quarters


def quarters(samples, begin, end):
    """The memory in the second and in the last quarter of the time; None where it was hardly ever looked at."""
    quarter = (end - begin) / 4
    second = [size for at, size in samples if begin + quarter <= at < begin + 2 * quarter]
    last = [size for at, size in samples if begin + 3 * quarter <= at]
    if min(len(second), len(last)) < LEAST_SAMPLES:
        return None
    return statistics.median(second), statistics.median(last)


def has_drifted(second, last):
    return last > second * DRIFT + DRIFT_BYTES


class Runner(threading.Thread):
    """Drives one service. The memory is looked at after each cycle, when the load has ended: at the same point each
    time, or the load's phases would be taken for drift."""

    def __init__(self, service, ended):
        super().__init__(daemon=True)
        self.service = service
        self.ended = ended  # set: no further cycle
        self.fault = None
        self.samples = []
        self.peak = 0
        self.heard = time.monotonic()
        self.cycles = 0

    def run(self):
        try:
            while not self.ended.is_set():
                self.service.cycle()
                self.heard = time.monotonic()
                self.samples.append((self.heard, self.service.memory()))
                self.cycles += 1
            self.service.finish()
        except Fault as fault:
            self.fault = str(fault)
        except Exception as error:
            # A service that is gone shows as a broken pipe, a closed connection, an answer that makes no sense.
            self.fault = f"{self.service.name}: {type(error).__name__}: {error}"

    def look(self):
        """By the main thread, now and then; raises what is wrong."""
        if self.fault:
            raise Fault(self.fault)
        if self.is_alive() and time.monotonic() - self.heard > STUCK:
            raise Fault(f"{self.service.name}: stuck: no cycle ended in the last {STUCK} s")
        if not self.ended.is_set():
            if not self.service.is_alive():
                raise Fault(f"{self.service.name}: ended by itself: {places.tail(self.service.log())}")
            self.peak = max(self.peak, self.service.memory())


def mebibytes(size):
    return f"{size / (1 << 20):.1f} MiB"


def report(runner, begin, end):
    """Prints what a service did; returns whether it grew."""
    service = runner.service
    done = ", ".join(f"{number:,} {what}" for what, number in service.done.items())
    print(f"{service.name}: {runner.cycles} cycles: {done}")
    found = quarters(runner.samples, begin, end)
    if not found:
        print(f"  memory: peak {mebibytes(runner.peak)}; too few cycles to judge drift")
        return False
    second, last = found
    grew = has_drifted(second, last)
    print(
        f"  memory: second quarter {mebibytes(second)}, last quarter {mebibytes(last)} ({last / second - 1:+.1%}), "
        f"peak {mebibytes(runner.peak)}{': it grew' if grew else ''}"
    )
    return grew


def soak(place, services, seconds):
    """Runs them; returns (the runners, when it began, when it ended). Raises Fault."""
    for service in services:
        service.start()
    ended = threading.Event()
    runners = [Runner(service, ended) for service in services]
    begin = time.monotonic()
    for runner in runners:
        runner.start()
    while time.monotonic() < begin + seconds:
        time.sleep(0.2)
        for runner in runners:
            runner.look()
    end = time.monotonic()
    ended.set()
    while any(runner.is_alive() for runner in runners):
        time.sleep(0.05)
        for runner in runners:
            runner.look()
    for runner in runners:
        runner.look()
        place.check(*runner.service.programs)
    return runners, begin, end


def run(library, probe, kinds, seconds):
    """A whole soak of services of these kinds; prints the verdict, and returns the exit status."""
    # Orphans of servers become ours, to be ended with the rest.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    place = places.Place(library, probe)
    services = [kind(place) for kind in kinds]
    status = 1
    try:
        runners, begin, end = soak(place, services, seconds)
        grew = [runner.service.name for runner in runners if report(runner, begin, end)]
        if grew:
            print(f"soak: FAILED: the memory of {', '.join(grew)} grew by more than {DRIFT - 1:.0%}")
        else:
            status = 0
            print(f"soak: passed: {(end - begin) / 60:.1f} minutes, nothing lost, nothing stuck, no drift")
    except Fault as fault:
        print(f"soak: FAILED: {fault}")
    except OSError as error:  # a server that does not survive its start
        print(f"soak: FAILED: {type(error).__name__}: {error}")
    except KeyboardInterrupt:
        status = 130
        print("soak: interrupted: no verdict")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        places.end_all([service.process for service in services if service.process and service.ends_gently])
        place.remove()
        sys.stdout.flush()
    return status


def terminate(*_):
    raise KeyboardInterrupt


def main():
    names = {kind.name: kind for kind in SERVICES}
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Run real programs on brim for long.")
    parser.add_argument("minutes", type=float, metavar="MINUTES")
    parser.add_argument("services", nargs="*", choices=[[], *names], metavar="SERVICE", help=", ".join(names))
    parser.add_argument("--library", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--probe", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.minutes <= 0:
        parser.error("there is nothing to run in so many minutes")
    faulthandler.enable()
    signal.signal(signal.SIGTERM, terminate)
    kinds = [names[name] for name in options.services or names]
    return run(options.library, options.probe, kinds, options.minutes * 60)


if __name__ == "__main__":
    sys.exit(main())
