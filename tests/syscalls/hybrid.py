"""hybrid: by its system calls, that the allocator is what it says: small and medium blocks on the break, large
ones in mappings of their own that free unmaps and realloc remaps, and sizes that come and go back on the break.

Started with LOADS (the program of loads.c), BRIM_LIBRARY and BRIM_TEST_ALLOCATOR in the environment. With
BRIM_TEST_ALLOCATOR=glibc the same is asked of the libc's malloc, as the reference."""

import os
import unittest

from trace import read_trace, require_strace, run_traced

PAGE = os.sysconf("SC_PAGESIZE")
MIB = 1 << 20
ON_GLIBC = os.environ["BRIM_TEST_ALLOCATOR"] == "glibc"


def trace_of(load):
    preload = "" if ON_GLIBC else os.environ["BRIM_LIBRARY"]
    return read_trace(run_traced([os.environ["LOADS"], load], preload, "-e", "trace=%memory,write"))


def text_of(calls):
    last = [f"  {call}" for call in calls[-40:]]
    return "\n".join([f"{len(calls)} calls, the last of them:"] + last)


class Hybrid(unittest.TestCase):
    def expect_calls(self, trace, phase, *expected):
        """The memory calls of the phase are exactly these, by name."""
        calls = [call for call in trace.phases[phase] if call.name != "write"]
        names = [call.name for call in calls]
        self.assertEqual(names, list(expected), f"in phase '{phase}', {text_of(calls)}")
        return calls

    def expect_own_mapping(self, trace, block, size, alignment=0):
        mapping = trace.mapping_of(block)
        self.assertIsNotNone(mapping, f"{block.address:#x} lies in no mapping, {text_of(trace.calls)}")
        self.assertEqual(mapping.name, "mmap")
        length = int(mapping.arguments[1], 0)
        self.assertEqual(mapping.arguments[2], "PROT_READ|PROT_WRITE", str(mapping))
        self.assertEqual(set(mapping.arguments[3].split("|")), {"MAP_PRIVATE", "MAP_ANONYMOUS"}, str(mapping))
        self.assertEqual(length % PAGE, 0, str(mapping))
        self.assertGreaterEqual(mapping.result + length, block.address + size, str(mapping))
        self.assertLess(length, size + alignment + 2 * PAGE, str(mapping))
        return mapping

    def expect_on_break(self, trace, block):
        where = f"{block.address:#x} is not on the break, {text_of(trace.calls)}"
        self.assertTrue(trace.lies_on_break(block), where)

    def test_small_blocks_grow_the_break_and_map_nothing(self):
        trace = trace_of("small_blocks")
        calls = trace.phases["allocate"]
        self.assertFalse(trace.named("allocate", "mmap", "munmap", "mremap"), text_of(calls))
        breaks = [call.result for call in trace.named("allocate", "brk")]
        self.assertGreater(len(breaks), 1)
        self.assertEqual(breaks, sorted(breaks))
        # 100,000 blocks of 500 bytes on average: the break grew by these, and by little more.
        grown = max(trace.breaks()) - min(trace.breaks())
        self.assertGreaterEqual(grown, 50_000_000)
        self.assertLess(grown, 62_000_000)
        for block in trace.blocks:
            self.expect_on_break(trace, block)

    def test_131048_bytes_come_from_the_break(self):
        trace = trace_of("below_threshold")
        for block in trace.blocks:
            self.expect_on_break(trace, block)
        self.assertEqual(len(trace.blocks), 5)
        self.assertFalse(trace.named("free", "munmap"), text_of(trace.phases["free"]))
        self.expect_calls(trace, "again")

    def test_131049_bytes_are_mapped_unmapped_and_then_on_the_break(self):
        trace = trace_of("at_threshold")
        mapped, later = trace.blocks[-2:]
        if not ON_GLIBC:
            self.assertEqual(len(trace.blocks), 2, "the first request of the process was not mapped")
        mapping = self.expect_own_mapping(trace, mapped, 131049)
        self.assertIn(mapping, trace.phases["allocate"])
        (unmapped,) = self.expect_calls(trace, "free", "munmap")
        self.assertEqual(int(unmapped.arguments[0], 0), mapping.result)
        self.assertEqual(unmapped.arguments[1], mapping.arguments[1])
        self.expect_on_break(trace, later)

    def test_an_aligned_request_is_compared_with_its_alignment(self):
        trace = trace_of("aligned")
        self.expect_own_mapping(trace, trace.blocks[0], 128000, alignment=4096)

    def test_a_large_calloc_is_one_mapping(self):
        trace = trace_of("zeroed")
        self.expect_own_mapping(trace, trace.blocks[0], 64 * MIB)

    def test_realloc_of_a_mapping_is_one_mremap(self):
        trace = trace_of("resized")
        first, more, less = trace.blocks
        self.expect_own_mapping(trace, first, MIB - 2000)
        self.expect_calls(trace, "a little more")
        (growing,) = self.expect_calls(trace, "more", "mremap")
        self.assertIn("MREMAP_MAYMOVE", growing.arguments[3])
        self.assertTrue(growing.result <= more.address < growing.result + PAGE)
        (shrinking,) = self.expect_calls(trace, "less", "mremap")
        self.assertTrue(shrinking.result <= less.address < shrinking.result + PAGE)
        self.assertLess(int(shrinking.arguments[2], 0), 2 * MIB + PAGE)
        (unmapped,) = self.expect_calls(trace, "free", "munmap")
        self.assertEqual(int(unmapped.arguments[0], 0), shrinking.result)
        self.assertEqual(unmapped.arguments[1], shrinking.arguments[2])

    def test_a_size_that_comes_and_goes_makes_no_system_calls(self):
        trace = trace_of("churn")
        self.assertLessEqual(len(trace.phases["churn"]), 4, text_of(trace.phases["churn"]))

    def test_small_blocks_that_come_and_go_make_no_system_calls(self):
        self.expect_calls(trace_of("small_churn"), "churn")

    def test_the_break_is_lowered_when_its_top_is_free(self):
        trace = trace_of("released")
        at_most = max(trace.breaks())
        calls = trace.phases["free"]
        lowered = [call.result for call in trace.named("free", "brk")]
        self.assertTrue(lowered, text_of(calls))
        self.assertLess(lowered[-1], at_most - 20_000_000, text_of(calls))
        self.assertFalse(trace.named("free", "mmap", "munmap", "mremap"), text_of(calls))

    @unittest.skipIf(ON_GLIBC, "glibc gives its other threads heaps outside the break")
    def test_threads_allocate_on_the_break_too(self):
        trace = trace_of("threads")
        self.assertFalse(trace.named("allocate", "mmap", "mremap"), text_of(trace.phases["allocate"]))
        self.assertEqual(len(trace.blocks), 8)
        for block in trace.blocks:
            self.expect_on_break(trace, block)


if __name__ == "__main__":
    require_strace()
    unittest.main(verbosity=2)
