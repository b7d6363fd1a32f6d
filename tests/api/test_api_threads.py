"""One heap, many Python threads: hammering it, closing it under them, waiting without deadlock."""

# ruff: noqa: B023  # threads end before their loop goes on
from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gomem
from gomem.testing import in_threads


@pytest.fixture(autouse=True)
def switch_often() -> Iterator[None]:
    """Threads take turns every 50 us, not every 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


def test_in_threads_tells_what_went_wrong() -> None:
    end = threading.Event()
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda: 1 // 0, lambda: None)
    with pytest.raises(AssertionError, match=r"1 of 2 threads hang after 0.05 s"):
        in_threads(end.wait, lambda: None, seconds=0.05)
    end.set()


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_hammering(procs: int) -> None:
    with gomem.Heap(procs=procs, max_memory="256MiB") as heap:
        shared: list[gomem.Ref] = []

        def work(seed: int) -> None:
            rng = random.Random(seed)
            mine: list[tuple[gomem.Ref, int]] = []
            for step in range(600):
                what = rng.randrange(12)
                if what < 5 or not mine:
                    ref = heap.alloc(rng.choice([1, 8, 15, 24, 100, 2000, 40_000]))
                    assert not any(ref.view())
                    ref.view()[:] = bytes([seed]) * ref.size
                    mine.append((ref, seed))
                elif what < 8:
                    ref, byte = mine.pop(rng.randrange(len(mine)))
                    assert bytes(ref.view()) == bytes([byte]) * ref.size
                    heap.free(ref if rng.random() < 0.5 else ref.address)
                elif what == 8:
                    roots = heap.alloc_many([rng.randrange(1, 3000) for _ in range(50)])
                    heap.free_many(roots if rng.random() < 0.5 else roots.addresses.copy())
                elif what == 9:
                    shared.append(mine.pop()[0])
                elif what == 10 and shared:
                    with contextlib.suppress(IndexError):
                        heap.free(shared.pop())
                elif step % 5 == 0:
                    rng.choice([heap.stats, heap.verify, heap.flush, heap.spans,
                                heap.release_os_memory, heap.fragmentation])()  # fmt: skip
                else:
                    assert heap.lookup(mine[-1][0].address).ref is mine[-1][0]
            for ref, byte in mine:
                assert bytes(ref.view()) == bytes([byte]) * ref.size
                heap.free(ref)

        in_threads(*[lambda i=i: work(i) for i in range(1, 5)])  # type: ignore[misc]
        for ref in shared:
            heap.free(ref)
        heap.flush()
        heap.verify()
        assert heap.stats().heap_objects == 0
        heap.gc()  # spans emptied while one is under way are given back at its end
        assert heap.stats().heap_inuse == 0


def test_one_object_is_freed_once() -> None:
    """Everybody frees everything: each object exactly once, and nobody else's."""
    with gomem.Heap(procs=2) as heap:
        for _ in range(20):
            roots = heap.alloc_many([64] * 200)
            refs = list(roots)
            addresses = roots.addresses.tolist()
            freed = [0] * 3

            def by_ref(i: int) -> None:
                for ref in refs:
                    try:
                        heap.free(ref)
                        freed[i] += 1
                    except gomem.InvalidPointerError:
                        pass

            def by_address(i: int) -> None:
                for address in addresses:
                    try:
                        heap.free_many([address])
                        freed[i] += 1
                    except gomem.InvalidPointerError:
                        pass

            in_threads(lambda: by_ref(0), lambda: by_ref(1), lambda: by_address(2))
            assert sum(freed) == 200 and roots.live == 0
            heap.verify()


def test_no_ref_of_what_is_being_freed() -> None:
    """A table handed out Refs of objects that another thread's free_many was just freeing, by
    address; they stayed valid."""
    with gomem.Heap(procs=2) as heap:
        for _ in range(6):
            roots = heap.alloc_many([64] * 50_000)
            addresses = roots.addresses.copy()
            got: list[gomem.Ref] = []

            def take() -> None:
                rng = random.Random(1)
                while roots.live:
                    with contextlib.suppress(gomem.InvalidPointerError):
                        got.append(roots[rng.randrange(50_000)])

            def look() -> None:
                for a in addresses[::-211].tolist():
                    ref = heap.lookup(a)
                    try:
                        if ref.kind == "object" and ref.ref is not None:
                            got.append(ref.ref)
                    except gomem.InvalidPointerError:
                        return

            in_threads(take, look, lambda: heap.free_many(addresses))
            assert all(ref.freed for ref in got)
            assert roots.live == 0
            heap.verify()


def test_a_new_table_keeps_addresses_that_were_just_freed() -> None:
    """They were struck from it, by the free_many that had freed them a moment ago."""
    with gomem.Heap(procs=2) as heap:
        for _ in range(20):
            before = heap.alloc_many([64] * 20_000)
            addresses = before.addresses.copy()
            made: list[gomem.Roots] = []
            in_threads(
                lambda: heap.free_many(addresses),
                lambda: made.extend(heap.alloc_many([64] * 5000) for _ in range(4)),
            )
            assert all(roots.addresses.all() and roots.live == 5000 for roots in made)
            for roots in made:
                heap.free_many(roots)
        assert heap.stats().heap_objects == 0


def test_inspection_during_alloc_many() -> None:
    """fragmentation() counted tables whose objects were not there yet, and read past its own."""
    with gomem.Heap(procs=2) as heap:
        done = threading.Event()

        def allocate() -> None:
            for _ in range(400):  # of a size for which malloc gives used memory again
                heap.free_many(heap.alloc_many(32, count=8000))
            done.set()

        def inspect() -> None:
            while not done.is_set():
                assert heap.fragmentation().rounding == 0

        in_threads(allocate, inspect)


@pytest.mark.parametrize("use", ["alloc_many", "free_many", "alloc", "free_addresses", "stats"])
def test_closing_in_the_middle(use: str) -> None:
    """Objects that alloc_many had got were freed after the heap was closed: in memory that was
    gone."""
    for attempt in range(25):
        heap = gomem.Heap(procs=2)
        sizes = np.full(200_000, 16 + 8 * (attempt % 5))
        roots = heap.alloc_many(sizes) if "free" in use else None
        addresses = roots.addresses.copy() if roots is not None else None
        started = threading.Event()
        ended: list[str] = []

        def work() -> None:
            started.set()
            try:
                while True:
                    if use == "alloc_many":
                        heap.alloc_many(sizes)
                    elif use == "free_many":
                        heap.free_many(roots)
                        return
                    elif use == "free_addresses":
                        heap.free_many(addresses)
                        return
                    elif use == "stats":
                        heap.stats(), heap.spans(), heap.verify(), heap.arenas()
                    else:
                        heap.free(heap.alloc(48))
            except gomem.HeapClosedError:
                ended.append("closed")

        def close() -> None:
            started.wait()
            time.sleep(0.0002 * attempt)
            heap.close()

        in_threads(work, close)
        assert heap.closed
        if "free" not in use:
            assert ended == ["closed"]


def test_closing_from_many_threads() -> None:
    for _ in range(20):
        heap = gomem.Heap(procs=2, memory_limit="8MiB")
        heap.alloc_many([1000] * 2000)
        in_threads(*[heap.close] * 4)
        assert heap.closed


def test_nobody_waits_for_the_gil_with_a_p(python: Any) -> None:
    """Out of memory, a thread with the GIL stops the world; one that had just got a P waited for
    the GIL with it."""
    out = python(
        """
        import sys, threading, gomem
        sys.setswitchinterval(1e-5)
        heap = gomem.Heap(procs=2, max_memory="8MiB")
        count = [0, 0, 0, 0]
        def work(i):
            for _ in range(150):
                refs = []
                try:
                    while True:
                        refs.append(heap.alloc(150_000))
                        heap.lookup(refs[-1].address)
                except MemoryError:
                    count[i] += 1
                heap.free_many(refs)
        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(4)]
        for t in threads: t.start()
        for t in threads: t.join()
        heap.verify()
        print(min(count))
        """,
        timeout=90,
    )
    assert int(out) == 150


def test_many_heaps_at_once() -> None:
    def work() -> None:
        for _ in range(15):
            with gomem.Heap(procs=2) as heap:
                heap.free_many(heap.alloc_many([100] * 500))
                heap.verify()

    in_threads(work, work, work)


def test_settings_from_threads() -> None:
    with gomem.Heap(procs=2) as heap:

        def work(seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(100):
                heap.gogc = rng.choice([None, 50, 100])
                heap.memory_limit = rng.choice([None, 1 << 20, 1 << 30])
                heap.free_many(heap.alloc_many([3000] * 50))
                heap.stats()

        in_threads(lambda: work(1), lambda: work(2), lambda: work(3))
        heap.verify()
