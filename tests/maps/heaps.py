"""heaps: scripts/maps tells the heaps of a process apart, and of each what brim_heap_stats tells."""

import tempfile
import unittest

from support import KIB, MIB, maps, report, running


class Heaps(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name
        subject = running("HEAPS", arguments=[self.folder])
        self.subject = subject.__enter__()
        self.addCleanup(subject.__exit__, None, None, None)
        self.document = report(self.subject)
        self.groups = {group["heap"]["start"]: group for group in self.document["groups"] if group["kind"] == "heap"}

    def test_every_heap_and_nothing_else(self):
        expected = sorted((kind, start, start + limit) for kind, told in self.subject.told.items()
                          for start, limit, *_ in told)
        self.assertEqual([kind for kind, _, _ in expected],
                         ["family", "file", "locked", "private", "private", "snapshot"])
        found = sorted((heap["kind"], heap["start"], heap["end"])
                       for heap in (group["heap"] for group in self.groups.values()))
        self.assertEqual(found, expected)
        for group in self.groups.values():
            self.assertEqual(group["figures"]["reserved"], group["heap"]["end"] - group["heap"]["start"])

    def test_figures_are_those_of_brim(self):
        for kind, told in self.subject.told.items():
            for start, _, resident, proportional, shared, swapped, locked in told:
                figures = self.groups[start]["figures"]
                with self.subTest(kind=kind):
                    self.assertEqual((figures["resident"], figures["shared"], figures["swapped"]),
                                     (resident, shared, swapped))
                    # Shared out where the kernel has joined a heap with its neighbour: to a page.
                    self.assertAlmostEqual(figures["proportional"], proportional, delta=8 * KIB)
                    self.assertAlmostEqual(figures["locked"], locked, delta=8 * KIB)

    def test_figures_are_right(self):
        """A quarter of each limit was filled; of the snapshot 2 MiB, the rest is not even mapped."""
        for group in self.groups.values():
            kind, figures = group["heap"]["kind"], group["figures"]
            with self.subTest(heap=group["title"]):
                filled = 2 * MIB if kind == "snapshot" else figures["reserved"] // 4
                if kind != "locked":  # what is locked is there in advance
                    self.assertTrue(filled <= figures["resident"] <= filled + MIB, figures)
                # All but the slice in which a locked heap keeps what it knows of itself.
                unlocked = figures["resident"] - figures["locked"]
                self.assertTrue(unlocked <= 64 * KIB if kind == "locked" else figures["locked"] == 0, figures)
                self.assertGreaterEqual(figures["private_dirty"], 0 if kind == "file" else filled)

    def test_files(self):
        paths = {group["heap"]["kind"]: group["heap"]["path"] for group in self.groups.values()}
        self.assertEqual(paths["file"], f"{self.folder}/shared.heap")
        self.assertEqual(paths["snapshot"], f"{self.folder}/copied.heap")
        self.assertIsNone(paths["family"])
        text, _ = maps(self.subject.pid)
        for start in (f"file heap {self.folder}/shared.heap ", f"snapshot of {self.folder}/copied.heap ",
                      "family heap at 0x", "locked heap at 0x", "private heap at 0x"):
            self.assertIn(f"\n{start}", text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
