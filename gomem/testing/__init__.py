"""Hypothesis strategies and a state machine for testing what is built on a heap.

    from gomem.testing import HeapMachine, sizes

    TestHeap = HeapMachine.TestCase          # runs the machine as a unittest / pytest case

    @given(sizes())
    def test_something(size): ...

The machine allocates, frees in any order and from any thread, gives memory back to the system,
lets the system refuse it, and after every step verifies the heap and compares it with a model that
knows nothing but which objects there are and what was written into them. Subclass it to change the
heap it runs on (``options``) or to add rules.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import gomem

__all__ = ["HeapMachine", "advance_clock", "class_edges", "in_threads", "os_refuses", "sizes"]

_T = TypeVar("_T")


def class_edges(table: gomem.SizeClasses | None = None) -> list[int]:
    """Sizes in bytes at which something changes: one below, at and above each class, the limits of
    tiny objects and of small ones, and a page."""
    table = table or gomem.SizeClasses()
    around = [c.size for c in list(table)[1:]] + [16, table[-1].size - 8, table.page_size]
    return sorted({max(0, size + d) for size in around for d in (-1, 0, 1)})


def sizes(
    table: gomem.SizeClasses | None = None, *, max_size: int = 200_000, zero: bool = True
) -> st.SearchStrategy[int]:
    """Sizes in bytes of allocations, leaning towards the edges of classes and towards small ones."""
    edges = [s for s in class_edges(table) if s <= max_size and (zero or s > 0)]
    low = 0 if zero else 1
    return st.one_of(
        st.sampled_from(edges),
        st.integers(low, min(128, max_size)),
        st.integers(low, min(2048, max_size)),
        st.integers(low, max_size),
    )


@contextlib.contextmanager
def os_refuses(heap: gomem.Heap, first: int = 0, count: int = 1 << 62) -> Iterator[None]:
    """Makes the system refuse memory to a heap: the calls numbered from ``first`` (0 is the next one),
    ``count`` of them. They are mmap, madvise and the like; what they were for gets MemoryError, or
    does without."""
    heap._fail_os_calls(first, count)
    try:
        yield
    finally:
        if not heap.closed:
            heap._fail_os_calls(0, 0)


def advance_clock(heap: gomem.Heap, seconds: float) -> None:
    """Puts the clock of a heap's collector forward, by which it has a cycle every two minutes even if
    nothing is allocated. Raises ValueError for what is not from 0 to 10**9 seconds."""
    if not 0 <= seconds <= 10**9:
        raise ValueError(f"seconds must be from 0 to 10**9, not {seconds!r}")
    heap._advance_clock(int(seconds * 1e9))


def in_threads(*work: Callable[[], object], seconds: float = 60) -> None:
    """Runs functions in threads of their own, all at once, and waits for them; re-raises the first
    exception that one raised. Raises AssertionError if one has not ended after so many seconds: it is
    left behind."""
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f,), daemon=True) for f in work]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    if errors:
        raise errors[0]
    hanging = sum(thread.is_alive() for thread in threads)
    assert not hanging, f"{hanging} of {len(threads)} threads hang after {seconds} s"


@dataclass
class _Object:
    ref: gomem.Ref
    size: int
    pattern: int | None  # what its bytes are; None: zeros

    def check(self) -> None:
        assert self.ref.size == self.size
        with self.ref.view() as view:
            expected = bytes([self.pattern or 0]) * self.size
            assert bytes(view) == expected, f"{self.ref!r} was overwritten"


class HeapMachine(RuleBasedStateMachine):
    """A heap under random use; see the module. Settings are class variables."""

    options: ClassVar[dict[str, Any]] = {"procs": 2}
    """Keyword arguments of the :class:`gomem.Heap`."""
    max_size: ClassVar[int] = 200_000
    """Largest size of an object in bytes."""
    max_objects: ClassVar[int] = 300

    heap: gomem.Heap
    objects: list[_Object | None]
    """One entry for each object asked for; None where memory was refused. Whether it is may depend on
    what other threads do at that moment, and what Hypothesis draws from must be the same each time."""

    @initialize()
    def make_heap(self) -> None:
        self.heap = gomem.Heap(**self.options)
        self.objects = []

    def teardown(self) -> None:
        if not hasattr(self, "heap"):
            return
        for obj in self.live:
            obj.check()
            self.heap.free(obj.ref)
        self.objects.clear()
        self.heap.flush()
        self.heap.verify()
        stats = self.heap.stats()
        assert stats.heap_objects == 0, f"{stats.heap_objects} objects leaked"
        self.heap.gc()  # spans emptied while one is under way are given back at its end
        stats = self.heap.stats()
        assert stats.heap_inuse == 0, f"{stats.heap_inuse} bytes of spans leaked"
        self.heap.close()

    # --- What a subclass may want to reuse ---

    @property
    def live(self) -> list[_Object]:
        return [obj for obj in self.objects if obj is not None]

    def keep(self, ref: gomem.Ref | None, size: int) -> None:
        """Checks that a new object is zeroed and overlaps no other, and adds it to the model. None: the
        memory for it was refused."""
        if size == 0:
            return
        if ref is None:
            self.objects.append(None)
            return
        obj = _Object(ref, size, None)
        obj.check()
        start, end = ref.address, ref.address + size
        for other in self.live:
            address = other.ref.address
            assert end <= address or address + other.size <= start, f"{ref!r} overlaps {other!r}"
        self.objects.append(obj)

    @staticmethod
    def _try(allocate: Callable[[], _T]) -> _T | None:
        try:
            return allocate()
        except MemoryError:
            return None

    # --- Rules ---

    @precondition(lambda self: len(self.objects) < self.max_objects)
    @rule(data=st.data())
    def alloc(self, data: st.DataObject) -> None:
        size = data.draw(sizes(max_size=self.max_size), label="size")
        self.keep(self._try(lambda: self.heap.alloc(size)), size)

    @precondition(lambda self: len(self.objects) < self.max_objects)
    @rule(size=sizes(max_size=5000, zero=False))
    def alloc_scan(self, size: int) -> None:
        self.keep(self._try(lambda: self.heap.alloc(size, noscan=False)), size)

    @precondition(lambda self: len(self.objects) < self.max_objects)
    @rule(wanted=st.lists(sizes(max_size=3000, zero=False), max_size=40))
    def alloc_many(self, wanted: list[int]) -> None:
        roots = self._try(lambda: self.heap.alloc_many(wanted))
        assert roots is None or len(roots) == roots.live == len(wanted)
        for i, size in enumerate(wanted):
            self.keep(None if roots is None else roots[i], size)

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        obj = data.draw(st.sampled_from(self.objects), label="object")
        pattern = data.draw(st.integers(1, 255), label="pattern")
        if obj is None:
            return
        with obj.ref.view() as view:
            if view.readonly:
                return
            obj.pattern = pattern
            view[:] = bytes([obj.pattern]) * obj.size

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.objects) - 1), label="index")
        obj = self.objects.pop(index)
        by_address = data.draw(st.booleans(), label="by address")
        if obj is None:
            return
        obj.check()
        address = obj.ref.address
        self.heap.free(address if by_address else obj.ref)
        assert obj.ref.freed
        assert self.heap.lookup(address).kind != "object" or obj.size < 16

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def free_several(self, data: st.DataObject) -> None:
        n = data.draw(st.integers(1, len(self.objects)), label="how many")
        going = [obj for obj in self.objects[:n] if obj is not None]
        del self.objects[:n]
        for obj in going:
            obj.check()
        if data.draw(st.booleans(), label="as addresses"):
            self.heap.free_many([obj.ref.address for obj in going])
        else:
            self.heap.free_many([obj.ref for obj in going])
        assert all(obj.ref.freed for obj in going)

    @precondition(lambda self: self.objects)
    @rule(data=st.data())
    def free_wrongly(self, data: st.DataObject) -> None:
        """Addresses that are none change nothing."""
        obj = data.draw(st.sampled_from(self.objects), label="object")
        if obj is None:
            return
        address = obj.ref.address
        others = {o.ref.address for o in self.live}
        wrong = [a for a in (address + 1, address + obj.size - 1, address - 1) if a not in others]
        for bad in [*wrong, 8, 2**63, -1]:
            try:
                self.heap.free(bad)
            except gomem.InvalidPointerError:
                continue
            raise AssertionError(f"free({bad:#x}) beside {obj!r} was accepted")

    @rule(data=st.data(), nthreads=st.integers(2, 3))
    def from_threads(self, data: st.DataObject, nthreads: int) -> None:
        """Several threads allocate, and free what the others allocated before."""
        plan = [
            data.draw(st.lists(sizes(max_size=2000, zero=False), max_size=30), label="sizes")
            for _ in range(nthreads)
        ]
        made: list[list[gomem.Ref | None]] = [[] for _ in range(nthreads)]
        shares = [self.objects[i::nthreads] for i in range(nthreads)]
        self.objects = []

        def work(i: int) -> None:
            for k, size in enumerate(plan[i]):
                made[i].append(self._try(functools.partial(self.heap.alloc, size)))
                old = shares[i][k] if k < len(shares[i]) else None
                if old is not None:
                    self.heap.free(old.ref)

        in_threads(*[lambda i=i: work(i) for i in range(nthreads)])
        for i in range(nthreads):
            self.objects += shares[i][len(plan[i]) :]
        for refs, wanted in zip(made, plan):
            for ref, size in zip(refs, wanted):
                self.keep(ref, size)

    @rule(
        first=st.integers(0, 3), count=st.integers(1, 4), size=sizes(max_size=200_000, zero=False)
    )
    def alloc_refused(self, first: int, count: int, size: int) -> None:
        """The system refuses some calls while an object is allocated: it is there, or it is not."""
        with os_refuses(self.heap, first, count):
            ref = self._try(lambda: self.heap.alloc(size))
        self.keep(ref, size)

    @rule()
    def release_os_memory(self) -> None:
        self.heap.release_os_memory()
        stats = self.heap.stats()
        if stats.heap_idle != stats.heap_released:  # a collection has given spans back meanwhile
            self.heap.gc()
            self.heap.release_os_memory()
            stats = self.heap.stats()
        assert stats.heap_idle == stats.heap_released

    @rule()
    def flush(self) -> None:
        self.heap.flush()

    # --- Invariants ---

    @invariant()
    def heap_is_sound(self) -> None:
        if hasattr(self, "heap"):
            self.heap.verify()

    @invariant()
    def statistics_agree(self) -> None:
        if not hasattr(self, "heap"):
            return
        s = self.heap.stats()
        parts = (s.heap_sys, s.stack_sys, s.mspan_sys, s.mcache_sys, s.buck_hash_sys, s.gc_sys)
        assert s.sys == sum(parts) + s.other_sys
        assert s.heap_sys == s.heap_idle + s.heap_inuse
        assert s.heap_released <= s.heap_idle
        assert s.heap_objects == s.mallocs - s.frees
        # Tiny objects share blocks; all others are counted one by one.
        live = self.live
        tiny = sum(1 for o in live if o.size < 16)
        assert len(live) - tiny <= s.heap_objects <= len(live) + self.heap.procs
        assert s.heap_alloc >= sum(o.size for o in live)
