"""The field: the allocators that are compared. glibc is the C library's own, every other one is a shared
library to preload. glibc, jemalloc and brim are always in it; mimalloc and tcmalloc when Debian's packages
are installed."""

import ctypes
import os
import re
import subprocess
from dataclasses import dataclass, replace

# name, Debian package, file name of the library
PACKAGED = [
    ("jemalloc", "libjemalloc2", "libjemalloc.so.2"),
    ("mimalloc", "libmimalloc2.0", "libmimalloc.so.2.0"),
    ("tcmalloc", "libtcmalloc-minimal4", "libtcmalloc_minimal.so.4"),
]
REFERENCE = "glibc"


class FieldError(Exception):
    """The user asked for an allocator that cannot be had."""


@dataclass(frozen=True)
class Allocator:
    name: str
    library: str  # absolute path of the file that malloc must come from
    version: str

    @property
    def preload(self):
        """The value of LD_PRELOAD; None: leave the program alone."""
        return None if self.name == REFERENCE else self.library

    def environment(self):
        return {} if self.preload is None else {"LD_PRELOAD": self.preload}


def libc_path():
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            path = line.split()[-1]
            if re.search(r"/libc[.-][^/]*$", path):
                return os.path.realpath(path)
    raise FieldError("cannot find the C library of this system")


def libc_version():
    version = ctypes.CDLL(None).gnu_get_libc_version
    version.restype = ctypes.c_char_p
    return version().decode()


def package_version(package):
    result = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Version}", package],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() if result.returncode == 0 else ""


def packaged_library(file_name):
    folder = os.path.dirname(libc_path())
    for candidate in (
        folder,
        folder.replace("/usr/lib", "/lib", 1),
        os.path.join("/usr", folder.lstrip("/")),
    ):
        path = os.path.join(candidate, file_name)
        if os.path.exists(path):
            return os.path.realpath(path)
    return None


def custom(argument):
    """NAME=PATH, as the command line has it."""
    name, separator, path = argument.partition("=")
    if not separator or not re.fullmatch(r"[A-Za-z0-9_.+-]+", name):
        raise FieldError(f"'{argument}' is not NAME=path.so")
    path = os.path.realpath(path)
    if not os.path.isfile(path):
        raise FieldError(f"{name}: there is no file {path}")
    if re.search(r"[\s:]", path):
        raise FieldError(f"{name}: a path with a space or colon cannot be preloaded: {path}")
    return Allocator(name, path, "")


def assemble(brim, brim_version, extra=(), only=None, twin=None):
    """All allocators to be measured, glibc first. `brim` is the path of libbrim.so.1 or None, `extra` a list
    of NAME=PATH, `only` a list of names to keep; `twin`: the name under which brim is entered once more."""
    field = [Allocator(REFERENCE, libc_path(), libc_version())]
    if brim:
        field.append(Allocator("brim", os.path.realpath(brim), brim_version))
    for name, package, file_name in PACKAGED:
        path = packaged_library(file_name)
        if path:
            field.append(Allocator(name, path, package_version(package)))
    for argument in extra:
        allocator = custom(argument)
        if any(allocator.name == other.name for other in field):
            raise FieldError(f"there are two allocators of the name {allocator.name}")
        field.append(allocator)
    if only:
        unknown = set(only) - {allocator.name for allocator in field}
        if unknown:
            raise FieldError("not in the field: " + ", ".join(sorted(unknown)))
        field = [allocator for allocator in field if allocator.name in only]
    if twin:
        field += [replace(allocator, name=twin) for allocator in field if allocator.name == "brim"]
    return field
