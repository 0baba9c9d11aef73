"""figures: scripts/maps tells of every mapping of a known process what it is and how much of it is there."""

import os
import re
import unittest

from support import KIB, MIB, group, maps, range_at, report, running

PAGE = os.sysconf("SC_PAGESIZE")


def rollup(pid):
    """The kernel's own sums, in bytes."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return {name: int(kib) * KIB for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", file.read(), re.MULTILINE)}


class Figures(unittest.TestCase):
    program, library = "SUBJECT", ""

    def setUp(self):
        holder = running(self.program, self.library)
        self.subject = holder.__enter__()
        self.addCleanup(holder.__exit__, None, None, None)
        self.document = report(self.subject)

    def expect(self, name, kind, size, **figures):
        """The mapping of that name has this kind and these figures; what is not mentioned is 0."""
        start = self.subject.told[name][0][0]
        one = range_at(self.document, start)
        self.assertEqual((one["start"], one["end"] - one["start"], one["kind"]), (start, size, kind))
        nothing = dict.fromkeys(one["figures"], 0)
        self.assertEqual(one["figures"], nothing | {"reserved": size} | figures, name)

    def test_anonymous(self):
        # Shared with the child since the fork, and so not counted as private; half of it is ours.
        self.expect("anonymous", "anonymous", 8 * MIB, resident=3 * MIB, proportional=3 * MIB // 2, shared=3 * MIB)

    def test_shared_with_a_child(self):
        self.expect("shared", "shared", 4 * MIB, resident=MIB, proportional=768 * KIB, shared=512 * KIB,
                    private_dirty=512 * KIB)

    def test_locked(self):
        if "not-locked" in self.subject.told:
            self.skipTest("RLIMIT_MEMLOCK is too low")
        figures = range_at(self.document, self.subject.told["locked"][0][0])["figures"]
        self.assertEqual((figures["reserved"], figures["resident"]), (64 * KIB, 64 * KIB))
        # The kernel counts our share of locked pages; those of private memory are the child's, too.
        self.assertEqual(figures["locked"], figures["proportional"])
        self.assertGreaterEqual(figures["locked"], 32 * KIB)

    def test_files(self):
        # What both processes have of the file is clean or dirty as the kernel's writing back has it; not asked.
        for name, touched in (("file", 512 * KIB), ("copy", 256 * KIB)):
            one = range_at(self.document, self.subject.told[name][0][0])
            self.assertEqual((one["kind"], one["figures"]["reserved"], one["figures"]["resident"]),
                             ("file", MIB, touched), name)

    def test_stack_of_a_thread(self):
        one = range_at(self.document, self.subject.told["thread"][0][0])
        self.assertEqual(one["kind"], "stack")
        guard = range_at(self.document, one["start"] - 1)
        self.assertEqual((guard["kind"], guard["permissions"][:3]), ("stack", "---"))

    def test_small_blocks_are_on_the_break(self):
        blocks = self.subject.told["small"]
        kinds = {range_at(self.document, start)["kind"] for start, _ in blocks}
        self.assertEqual(kinds, {"break"})
        self.assertGreaterEqual(group(self.document, "break")["figures"]["resident"], sum(size for _, size in blocks))

    def test_nothing_is_lost_or_counted_twice(self):
        ranges = self.document["ranges"]
        for before, after in zip(ranges, ranges[1:]):
            self.assertLessEqual(before["end"], after["start"])
        kernels, total = rollup(self.subject.pid), self.document["total"]
        self.assertEqual(total["resident"], kernels["Rss"])
        self.assertEqual(total["private_dirty"], kernels["Private_Dirty"])
        self.assertEqual(total["swapped"], kernels["Swap"])
        # Whether a page of a file is shared, and by how many, changes with every process that starts and ends, such as
        # scripts/maps itself between the two readings; the proportional figure is rounded down in every range, besides.
        others = sum(one["figures"]["resident"] - one["figures"]["private_dirty"]
                     for one in ranges if one["kind"] == "file")
        shared = kernels["Shared_Clean"] + kernels["Shared_Dirty"]
        self.assertLessEqual(abs(total["shared"] - shared), others)
        self.assertLessEqual(abs(total["proportional"] - kernels["Pss"]), others + len(ranges) * KIB)
        for name, figure in total.items():
            self.assertEqual(figure, sum(one["figures"][name] for one in ranges), name)
            self.assertEqual(figure, sum(one["figures"][name] for one in self.document["groups"]), name)

    def test_table(self):
        text, _ = maps(self.subject.pid)
        self.assertRegex(text, r"(?m)^break region +\S+ [KM]iB")
        self.assertRegex(text, r"(?m)^all +")
        line = next(line for line in maps("--all", self.subject.pid)[0].splitlines()
                    if line.startswith(f"{self.subject.told['anonymous'][0][0]:012x}-"))
        self.assertRegex(line, r" 8 MiB +3 MiB +1\.5 MiB +3 MiB +- +- +-$")

    def test_large_blocks(self):
        for start, _ in self.subject.told["large"]:
            self.assertEqual(range_at(self.document, start)["kind"], "anonymous")
        self.assertIsNone(group(self.document, "mapping"))
        self.assertIsNone(group(self.document, "brim"))


class OnBrim(Figures):
    library = os.environ["BRIM_LIBRARY"]

    def test_large_blocks(self):
        """Each by itself, though the kernel has joined them; and what brim keeps about it all."""
        for start, size in self.subject.told["large"]:
            one = range_at(self.document, start)
            self.assertEqual(one["kind"], "mapping")
            self.assertEqual(one["end"] - one["start"], -(-(size + start - one["start"]) // PAGE) * PAGE)
            self.assertEqual(one["figures"]["resident"], one["figures"]["reserved"])
        large = group(self.document, "mapping")
        self.assertEqual(large["ranges"], 2)
        tables = group(self.document, "brim")["figures"]
        self.assertGreater(tables["reserved"], 32 * MIB)
        self.assertLess(tables["resident"], MIB)
        self.assertGreater(tables["resident"], 0)


class OnStaticBrim(OnBrim):
    program, library = "STATIC_SUBJECT", ""


if __name__ == "__main__":
    unittest.main(verbosity=2)
