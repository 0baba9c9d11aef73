"""errors: what scripts/maps says where there is nothing to be told, and of kernels that tell less."""

import os
import random
import struct
import subprocess
import tempfile
import unittest

from support import MAPS, maps, report, running

COMPILED = f"""
55d0c0000000-55d0c0021000 rw-p 00000000 00:00 0                          [heap]
Size:                132 kB
Rss:                  16 kB
Private_Clean:         4 kB
Private_Dirty:        12 kB
7f0000000000-7f0000400000 rw-p 00000000 00:00 0
Size:               4096 kB
Rss:                   0 kB
Private_Dirty:         0 kB
Private_Hugetlb:    2048 kB
VmFlags: rd wr mr mw me ht
7f0000500000-7f0000501000 r--p 00000000 08:01 42                         /tmp/a\\012b \x1b[31m (deleted)
Size:                  4 kB
Rss:                   4 kB
Private_Dirty:         0 kB
""".lstrip()


class Errors(unittest.TestCase):
    def expect(self, pattern, *arguments, status=1, **options):
        out, error = maps(*arguments, status=status, **options)
        self.assertEqual(out, "")
        self.assertRegex(error, pattern)
        return error

    def test_arguments(self):
        self.expect("not a process number: self", "self", status=2)
        self.expect("not a process number: -?0", "0", status=2)
        self.expect("PID", status=2)
        self.assertIn("usage: scripts/maps", maps("--help")[0])

    def test_no_such_process(self):
        with subprocess.Popen(["true"]) as process:
            process.wait()
        self.expect(rf"^maps: there is no process {process.pid}$", process.pid)

    def test_process_that_has_ended(self):
        """Dead, and not yet waited for."""
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
            process.stdin.close()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            self.expect(rf"^maps: process {process.pid} has ended$", process.pid)

    def test_process_that_ends_meanwhile(self):
        """Its folder is there, and then nothing can be opened in it."""
        with tempfile.TemporaryDirectory() as proc:
            os.mkdir(f"{proc}/77")
            self.expect(r"^maps: process 77 ended while it was read$", "--proc", proc, "77")

    def test_nothing_mapped(self):
        """A process on its way out has given its memory back and still counts as running; the kernel's own never had any."""
        cases = (
            ("77 (a) b) R 1 77 77 0 -1 4228100 0 0", r"^maps: process 77 has ended$"),
            ("77 (kworker/0:1) I 2 0 0 0 -1 69238880 0 0", r"^maps: process 77 \(worker\) has no memory of its own: it is the"),
        )
        for stat, line in cases:
            with self.subTest(stat=stat), tempfile.TemporaryDirectory() as proc:
                os.mkdir(f"{proc}/77")
                for name, text in (("smaps", ""), ("stat", stat), ("comm", "worker\n")):
                    with open(f"{proc}/77/{name}", "w", encoding="ascii") as file:
                        file.write(text)
                self.expect(line, "--proc", proc, "77")

    def test_process_that_ends_all_the_time(self):
        """Whatever the moment, it is a table or one of the lines above, and never a traceback."""
        outcomes = set()
        for wait in range(15):
            with subprocess.Popen(["sleep", str(0.03 + wait * 0.008)]) as process:
                run = subprocess.run([MAPS, "--all", str(process.pid)], capture_output=True, text=True, check=False)
                process.wait()
            outcomes.add(run.returncode)
            if run.returncode != 0:
                self.assertRegex(run.stderr, r"^maps: [^\n]*(ended|no process)[^\n]*\n$")
        print("statuses seen:", outcomes)

    def test_the_kernels_own(self):
        try:
            with open("/proc/2/comm", encoding="ascii") as file:
                name = file.read().strip()
        except OSError:
            name = ""
        if name != "kthreadd":
            self.skipTest("process 2 is no thread of the kernel here")
        self.expect(r"^maps: process 2 \((kthreadd)\) (has no memory of its own|may not be read)", "2")

    def test_permission(self):
        if os.getuid() != 0:
            self.expect(r"^maps: process 1 \(.*\) may not be read by this user; root may$", "1")
            return
        # The repository may lie where nobody else may look: the script is read by a shell of root's.
        with running() as subject:
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-B", "-c",
                       "import sys; sys.path.insert(0, sys.argv[1]); import maps; sys.exit(maps.main(sys.argv[2:]))"]
            with tempfile.TemporaryDirectory() as folder:
                os.chmod(folder, 0o755)
                for name in ("maps.py", "maps_brim.py", "maps_svg.py"):
                    with open(os.path.join(os.path.dirname(MAPS), name), "rb") as source:
                        with open(os.path.join(folder, name), "wb") as copy:
                            copy.write(source.read())
                run = subprocess.run([*command, folder, str(subject.pid)], capture_output=True, text=True, check=False)
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        self.assertRegex(run.stderr, r"^maps: process \d+ \(.*\) may not be read by this user; root may\n$")

    def test_kernel_that_tells_less(self):
        """No Pss, no Swap, no Locked; names with anything in them; and no memory to be read."""
        with tempfile.TemporaryDirectory() as proc:
            os.mkdir(f"{proc}/77")
            with open(f"{proc}/77/smaps", "w", encoding="utf-8") as file:
                file.write(COMPILED)
            text, _ = maps("--all", "--proc", proc, "77")
        self.assertNotIn("\x1b", text)
        unknown = r" +\?"
        self.assertRegex(text, rf"(?m)^55d0c0000000-55d0c0021000 rw-p break region +132 KiB +16 KiB{unknown}{unknown} "
                               rf"+12 KiB{unknown}{unknown}$")
        self.assertRegex(text, rf"(?m)^7f0000000000-7f0000400000 rw-p anonymous +4 MiB +2 MiB{unknown}{unknown} "
                               rf"+2 MiB{unknown}{unknown}$")
        self.assertIn("/tmp/a?b ?[31m (deleted)", text)
        self.assertIn("could be told apart", text)

    def test_heaps_without_the_memory(self):
        """They are told by the names that the kernel keeps, and by what is in their files."""
        with tempfile.TemporaryDirectory() as proc:
            os.mkdir(f"{proc}/77")
            lines = ["7f0000000000-7f0000100000 rw-p 00000000 00:00 0 [anon:brim heap locked]"]
            for at, (name, content) in enumerate([("a.heap", b"brimheap and more"), ("b.txt", b"more than brimheap")]):
                path = f"{proc}/{name}"
                with open(path, "wb") as file:
                    file.write(content)
                inode = os.stat(path).st_ino
                for part, permissions in enumerate(["rw-s", "---s"]):
                    start = 0x7f0000200000 + at * 0x20000 + part * 0x10000
                    span = f"{start:x}-{start + 0x10000:x}"
                    lines.append(f"{span} {permissions} {part * 0x10000:08x} 08:01 {inode} {path}")
            with open(f"{proc}/77/maps", "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
            text, _ = maps("--proc", proc, "77")
            self.assertRegex(text, r"(?m)^locked heap at 0x7f0000000000 +1 MiB")
            self.assertRegex(text, rf"(?m)^file heap {proc}/a.heap +128 KiB")
            self.assertRegex(text, r"(?m)^files +128 KiB")

    def test_kernel_without_smaps(self):
        with tempfile.TemporaryDirectory() as proc:
            os.mkdir(f"{proc}/77")
            with open(f"{proc}/77/maps", "w", encoding="utf-8") as file:
                file.write("".join(line + "\n" for line in COMPILED.splitlines() if "-" in line.split()[0]))
            text, _ = maps("--proc", proc, "77")
        self.assertRegex(text, r"(?m)^break region +132 KiB( +\?){6}$")

    def test_output_that_cannot_be_written(self):
        with running() as subject:
            self.expect("^maps: /nowhere/at-all.svg: No such file or directory$", "--svg", "/nowhere/at-all.svg",
                        subject.pid)
            run = subprocess.run(f"{MAPS} --json {subject.pid} >/dev/full", shell=True, capture_output=True, text=True,
                                 check=False)
            self.assertEqual((run.returncode, run.stderr), (1, "maps: cannot write: No space left on device\n"))
            run = subprocess.run(f"{MAPS} --all {subject.pid} | true", shell=True, capture_output=True, check=False)
            self.assertEqual(run.stderr, b"")

    def test_guide_that_lies(self):
        """What looks like brim's description of its memory can be anybody's bytes."""
        magic = b"brim\xc5guide\xd7\x0e\xa3\x91\x6b\x01"
        chance = random.Random(1)
        lies = [b"\xff" * 120, b"\0" * 120, struct.pack("=4Q22I", *[0x400000] * 4, *[64] * 22)]
        lies += [struct.pack("=4Q22I", *[chance.choice([0, 0x400000, 1 << 47]) for _ in range(4)],
                             *[chance.randrange(100) for _ in range(22)]) for _ in range(5)]
        program = "import mmap, sys; f = open(sys.argv[1], 'rb'); " \
                  "m = mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE); m[0]; print('ready', flush=True); sys.stdin.read()"
        for lie in lies:
            with tempfile.NamedTemporaryFile() as file:
                file.write(magic + lie + b"\0" * 5000)
                file.flush()
                command = ["/usr/bin/python3", "-c", program, file.name]
                with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                    process.stdout.readline()
                    text, _ = maps(process.pid)
                    process.stdin.close()
            self.assertRegex(text, r"(?m)^break region +")

    def test_many_ranges(self):
        with running(arguments=["20000"]) as subject:
            self.assertGreater(len(report(subject)["ranges"]), 20000)


if __name__ == "__main__":
    unittest.main(verbosity=2)
