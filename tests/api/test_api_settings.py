"""Heap's arguments, gogc, memory_limit, max_memory, and a closed heap."""

from __future__ import annotations

import gc
import time
import weakref
from typing import Any

import numpy as np
import pytest

import gomem
from gomem import testing

NONSENSE = [
    ({"procs": 0}, ValueError, "procs must be from 1 to 1024, not 0"),
    ({"procs": -1}, ValueError, "procs must be from 1 to 1024, not -1"),
    ({"procs": 1025}, ValueError, "procs must be from 1 to 1024, not 1025"),
    ({"procs": 10**5000}, ValueError, "procs must be from 1 to 1024, not an integer of"),
    ({"procs": 1.0}, TypeError, "procs must be an integer, not float"),
    ({"procs": "2"}, TypeError, "procs must be an integer, not '2'"),
    ({"gogc": "50"}, TypeError, "gogc must be an integer or 'off', not '50'"),
    ({"gogc": 1.5}, TypeError, "gogc must be an integer or 'off', not float"),
    ({"gogc": np.zeros(3)}, TypeError, "integer"),
    (
        {"gogc": 2**31},
        ValueError,
        "gogc must be at most 2\\*\\*31 - 1 per cent, or 'off', not 2147483648",
    ),
    ({"gogc": 10**5000}, ValueError, "not an integer of"),
    ({"memory_limit": -1}, ValueError, "memory_limit must not be negative: -1"),
    ({"memory_limit": "-1"}, ValueError, "memory_limit must be a number of bytes like"),
    ({"memory_limit": "64MB"}, ValueError, "'64MiB' or 'off', not '64MB'"),
    ({"memory_limit": "64 MiB"}, ValueError, "not '64 MiB'"),
    ({"memory_limit": ""}, ValueError, "not ''"),
    ({"memory_limit": "1.5GiB"}, ValueError, "not '1.5GiB'"),
    ({"memory_limit": 1.5}, TypeError, "memory_limit must be an integer or a string, not float"),
    ({"memory_limit": np.zeros(3)}, TypeError, "integer"),
    ({"memory_limit": b"64MiB"}, TypeError, "not bytes"),
    ({"max_memory": -5}, ValueError, "max_memory must not be negative: -5"),
    ({"max_memory": -(10**5000)}, ValueError, "must not be negative: an integer of"),
    ({"max_memory": []}, TypeError, "max_memory must be an integer or a string, not list"),
    ({"size_classes": 5}, TypeError, "size_classes must be a SizeClasses or None, not int"),
    ({"size_classes": gomem.SizeClassRules()}, TypeError, "not SizeClassRules"),
    ({"gc_workers": -1}, ValueError, "gc_workers must be from 0 to 16, not -1"),
    ({"gc_workers": 1.5}, TypeError, "gc_workers must be an integer, not float"),
    ({"gctrace": "1"}, TypeError, "gctrace must be an integer, not '1'"),
    ({"huge_pages": "yes"}, ValueError, "one of default, always, never, not 'yes'"),
    ({"huge_pages": []}, TypeError, "huge_pages must be a string, not list"),
    ({"huge_pages": 1}, TypeError, "huge_pages must be a string, not int"),
    ({"marker": "page"}, ValueError, "marker must be one of span, object, not 'page'"),
    ({"marker": 0}, TypeError, "marker must be a string, not int"),
    ({"marker": None}, TypeError, "marker must be a string, not NoneType"),
    ({"nonsense": 1}, TypeError, "nonsense"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), NONSENSE)
def test_nonsense(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gomem.Heap(**arguments)
    if "memory_limit" in arguments or "gogc" in arguments:
        (name, value) = next(iter(arguments.items()))
        with gomem.Heap(procs=1, memory_limit="1GiB", gogc=70) as heap:
            with pytest.raises(error, match=message):
                setattr(heap, name, value)
            assert (heap.memory_limit, heap.gogc) == (1 << 30, 70)


def test_no_positional_arguments() -> None:
    with pytest.raises(TypeError):
        gomem.Heap(1)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        (None, None), ("off", None), (0, 0), (12345, 12345), ("12345", 12345), ("7B", 7),
        ("3KiB", 3 << 10), ("64MiB", 64 << 20), (" 2GiB ", 2 << 30), ("1TiB", 1 << 40),
        (2**62, 2**62), (2**64, None), (10**30, None), ("99999999999999999999TiB", None),
        (np.int64(4096), 4096), (True, 1),
    ],
)  # fmt: skip
def test_bytes(given: Any, limit: int | None) -> None:
    with gomem.Heap(procs=1, memory_limit=given) as heap:
        assert heap.memory_limit == limit
        heap.memory_limit = 5 << 20
        heap.memory_limit = given
        assert heap.memory_limit == limit


@pytest.mark.parametrize(
    ("given", "percent"),
    [(100, 100), (0, 0), (-1, None), (-(2**70), None), (None, None), ("off", None),
     (2**31 - 1, 2**31 - 1), (np.int8(50), 50)],
)  # fmt: skip
def test_gogc(given: Any, percent: int | None) -> None:
    with gomem.Heap(procs=1, gogc=given) as heap:
        assert heap.gogc == percent
        heap.gogc = 70
        heap.gogc = given
        assert heap.gogc == percent


def test_procs() -> None:
    import os

    with gomem.Heap() as heap:
        assert heap.procs == min(1024, len(os.sched_getaffinity(0)))
    for procs in (1, 2, 7, 1024, np.uint8(3)):
        with gomem.Heap(procs=procs) as heap:  # type: ignore[arg-type]
            assert heap.procs == procs
            heap.free(heap.alloc(100))
            heap.verify()


@pytest.mark.parametrize("huge_pages", ["default", "always", "never"])
@pytest.mark.parametrize("madvdontneed", [True, False])
def test_how_memory_is_asked_for(huge_pages: str, madvdontneed: bool) -> None:
    with gomem.Heap(procs=1, huge_pages=huge_pages, madvdontneed=madvdontneed) as heap:
        for _ in range(3):
            roots = heap.alloc_many([5000] * 3000)
            for i in (0, 1500, 2999):
                assert not any(roots[i].view())
                roots[i].view()[:] = b"z" * 5000
            heap.free_many(roots)
            heap.release_os_memory()
            heap.verify()


def test_a_memory_limit_gives_back() -> None:
    with gomem.Heap(procs=1, memory_limit="24MiB") as heap:
        heap.free_many(heap.alloc_many([8192] * 4000))
        deadline = time.monotonic() + 20
        while heap.stats().extra["mapped_ready"] > 24 << 20:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        heap.verify()


@pytest.mark.parametrize("gogc", ["off", 100])
def test_max_memory_and_what_only_a_collection_finds(gogc: int | str) -> None:
    """As the docstring says: with gogc="off" no collection is tried, but gc() makes room."""
    with gomem.Heap(procs=1, gogc=gogc, max_memory="16MiB") as heap:

        def garbage() -> None:
            for _ in range(100):
                heap.alloc(1 << 20)

        if gogc == "off":
            with pytest.raises(MemoryError):
                garbage()
            heap.gc()
            assert heap.alloc(1 << 20).size == 1 << 20
        else:
            garbage()


def test_max_memory_is_never_passed() -> None:
    limit = 12 << 20
    with gomem.Heap(procs=2, max_memory=limit) as heap:
        for size in (64, 3000, 100_000, 5_000_000):
            refs = []
            with pytest.raises(MemoryError, match=f"cannot allocate {size} bytes"):
                for _ in range(10**6):
                    refs.append(heap.alloc(size))
            assert heap.stats().extra["peak_mapped_ready"] <= limit
            heap.free_many(refs)
            heap.verify()
    for nothing in (0, 1, 4096, "1KiB"):
        with pytest.raises(MemoryError):
            gomem.Heap(procs=1, max_memory=nothing)


# --- Closed ---

USES = {
    "alloc": lambda h: h.alloc(8),
    "alloc_scan": lambda h: h.alloc(8, noscan=False),
    "alloc_zero": lambda h: h.alloc(0),
    "new": lambda h: h.new(gomem.type_of("int64")),
    "free": lambda h: h.free(8),
    "free_outside": lambda h: h.free(-1),
    "alloc_many": lambda h: h.alloc_many([8]),
    "alloc_none": lambda h: h.alloc_many([]),
    "free_many": lambda h: h.free_many([8]),
    "free_refs": lambda h: h.free_many([]),
    "lookup": lambda h: h.lookup(8),
    "lookup_outside": lambda h: h.lookup(-1),
    "stats": lambda h: h.stats(),
    "spans": lambda h: h.spans(),
    "arenas": lambda h: h.arenas(),
    "size_classes": lambda h: h.size_classes(),
    "fragmentation": lambda h: h.fragmentation(),
    "verify": lambda h: h.verify(),
    "resident": lambda h: h.resident(),
    "release": lambda h: h.release_os_memory(),
    "flush": lambda h: h.flush(),
    "map": lambda h: h.map(),
    "gogc": lambda h: h.gogc,
    "set_gogc": lambda h: setattr(h, "gogc", 5),
    "memory_limit": lambda h: h.memory_limit,
    "set_memory_limit": lambda h: setattr(h, "memory_limit", 5),
    "set_memory_limit2": lambda h: h.set_memory_limit(5),
    "ask_memory_limit": lambda h: h.set_memory_limit(-1),
    "set_gc_percent": lambda h: h.set_gc_percent(5),
    "set_gc_percent_off": lambda h: h.set_gc_percent(-1),
    "free_os_memory": lambda h: h.free_os_memory(),
    "gc": lambda h: h.gc(),
    "gc_cycles": lambda h: h.gc_cycles(),
    "metrics": lambda h: h.metrics(),
    "clock": lambda h: testing.advance_clock(h, 1),
    "with": lambda h: h.__enter__(),
}


@pytest.mark.parametrize("use", sorted(USES))
def test_a_closed_heap(closed: gomem.Heap, use: str) -> None:
    with pytest.raises(gomem.HeapClosedError, match="the heap is closed"):
        USES[use](closed)


def test_what_a_closed_heap_still_knows(closed: gomem.Heap) -> None:
    assert closed.closed and closed.procs == 1
    assert repr(closed) == "<gomem.Heap, closed>"
    assert "closed" in closed._repr_html_()
    closed.close()
    assert len(closed.size_class_table) == 68


def test_handles_of_a_closed_heap(node: gomem.Type) -> None:
    heap = gomem.Heap(procs=1)
    ref, typed, roots = heap.alloc(64), heap.new(node), heap.alloc_many([8, 16])
    found = heap.lookup(ref.address)
    inner = heap.new(gomem.struct("Outer", a="[3]int8")).a
    heap.close()
    heap.close()
    uses = [
        lambda: ref.address, lambda: ref.span, lambda: ref.size_class, lambda: ref.slot_size,
        ref.view, lambda: memoryview(ref), lambda: ref.as_type(node), lambda: typed.left,
        lambda: typed.value, lambda: setattr(typed, "value", 5), lambda: setattr(typed, "left", typed),
        lambda: roots[0], lambda: list(roots), lambda: heap.free(ref), lambda: heap.free_many(roots),
        lambda: found.ref, lambda: inner[0], inner.view,
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(gomem.HeapClosedError, match="the heap is closed"):
            use()
    assert ref.freed and ref.size == 64 and ref.heap is heap and "freed" in repr(ref)
    assert len(roots) == 2 and roots.sizes.tolist() == [8, 16]
    for thing in (ref, typed, roots, inner):
        assert thing._repr_html_()


def test_a_heap_without_init() -> None:
    heap = gomem.Heap.__new__(gomem.Heap)
    assert heap.closed
    for use in USES.values():
        with pytest.raises(RuntimeError, match=r"Heap.__init__ was not called"):
            use(heap)
    heap.close()
    with gomem.Heap(procs=1) as opened, pytest.raises(RuntimeError, match="called before"):
        opened.__init__()  # type: ignore[misc]


def test_closing_gives_everything_back() -> None:
    def mapped() -> int:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[0]) * 4096

    gc.collect()
    before = mapped()
    heaps = [gomem.Heap(procs=2) for _ in range(20)]
    for heap in heaps:
        heap.alloc_many([10_000] * 1000)
    assert mapped() > before + (20 * 64 << 20)
    for heap in heaps:
        heap.close()
    assert mapped() < before + (64 << 20)


def test_subclasses_and_cycles() -> None:
    class Tree(gomem.Heap):
        def __init__(self) -> None:
            super().__init__(procs=1)
            self.me = self

    tree = Tree()
    weak = weakref.ref(tree)
    del tree
    gc.collect()
    assert weak() is None
