"""Memory runs out inside a cycle: who allocates gets MemoryError, the cycle is finished as any other.

What a cycle needs memory for are buffers of grey objects and of spans; what programs need meanwhile are
objects, specials with their bitmaps, weak pointers and roots. The system refuses every call in turn (and
all that follow it); afterwards what can be reached is there, and the next cycle frees the rest.
"""

from __future__ import annotations

import functools
import itertools
import random
import subprocess
import sys
import time
from typing import Any

import pytest

import gomem
from gomem.testing import in_threads, os_refuses

ALL = 1 << 62
CALLS_AT_MOST = 400
NODE = gomem.struct("ShortNode", a="*ShortNode", b="*ShortNode", number="int64")
TABLE = gomem.array(gomem.pointer(NODE), 40_000)
WIDE = gomem.array(gomem.pointer(NODE), 200)  # larger than what is marked by span
FAULTS = pytest.mark.parametrize("count", [1, ALL], ids=["one", "all from there on"])
WORKERS = pytest.mark.parametrize("workers", [1, 3])


class Graph:
    """Lists in a large table, each element with an object of its own; and garbage of all kinds."""

    def __init__(self, heap: gomem.Heap, seed: int = 0, lists: int = 4000, length: int = 3) -> None:
        self.rng = random.Random(seed)
        self.heap, self.length = heap, length
        self.table = heap.new(TABLE)
        self.wide = heap.new(WIDE)
        self.where = self.rng.sample(range(TABLE.length), lists)
        nodes = [heap.new(NODE) for _ in range(2 * lists * length)]
        self.rng.shuffle(nodes)
        for n, at in enumerate(self.where):
            for _ in range(length):
                node, other = nodes.pop(), nodes.pop()
                node.number, other.number = at, -at
                node.a, node.b = self.table[at], other
                self.table[at] = node
            if n < WIDE.length:
                self.wide[n] = self.table[at]
        self.objects = 2 + 2 * lists * length

    def litter(self) -> None:
        self.heap.alloc_many([3, 48, 600, 9000, 70_000] * 60)
        self.heap.alloc_many([16, 48, 600, 9000, 70_000] * 60, noscan=False)
        for _ in range(300):
            garbage = self.heap.new(NODE)
            garbage.a = self.table[self.where[0]]

    def check(self, every: int = 7) -> None:
        for at in self.where[::every]:
            node = self.table[at]
            for _ in range(self.length):
                assert (node.number, node.b.number) == (at, -at)
                node = node.a
            assert node is None
        assert self.wide[0].number == self.where[0]


def objects(heap: gomem.Heap) -> int:
    return heap.stats().heap_objects


# --- Markers without buffers ---


@FAULTS
@WORKERS
@pytest.mark.parametrize("used", [False, True], ids=["first cycle", "later cycle"])
def test_every_call_of_a_cycle(workers: int, count: int, used: bool) -> None:
    refused = 0
    for k in range(CALLS_AT_MOST):
        with gomem.Heap(procs=2, gogc="off", gc_workers=workers) as heap:
            graph = Graph(heap)
            if used:
                heap.gc()
            graph.litter()
            with os_refuses(heap, k, count):
                heap.gc()
                heap.verify()
                calls = heap._fail_os_calls(0, 0)
            assert objects(heap) == graph.objects
            graph.check()
            graph.litter()
            heap.gc()
            heap.verify()
            assert objects(heap) == graph.objects
        if calls <= k:
            break
        refused += 1
    assert refused > 0 or used


@pytest.mark.parametrize("order", ["up", "down", "random"])
def test_a_long_list_without_buffers(order: str) -> None:
    """To look for lost objects through the whole heap takes one look for many of them."""
    took = []
    for refuse in (False, True):
        with gomem.Heap(procs=1, gogc="off") as heap:
            nodes = [heap.new(NODE) for _ in range(30_000)]
            nodes.sort(key=lambda node: node.address, reverse=order == "down")
            if order == "random":
                random.Random(3).shuffle(nodes)
            for node, follows in itertools.pairwise(nodes):
                node.a = follows
            top = nodes[0]
            del nodes, node, follows
            with os_refuses(heap, 0, ALL if refuse else 0):
                began = time.perf_counter()
                heap.gc()
                took.append(time.perf_counter() - began)
            assert objects(heap) == 30_000
            del top
            heap.gc()
            assert objects(heap) == 0
    assert took[1] < 50 * took[0] + 1


@FAULTS
def test_who_allocates_while_it_marks(count: int) -> None:
    """Assists need buffers, too, and large objects memory that is not there."""
    for k in range(0, 20, 4):
        with gomem.Heap(procs=3, gogc=20, gc_workers=2) as heap:
            graph = Graph(heap, lists=1000)
            kept: list[list[gomem.Ref]] = [[], []]
            refused = [0, 0]

            def work(
                n: int, heap: gomem.Heap = heap, kept: Any = kept, refused: Any = refused
            ) -> None:
                for i in range(300):
                    try:
                        node = heap.new(NODE)
                        node.number = n * 10_000 + i
                        node.a = kept[n][-1] if kept[n] else None
                        heap.alloc_many([200_000, 500, 24] * 2, noscan=False)
                    except MemoryError as error:
                        assert "cannot allocate" in str(error)
                        refused[n] += 1
                        continue
                    kept[n].append(node)

            with os_refuses(heap, k, count):
                in_threads(functools.partial(work, 0), functools.partial(work, 1), heap.gc)
                heap.verify()
            graph.check()
            for n in range(2):
                assert len(kept[n]) + refused[n] == 300
                for node in kept[n]:
                    assert node.number // 10_000 == n
                    assert node.a is None or node.a.number < node.number
            heap.gc()
            heap.verify()
            # A node that was made before its thread's other objects were refused is garbage.
            assert objects(heap) == graph.objects + sum(map(len, kept))


# --- Step by step ---


@FAULTS
def test_refused_from_every_phase_on(count: int) -> None:
    """In each phase who allocates gets MemoryError or memory; the cycle goes on without."""
    for phase in ("sweep termination", "mark", "mark termination", "sweep"):
        with gomem.Heap(procs=1, gogc="off") as heap:
            graph = Graph(heap, lists=12_000, length=1)
            graph.litter()
            with heap.step_gc() as cycle:
                while cycle.phase != phase:
                    cycle.next_phase()
                with os_refuses(heap, 0, count):
                    for i in range(20):
                        cycle.step()
                        if count == ALL:
                            with pytest.raises(MemoryError, match="cannot allocate"):
                                heap.alloc(80 << 20)
                        # What is cut off and put elsewhere is found there.
                        to, other = graph.where[2 * i : 2 * i + 2]
                        graph.table[to], graph.table[other] = graph.table[other], graph.table[to]
                        graph.where[2 * i : 2 * i + 2] = other, to
                        heap.verify()
                    for i in range(20):
                        to, other = graph.where[2 * i : 2 * i + 2]
                        graph.table[to], graph.table[other] = graph.table[other], graph.table[to]
                        graph.where[2 * i : 2 * i + 2] = other, to
                    cycle.finish()
                heap.verify()
            graph.check(1)
            heap.gc()
            assert objects(heap) == graph.objects


def test_refused_at_every_step() -> None:
    """A small graph: memory goes at one step, and comes back some steps later."""
    for k in range(60):
        with gomem.Heap(procs=1, gogc="off") as heap:
            top = at = heap.new(NODE)
            for i in range(12):
                at.a, at.b = heap.new(NODE), heap.new(NODE)
                at.number, at.b.number = i, -i
                at = at.a
            del at
            lost = heap.new(gomem.array(gomem.pointer(NODE), 40_000))
            lost[39_999] = heap.new(NODE)
            last: gomem.Ref | None = heap.new(NODE)
            with heap.step_gc() as cycle:
                for n, _ in enumerate(cycle):
                    if n == k:
                        heap._fail_os_calls(0, ALL)
                    if n == k + 5:
                        heap._fail_os_calls(0, 0)
                    if n == k + 2:
                        lost[0], top.b.a = last, lost[39_999]
                        last = None
                    heap.verify()
                heap._fail_os_calls(0, 0)
            heap.verify()
            heap.gc()
            assert objects(heap) == 25 + 3
            node, numbers = top, []
            while node is not None:
                numbers.append(node.number)
                node = node.a
            assert numbers == [*range(12), 0]
        if n < k:
            return
    raise AssertionError("a cycle of more than 60 steps")


# --- A limit ---


@WORKERS
def test_max_memory_from_threads(workers: int) -> None:
    """The heap is full again and again; what is kept stays as it was written."""
    with gomem.Heap(procs=3, gogc=50, max_memory="24MiB", gc_workers=workers) as heap:
        refused = [0] * 3

        def work(n: int) -> None:
            rng = random.Random(n)
            kept: list[gomem.Ref] = []
            for i in range(1500):
                size = rng.choice([100, 3000, 40_000, 900_000])
                try:
                    ref = heap.alloc(size)
                    node = heap.new(NODE)
                except MemoryError:
                    refused[n] += 1
                    del kept[: len(kept) // 2 + 1]
                    continue
                ref.view()[:8] = i.to_bytes(8, "little")
                node.number = i
                kept += [ref, node]
                ref, node = kept[-2 * rng.randint(1, len(kept) // 2) :][:2]
                assert int.from_bytes(ref.view()[:8], "little") == node.number
                del ref, node

        in_threads(*[functools.partial(work, n) for n in range(3)], seconds=120)
        assert all(refused), refused
        assert heap.stats().extra["mapped_ready"] <= 24 << 20
        assert heap.stats().num_gc > 3
        heap.verify()
        heap.gc()
        assert objects(heap) == 0
        heap.free(heap.alloc(8 << 20))


# --- Specials ---


def note(called: list[int], number: int, ref: gomem.Ref) -> None:
    assert not ref.freed
    called.append(number)


def note_number(called: list[int], ref: gomem.Ref) -> None:
    called.append(ref.number + 2 * ref.a.number)


@FAULTS
def test_every_call_of_what_is_attached(count: int) -> None:
    """The bitmap of an arena, chunks of specials and of weak pointers: what is refused is not there, and
    what is attached is called."""
    failures = 0
    for k in range(CALLS_AT_MOST):
        with gomem.Heap(procs=1, gogc="off", finalizer_thread=False) as heap:
            refs = [heap.new(NODE) for _ in range(5000)]
            called: list[int] = []
            expected: list[int] = []
            weak: list[tuple[gomem.Weak, gomem.Ref]] = []
            refused = 0
            with os_refuses(heap, k, count):
                for i, ref in enumerate(refs):
                    try:
                        if i % 2:
                            gomem.set_finalizer(ref, functools.partial(note, called, i))
                        else:
                            gomem.add_cleanup(ref, called.append, i)
                        expected.append(i)
                        weak.append((gomem.Weak(ref), ref))
                    except MemoryError as error:
                        assert "out of memory for a" in str(error)
                        refused += 1
                heap.verify()
                calls = heap._fail_os_calls(0, 0)
            assert refused or calls <= k
            failures += refused > 0
            assert all(w.value() is ref for w, ref in weak)
            weak = weak[:1]
            refs.clear()
            del ref
            with os_refuses(heap):
                heap.gc()
                assert heap.run_finalizers() == len(expected) - 1
                heap.gc()
                heap.verify()
            assert objects(heap) == 1
            weak.clear()
            heap.gc()
            heap.run_finalizers()
            heap.gc()
            assert sorted(called) == expected
            assert objects(heap) == 0
        if calls <= k:
            break
    assert failures >= 3


@WORKERS
def test_objects_die_without_memory(workers: int) -> None:
    """Queues of finalizers and cleanups need none: all that were attached are called."""
    with gomem.Heap(procs=1, gogc="off", gc_workers=workers, finalizer_thread=False) as heap:
        for round in range(3):
            called: list[int] = []
            weak = []
            for i in range(3000):
                ref = heap.new(NODE)
                ref.number = i
                ref.a = heap.new(NODE)
                ref.a.number = -i
                weak.append(gomem.Weak(ref))
                if i % 2:
                    gomem.set_finalizer(ref, functools.partial(note_number, called))
                else:
                    gomem.add_cleanup(ref, called.append, i)
            del ref
            assert objects(heap) == 6000
            with os_refuses(heap):
                heap.gc()
                heap.verify()
                assert all(w.value() is None for w in weak)
                assert objects(heap) == 3000  # what finalizers are to get
                assert heap.run_finalizers() == 3000
                heap.gc()
            assert sorted(called) == sorted(i if i % 2 == 0 else -i for i in range(3000)), round
            heap.verify()
            assert objects(heap) == 0


def test_a_finalizer_that_gets_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[type[BaseException] | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: caught.append(args.exc_type))
    with gomem.Heap(procs=1, gogc="off", finalizer_thread=False) as heap:
        for _ in range(5):
            gomem.set_finalizer(heap.new(NODE), lambda _: heap.alloc(80 << 20))
            gomem.add_cleanup(heap.new(NODE), heap.alloc, 80 << 20)
        with os_refuses(heap):
            heap.gc()
            assert heap.run_finalizers() == 10
        assert caught == [MemoryError] * 10
        heap.gc()
        heap.verify()
        assert objects(heap) == 0


# --- Threads ---


@pytest.mark.core_alone
def test_no_thread_for_the_collector() -> None:
    """With no memory for the collector's thread gc() says so, allocation goes on, and later it works."""
    code = """
import resource, gomem
heap = gomem.Heap(procs=2, gogc=100)
heap.alloc_many([100] * 10_000)
with open("/proc/self/statm") as f:
    now = int(f.read().split()[0]) * resource.getpagesize()
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 20), hard))
try:
    heap.gc()
except MemoryError as error:
    print("refused:", error)
for _ in range(200):
    heap.alloc_many([5000] * 2)
heap.verify()
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
heap.gc()
heap.verify()
print(heap.stats().num_gc > 0, heap.stats().heap_objects)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    refused, end = done.stdout.splitlines()
    assert refused.startswith("refused: ") and "thread" in refused
    assert end == "True 0"
