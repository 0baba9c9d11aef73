# shellcheck shell=bash
# lib.sh: what the scripts beside it share: where things lie, how Debian packages are fetched, how brim is
# built. To be sourced by a bash script that has `set -euo pipefail`; it runs nothing by itself.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# The caller's build folder, for those who want a second one; everything a script builds lies in it.
build_folder=${BRIM_BUILD_FOLDER:-$repository/build}
# What it takes to build the library and nothing else. Debian's gcc does not bring libc's headers by itself.
build_packages=(gcc libc6-dev make cmake)

# All talk of the scripts goes to stderr: stdout belongs to what they run.
say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "$(basename "$0"): $*"
    exit 1
}

# The names in package lists (one per line, # starts a comment), each once.
read_package_lists() {
    sed -e 's/#.*//' -- "$@" | tr -s '[:space:]' '\n' | sed '/^$/d' | sort -u
}

# What the tests need: each folder of tests says it in its file `packages`.
packages_of_tests() {
    read_package_lists "$repository"/tests/*/packages
}

missing_packages() {
    local package status
    for package in $(printf '%s\n' "$@" | sort -u); do
        status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
        # A package for several architectures is listed once per architecture.
        [[ $status == installed* ]] || printf '%s\n' "$package"
    done
}

as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "must be root (or have sudo) to run: $*"
    fi
}

# need_packages PACKAGE...: says which of them it will install, and installs these from the system's own
# sources. Services that a package brings stay as Debian starts them.
need_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [[ ${#missing[@]} -gt 0 ]] || return 0
    command -v apt-get >/dev/null || fail "this system has no apt-get; please install: ${missing[*]}"
    say "Installing from Debian's packages: ${missing[*]}"
    local apt=(as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq)
    apt+=(-o DPkg::Lock::Timeout=900 -o Dpkg::Use-Pty=0)
    # A source that cannot be reached need not be one of those that hold the packages: let the install decide.
    "${apt[@]}" update >&2 || say "apt-get update failed; trying with the package lists that are here."
    "${apt[@]}" install --yes --no-install-recommends "${missing[@]}" </dev/null >&2 ||
        fail "could not install: ${missing[*]}"
}

# configure [CMAKE ARGUMENT...]: configures the build folder; silent unless it fails.
configure() {
    local log
    mkdir -p "$build_folder"
    log=$build_folder/configure.log
    if ! cmake -S "$repository" -B "$build_folder" "$@" >"$log" 2>&1; then
        cat "$log" >&2
        fail "cmake could not configure $build_folder"
    fi
}

# build_targets [TARGET...]: builds the targets (all without one); silent unless it fails.
build_targets() {
    local log arguments=(--build "$build_folder" --parallel "$(nproc)")
    [[ $# -eq 0 ]] || arguments+=(--target "$@")
    log=$build_folder/build.log
    if ! cmake "${arguments[@]}" >"$log" 2>&1; then
        cat "$log" >&2
        fail "the build failed (see $log)"
    fi
}

# build_brim: libbrim.so.1 and libbrim.a, with the packages it takes. A build folder that is there keeps its
# settings: after scripts/test it holds the tests, too.
build_brim() {
    need_packages "${build_packages[@]}"
    if [[ ! -f $build_folder/CMakeCache.txt ]]; then
        say "Building brim into $build_folder"
        configure -DBRIM_TESTS=OFF
    fi
    build_targets brim_shared brim_static
}

# Where build_brim leaves the library for LD_PRELOAD.
brim_library() {
    printf '%s\n' "$build_folder/allocator/libbrim.so.1"
}
