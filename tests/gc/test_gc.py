"""The collector against a plain graph: what can be reached stays as it is, what cannot goes."""

from __future__ import annotations

import functools
import gc
import itertools
import random
import subprocess
import sys
import weakref
from dataclasses import replace
from typing import Any

import pytest
from graph_machine import NODE, GraphMachine
from hypothesis import settings

import gomem
from gomem.testing import in_threads, os_refuses

BIG = gomem.struct(
    "BigNode", a=gomem.pointer(NODE), pad=gomem.array("int64", 200), b=gomem.pointer(NODE)
)


@pytest.fixture
def node(heap: gomem.Heap) -> Any:
    return lambda: heap.new(NODE)


def objects(heap: gomem.Heap) -> int:
    return heap.stats().heap_objects


def test_what_nobody_holds_is_freed(heap: gomem.Heap) -> None:
    kept = [heap.alloc(100) for _ in range(10)]
    for _ in range(1000):
        heap.alloc(100)
    table = heap.alloc_many([24, 5000, 100_000] * 10)
    assert objects(heap) == 1010 + 30
    heap.gc()
    assert objects(heap) == 10 + 30
    del kept[:5]
    heap.gc()
    assert objects(heap) == 5 + 30
    del table
    heap.gc()
    assert objects(heap) == 5
    assert not any(ref.freed for ref in kept)
    cycles = heap.gc_cycles()
    assert list(cycles["number"]) == [1, 2, 3]
    assert all(cycles["forced"] == 1)
    stats = heap.stats()
    assert stats.num_gc == stats.num_forced_gc == 3
    assert stats.pause_total_ns > 0


def test_chains_cycles_and_views(heap: gomem.Heap) -> None:
    first = last = heap.new(NODE)
    for i in range(300):
        new = heap.new(NODE)
        new.number = i
        last.a = new
        last = new
    last.b = first
    del new, last
    gc.collect()
    heap.gc()
    assert objects(heap) == 301
    at, n = first.a, 0
    while at is not None:
        assert at.number == n
        at, n = at.a, n + 1
    assert n == 300
    view = heap.alloc(1000).view()
    view[:4] = b"view"
    heap.gc()
    assert bytes(view[:4]) == b"view"
    view.release()
    first.a = None
    heap.gc()
    assert objects(heap) == 1
    del first, at
    heap.gc()
    assert objects(heap) == 0


def test_pointers_in_all_kinds_of_objects(heap: gomem.Heap) -> None:
    """With a bitmap, with a header, large; the pointer in the last word."""
    holders = [heap.new(NODE), heap.new(BIG), heap.new(gomem.array(BIG, 90))]
    for i, holder in enumerate(holders):
        target = heap.new(NODE)
        target.number = i
        (holder[89] if i == 2 else holder).b = target
    del target, holder
    heap.gc()
    for i, holder in enumerate(holders):
        assert (holder[89] if i == 2 else holder).b.number == i
    assert objects(heap) == 6


def test_it_runs_by_itself() -> None:
    with gomem.Heap(procs=2, gogc=50) as heap:
        for _ in range(1500):
            heap.alloc_many([500] * 200)
        stats = heap.stats()
        assert stats.num_gc > 2
        assert stats.num_forced_gc == 0
        assert stats.heap_inuse < 20 << 20
    with gomem.Heap(procs=2, gogc="off") as heap:
        for _ in range(300):
            heap.alloc_many([500] * 200)
        assert heap.stats().num_gc == 0
        assert heap.stats().heap_objects == 60_000


def test_a_memory_limit_makes_it_run() -> None:
    with gomem.Heap(procs=1, gogc="off", memory_limit="24MiB") as heap:
        for _ in range(400):
            heap.alloc_many([1000] * 200)
        assert heap.stats().num_gc > 0
        assert heap.stats().extra["mapped_ready"] < 40 << 20


def test_sizes_of_all_kinds_are_swept(heap: gomem.Heap) -> None:
    sizes = [1, 5, 8, 15, 16, 24, 512, 513, 1024, 8192, 32_760, 32_768, 40_000, 1 << 20]
    for noscan in (True, False):
        for size in sizes:
            for _ in range(20):
                heap.alloc(size, noscan=noscan)
    heap.gc()
    heap.flush()
    heap.verify()
    assert objects(heap) == 0
    assert heap.stats().heap_inuse == 0


def test_lookups_of_garbage(heap: gomem.Heap) -> None:
    """An object that is found by its address before it is swept is found; afterwards it is not."""
    address = heap.alloc(100).address
    heap.gc()
    assert heap.lookup(address).kind != "object"
    with pytest.raises(gomem.InvalidPointerError):
        heap.free(address)
    address = heap.alloc(100).address
    ref = heap.lookup(address).ref
    heap.gc()
    assert ref is not None
    assert not ref.freed
    assert heap.lookup(address).ref is ref


def test_a_closed_heap() -> None:
    heap = gomem.Heap()
    heap.close()
    with pytest.raises(gomem.HeapClosedError):
        heap.gc()
    with pytest.raises(gomem.HeapClosedError):
        heap.gc_cycles()


def test_collections_in_threads() -> None:
    with gomem.Heap(procs=3, gogc=20) as heap:

        def work(seed: int) -> None:
            top = heap.new(NODE)
            for i in range(400):
                at = heap.new(NODE)
                at.number = i
                at.a = top.a
                top.a = at
                heap.alloc_many([64] * 300)
                if i % 40 == seed:
                    heap.gc()
            n, at = 399, top.a
            while at is not None:
                assert at.number == n
                n, at = n - 1, at.a
            assert n == -1

        in_threads(*[functools.partial(work, i) for i in range(3)], seconds=120)
        heap.verify()


def test_weak_references_of_refs_do_not_keep_objects(heap: gomem.Heap) -> None:
    ref = heap.alloc(100)
    weak = weakref.ref(ref)
    del ref
    assert weak() is None
    heap.gc()
    assert objects(heap) == 0


TestGraph = GraphMachine.TestCase
TestGraph.settings = settings(max_examples=40, stateful_step_count=60)


def test_a_cycle_for_which_the_system_has_no_memory() -> None:
    """Grey objects that no buffer can hold are found again by looking through the heap."""
    with gomem.Heap(procs=1, gogc="off") as heap:
        top = heap.new(gomem.array(gomem.pointer(NODE), 20_000))
        for i in range(20_000):
            node = heap.new(NODE)
            node.number = i
            node.a = heap.new(NODE)
            node.a.number = -i
            top[i] = node
        del node
        heap.alloc_many([48] * 5000)
        with os_refuses(heap):
            heap.gc()
        assert objects(heap) == 40_001
        heap.verify()
        for i in range(0, 20_000, 97):
            assert top[i].number == i
            assert top[i].a.number == -i


def test_two_threads_free_one_table() -> None:
    """The second found its objects gone, or freed those of others."""
    with gomem.Heap(procs=2, gogc="off") as heap:
        for _ in range(30):
            roots = heap.alloc_many([64] * 5000)
            in_threads(*[functools.partial(heap.free_many, roots)] * 3)
            assert not roots.addresses.any()
        assert objects(heap) == 0


def test_garbage_makes_room_under_max_memory() -> None:
    with gomem.Heap(procs=1, max_memory="64MiB") as heap:
        for _ in range(20):
            heap.alloc(20 << 20)
        assert heap.stats().num_gc > 0


def test_settings_while_it_closes() -> None:
    for _ in range(20):
        heap = gomem.Heap(procs=2)

        def change(heap: gomem.Heap = heap) -> None:
            try:
                for i in range(100_000):
                    heap.gogc = 50 + i % 100
            except gomem.HeapClosedError:
                pass

        def close(heap: gomem.Heap = heap) -> None:
            heap.gc()
            heap.close()

        in_threads(change, close)


# --- Marking by span ---


def test_which_marker_a_heap_has() -> None:
    other = gomem.SizeClasses(replace(gomem.SizeClassRules.go(), page_size=4096))
    for marker in ("span", "object"):
        with gomem.Heap(procs=1, marker=marker) as heap:
            assert heap.marker == marker
        with gomem.Heap(procs=1, marker=marker, size_classes=other) as heap:
            assert heap.marker == "object"
            kept = [heap.new(NODE) for _ in range(100)]
            heap.gc()
            assert objects(heap) == 100
            del kept
    with pytest.raises(gomem.HeapClosedError):
        _ = heap.marker


def test_the_default_is_to_mark_by_span() -> None:
    """In a process of its own: here tests choose."""
    code = "import gomem; print(gomem.Heap(procs=1).marker)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "span\n"


@pytest.mark.parametrize("size", [16, 24, 32, 48, 64, 80, 144, 208, 256, 480, 512])
def test_every_class_in_every_order(size: int) -> None:
    """Chains through all slots of some spans: up, down, and in a random order with gaps."""
    with gomem.Heap(procs=1, gogc="off") as heap:
        words = size // 8
        link = gomem.struct(f"Link{size}", n="int64", pad=gomem.array("int64", words - 2),
                            next="*" + f"Link{size}")  # fmt: skip
        rng = random.Random(size)
        for order in ("up", "down", "random"):
            refs = [heap.new(link) for _ in range(1200)]
            chain = list(range(1200))
            if order == "random":
                rng.shuffle(chain)
                chain = chain[:700]
            elif order == "down":
                chain.reverse()
            for at, to in itertools.pairwise(chain):
                refs[at].n = at
                refs[at].next = refs[to]
            first, last = refs[chain[0]], chain[-1]
            refs[last].n = last
            del refs
            heap.gc()
            heap.gc()
            assert objects(heap) == len(chain)
            at = first
            for number in chain:
                assert at.n == number
                at = at.next
            assert at is None
            del first, at
        # Many at once: an array leads to most of them, and each to another.
        table = heap.new(gomem.array(gomem.pointer(link), 1500))
        for i in range(1500):
            if i % 9:
                ref = heap.new(link)
                ref.n = i
                ref.next = heap.new(link)
                ref.next.n = -i
                table[i] = ref
            else:
                heap.new(link)
        del ref
        heap.gc()
        heap.gc()
        assert objects(heap) == 1 + 2 * sum(i % 9 > 0 for i in range(1500))
        assert all(table[i].next.n == -table[i].n == -i for i in range(1500) if i % 9)
        del table
        heap.gc()
        assert objects(heap) == 0


def test_multi_page_spans_of_small_objects() -> None:
    """A table of one's own may put small objects into spans of several pages."""
    sizes = gomem.SizeClasses(classes=[(16, 2), (64, 3), (512, 4), (8192, 1)])
    with gomem.Heap(procs=1, gogc="off", size_classes=sizes) as heap:
        kept = [heap.new(NODE) for _ in range(2000)]
        for i, ref in enumerate(kept):
            ref.number = i
            ref.a = kept[i * 7 % 2000]
        heap.alloc_many([64] * 1000, noscan=False)
        heap.gc()
        assert objects(heap) == 2000
        assert [ref.number for ref in kept] == list(range(2000))
        assert all(ref.a.number == i * 7 % 2000 for i, ref in enumerate(kept))
