"""Pools: what they give back, what collections take from them, and what they allocate."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

import gomem

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "values" / "pools.json").read_text())


@pytest.fixture
def thing() -> gomem.Type:
    return gomem.struct("Thing", data="[128]int")


def test_allocations_are_gos(thing: gomem.Type) -> None:
    with gomem.Heap(procs=1, gogc="off") as heap:
        things = [heap.new(thing) for _ in GOLDEN["puts"]]
        for n, expected in enumerate(GOLDEN["puts"]):
            before = heap.stats()
            pool = gomem.Pool(heap=heap)
            for x in things[:n]:
                pool.put(x)
            after = heap.stats()
            assert after.mallocs - before.mallocs == expected["mallocs"], n
            assert after.total_alloc - before.total_alloc == expected["bytes"], n
            del pool


def test_victims(heap: gomem.Heap, thing: gomem.Type) -> None:
    ref = heap.new(thing)
    found = []
    for cycles in range(len(GOLDEN["found_after"])):
        pool = gomem.Pool(heap=heap)
        pool.put(ref)
        for _ in range(cycles):
            heap.gc()
        found.append(pool.get() is ref)
    assert found == GOLDEN["found_after"]


def test_victims_are_collected(heap: gomem.Heap, thing: gomem.Type) -> None:
    pool = gomem.Pool(heap=heap)
    for i in range(100):
        ref = heap.new(thing)
        ref.data[0] = i
        pool.put(ref)
    del ref
    objects = heap.stats().heap_objects
    heap.gc()
    assert heap.stats().heap_objects == objects  # victims
    assert 0 <= pool.get().data[0] < 100
    heap.gc()
    assert heap.stats().heap_objects <= 3  # the pool, and its array of victims
    assert pool.get() is None
    heap.verify()


def test_with_and_without(thing: gomem.Type) -> None:
    with gomem.Heap(procs=1, gogc="off") as heap:
        made = []

        def new() -> Any:
            made.append(1)
            return heap.new(thing)

        pool = gomem.Pool(new, heap=heap)

        def with_pool() -> None:
            x = pool.get()
            x.data[0] += 1
            pool.put(x)

        assert gomem.allocs_per_run(with_pool, heap=heap) == GOLDEN["with"]
        assert gomem.allocs_per_run(lambda: heap.new(thing), heap=heap) == GOLDEN["without"]
        assert len(made) == GOLDEN["made"]


def test_order(heap: gomem.Heap, thing: gomem.Type) -> None:
    pool = gomem.Pool(heap=heap)
    for i in range(len(GOLDEN["order"])):
        ref = heap.new(thing)
        ref.data[0] = i
        pool.put(ref)
    assert [pool.get().data[0] for _ in GOLDEN["order"]] == GOLDEN["order"]
    assert pool.get() is None


def test_what_can_be_put(heap: gomem.Heap) -> None:
    pool = gomem.Pool(heap=heap)
    b, sb, m = heap.buffer(), heap.builder(), heap.make_map("int", "int")
    b.write("buffer")
    sb.write("builder")
    m[1] = 2
    for value in (b, sb, m, heap.slice("int", [1, 2]), "text", 1000, 2.5, True):
        pool.put(value)
        heap.gc()
        got = pool.get()
        assert type(got) is (gomem.String if value == "text" else type(value))
        if isinstance(value, gomem.Buffer):
            assert got.address == b.address and got.string() == "buffer"
        elif isinstance(value, gomem.Builder):
            assert got.string() == "builder"
        elif isinstance(value, gomem.Map):
            assert got[1] == 2
        elif isinstance(value, gomem.Slice):
            assert list(got) == [1, 2]
        else:
            assert got == value
    pool.put(None)
    assert pool.get() is None
    other = gomem.Heap(procs=1)
    for wrong in (object(), b"bytes", [1], heap.alloc(8)):
        with pytest.raises(TypeError):
            pool.put(wrong)
    with pytest.raises(gomem.InvalidPointerError):
        pool.put(other.buffer())
    other.close()
    with pytest.raises(TypeError, match="new must be a function"):
        gomem.Pool(5, heap=heap)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        gomem.Pool(heap=5)  # type: ignore[arg-type]
    with pytest.raises(gomem.HeapClosedError):
        gomem.Pool(heap=other)


def test_the_other_ends_of_queues() -> None:
    """A thread on another P takes what this one has put, oldest first."""
    with gomem.Heap(procs=2, gogc="off") as heap:
        pool = gomem.Pool(heap=heap)
        for i in range(1000, 1050):
            pool.put(i)
        got = [pool.get() for _ in range(50)]
        assert sorted(got) == list(range(1000, 1050)) and pool.get() is None


def test_threads_and_collections() -> None:
    """Nothing is given to two, and nothing is lost but to collections."""
    with gomem.Heap(procs=3, gogc=20) as heap:
        pool = gomem.Pool(heap=heap)
        lock, out, twice = threading.Lock(), set(), []
        stop = threading.Event()
        thing = gomem.struct("Numbered", number="int", more="[20]int")

        def work(base: int) -> None:
            for i in range(1500):
                x = pool.get()
                if x is None:
                    x = heap.new(thing)
                    x.number = base + i
                with lock:
                    if x.number in out:
                        twice.append(x.number)
                    out.add(x.number)
                x.more[3] += 1
                with lock:
                    out.discard(x.number)
                pool.put(x)
                if i % 7 == 0:
                    pool.put(pool.get())

        threads = [threading.Thread(target=work, args=(10**6 * (i + 1),)) for i in range(4)]
        collector = threading.Thread(target=lambda: [heap.gc() for _ in iter(stop.is_set, True)])
        for t in (*threads, collector):
            t.start()
        for t in threads:
            t.join()
        stop.set()
        collector.join()
        assert not twice
        heap.verify()


def test_pools_die() -> None:
    heap = gomem.Heap(procs=1)
    cycle: list[Any] = []
    pool = gomem.Pool(cycle.pop, heap=heap)
    cycle.append(pool)
    pool.put(heap.buffer())
    gone = weakref.ref(pool)
    del pool, cycle
    gc.collect()
    assert gone() is None
    heap.gc()
    assert heap.stats().heap_objects == 0
    pool2 = gomem.Pool(heap=heap)
    heap.close()
    with pytest.raises(gomem.HeapClosedError):
        pool2.get()
    with pytest.raises(gomem.HeapClosedError):
        pool2.put(1)
    assert gomem.Pool(lambda: 7).get() == 7  # in the default heap
