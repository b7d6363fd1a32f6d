"""The shipped state machine, on several heaps."""

from __future__ import annotations

import itertools

from hypothesis.stateful import initialize

import gomem
from gomem.testing import HeapMachine


class OneP(HeapMachine):
    options = {"procs": 1}


class LittleMemory(HeapMachine):
    """So little that MemoryError is common and scavenging must make room."""

    options = {"procs": 2, "max_memory": 6 << 20}


class MemoryLimit(HeapMachine):
    """A soft limit below what is used: every growth gives something back first."""

    options = {"procs": 2, "memory_limit": 3 << 20}


class RefusedAtRandom(HeapMachine):
    """As when a thread of the heap's own takes the last memory, or not. What is drawn must not depend
    on it: Hypothesis would call the machine flaky."""

    refused = itertools.cycle([True, False, False, True, False])

    @initialize()
    def make_heap(self) -> None:
        super().make_heap()
        allocate = self.heap.alloc

        def alloc(size: int, **options: bool) -> gomem.Ref:
            if next(self.refused):
                raise MemoryError("refused by the test")
            return allocate(size, **options)

        self.heap.alloc = alloc


class LazyRelease(HeapMachine):
    """MADV_FREE: memory given back may come back with its old contents."""

    options = {"procs": 2, "madvdontneed": False}


class TCMallocClasses(HeapMachine):
    options = {"procs": 2, "size_classes": gomem.SizeClasses(gomem.SizeClassRules.tcmalloc())}
    max_size = 400_000


class SmallPages(HeapMachine):
    options = {
        "procs": 2,
        "size_classes": gomem.SizeClasses(gomem.SizeClassRules(page_size=4096)),
    }


class LargePages(HeapMachine):
    options = {
        "procs": 2,
        "size_classes": gomem.SizeClasses(gomem.SizeClassRules(page_size=65536)),
    }


TestHeap = HeapMachine.TestCase
TestOneP = OneP.TestCase
TestLittleMemory = LittleMemory.TestCase
TestMemoryLimit = MemoryLimit.TestCase
TestRefusedAtRandom = RefusedAtRandom.TestCase
TestLazyRelease = LazyRelease.TestCase
TestTCMallocClasses = TCMallocClasses.TestCase
TestSmallPages = SmallPages.TestCase
TestLargePages = LargePages.TestCase
