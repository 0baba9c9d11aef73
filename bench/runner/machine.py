"""What the result was measured on: machine, kernel, settings that move allocators' figures, versions,
commit."""

import os
import platform
import subprocess
import time


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def processor():
    for line in read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware", "Processor"):
            return value.strip()
    return platform.machine()


def memory_bytes():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def chosen(path):
    """The bracketed word of a sysfs choice such as "always [madvise] never"."""
    text = read(path)
    return text.partition("[")[2].partition("]")[0] or text


def commit(repository):
    def git(*arguments):
        try:
            result = subprocess.run(
                ["git", "-C", repository, *arguments], capture_output=True, text=True, check=False
            )
        except OSError:
            return ""
        return result.stdout.strip() if result.returncode == 0 else ""

    identifier = git("rev-parse", "--short=12", "HEAD")
    if identifier and git("status", "--porcelain"):
        identifier += " with local changes"
    return identifier or "unknown"


def distribution():
    for line in read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return ""


def describe(repository):
    virtual = "hypervisor" in read("/proc/cpuinfo")
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "virtual_machine": virtual,
        "memory_bytes": memory_bytes(),
        "kernel": platform.release(),
        "distribution": distribution(),
        "transparent_hugepages": chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
        "overcommit_memory": read("/proc/sys/vm/overcommit_memory"),
        "frequency_governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not visible",
        "load_at_start": os.getloadavg()[0],
        "commit": commit(repository),
    }
