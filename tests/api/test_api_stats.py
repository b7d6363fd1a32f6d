"""MemStats: Go's fields, and their identities at all times."""

from __future__ import annotations

import contextlib
import random
import threading
from typing import Any

import pytest

import gomem
from gomem.testing import in_threads, os_refuses

# runtime.MemStats of Go 1.26, in order.
GO_FIELDS = [
    "Alloc",
    "TotalAlloc",
    "Sys",
    "Lookups",
    "Mallocs",
    "Frees",
    "HeapAlloc",
    "HeapSys",
    "HeapIdle",
    "HeapInuse",
    "HeapReleased",
    "HeapObjects",
    "StackInuse",
    "StackSys",
    "MSpanInuse",
    "MSpanSys",
    "MCacheInuse",
    "MCacheSys",
    "BuckHashSys",
    "GCSys",
    "OtherSys",
    "NextGC",
    "LastGC",
    "PauseTotalNs",
    "PauseNs",
    "PauseEnd",
    "NumGC",
    "NumForcedGC",
    "GCCPUFraction",
    "EnableGC",
    "DebugGC",
    "BySize",
]


def check(s: gomem.MemStats) -> None:
    """The identities that MemStats promises."""
    parts = (s.heap_sys, s.stack_sys, s.mspan_sys, s.mcache_sys, s.buck_hash_sys, s.gc_sys)
    assert s.sys == sum(parts) + s.other_sys
    assert s.heap_sys == s.heap_idle + s.heap_inuse
    assert s.heap_released <= s.heap_idle
    assert s.heap_objects == s.mallocs - s.frees
    assert s.alloc == s.heap_alloc <= s.heap_inuse
    assert s.heap_alloc <= s.total_alloc
    assert s.mspan_inuse <= s.mspan_sys and s.mcache_inuse <= s.mcache_sys
    assert s.stack_inuse <= s.stack_sys
    assert s.extra["mapped_ready"] == s.sys - s.heap_released
    assert s.extra["mapped_ready"] <= s.extra["peak_mapped_ready"]
    # Go: Mallocs and Frees are the sums of BySize, large objects, and tiny ones.
    tiny = s.extra["tiny_allocs"]
    beyond = s.mallocs - tiny - s.extra["large_allocs"] - sum(b.mallocs for b in s.by_size)
    gone = s.frees - tiny - s.extra["large_frees"] - sum(b.frees for b in s.by_size)
    assert 0 <= gone <= beyond  # classes 61 and up are in neither
    assert all(0 <= b.frees <= b.mallocs for b in s.by_size)
    m = s.metrics()
    classes = [v for k, v in m.items() if k.startswith("/memory/classes/") and "total" not in k]
    assert m["/memory/classes/total:bytes"] == s.sys == sum(classes)
    assert m["/gc/heap/allocs:bytes"] - m["/gc/heap/frees:bytes"] == s.heap_alloc
    assert m["/gc/heap/objects:objects"] == (
        m["/gc/heap/allocs:objects"] - m["/gc/heap/frees:objects"]
    )


def test_every_field_of_go(heap: gomem.Heap) -> None:
    go = heap.stats().go()
    assert list(go) == GO_FIELDS or set(go) == set(GO_FIELDS)
    assert len(go["BySize"]) == 61 and len(go["PauseNs"]) == len(go["PauseEnd"]) == 256
    table = heap.size_class_table
    assert [b["Size"] for b in go["BySize"]] == [table[i].size for i in range(61)]
    assert go["EnableGC"] is True and go["DebugGC"] is False


def test_identities_at_all_times() -> None:
    rng = random.Random(7)
    with gomem.Heap(procs=2, max_memory="64MiB") as heap:
        refs: list[gomem.Ref] = []
        for step in range(1500):
            what = rng.random()
            if what < 0.55:
                size = rng.choice([1, 7, 15, 16, 100, 513, 4000, 20_000, 32_768, 33_000, 300_000])
                refs.append(heap.alloc(size, noscan=rng.random() < 0.6))
            elif what < 0.93 and refs:
                heap.free(refs.pop(rng.randrange(len(refs))))
            elif what < 0.96:
                heap.flush()
            elif what < 0.98:
                heap.release_os_memory()
            else:
                with os_refuses(heap, rng.randrange(3), 1), contextlib.suppress(MemoryError):
                    refs.append(heap.alloc(200_000))
            if step % 5 == 0:
                s = heap.stats()
                check(s)
                assert s.heap_objects <= len(refs) + 2  # and the blocks being filled


def test_identities_while_threads_work() -> None:
    stop = threading.Event()
    with gomem.Heap(procs=3) as heap:

        def work(seed: int) -> None:
            rng = random.Random(seed)
            while not stop.is_set():
                roots = heap.alloc_many([rng.randrange(1, 5000) for _ in range(500)])
                heap.free_many(roots)

        def watch() -> None:
            try:
                last = heap.stats()
                for _ in range(200):
                    s = heap.stats()
                    check(s)
                    for name in ("total_alloc", "mallocs", "frees"):
                        assert getattr(s, name) >= getattr(last, name)
                    last = s
            finally:
                stop.set()

        in_threads(lambda: work(0), lambda: work(1), watch)


def test_counts(heap: gomem.Heap) -> None:
    refs = [heap.alloc(100) for _ in range(10)]
    large = heap.alloc(100_000)
    assert large.span.elem_size == 106_496
    s = heap.stats()
    assert (s.mallocs, s.frees, s.heap_objects) == (11, 0, 11)
    assert s.heap_alloc == 10 * 112 + 106_496  # Go counts a large object's pages
    assert s.by_size[9].size == 112 and s.by_size[9].mallocs == 10
    for ref in refs[:4]:
        heap.free(ref)
    heap.free(large)
    s = heap.stats()
    assert (s.mallocs, s.frees, s.heap_objects) == (11, 5, 6)
    assert (s.by_size[9].mallocs, s.by_size[9].frees) == (10, 4)
    assert (s.extra["large_allocs"], s.extra["large_frees"]) == (1, 1)
    assert s.heap_alloc == 6 * 112 and s.total_alloc == 10 * 112 + 106_496
    check(s)


def test_release(heap: gomem.Heap) -> None:
    heap.free_many(heap.alloc_many([8192] * 500))
    heap.gc()  # spans emptied while one is under way are given back at its end
    before = heap.stats()
    assert before.heap_idle - before.heap_released >= 4 << 20 or heap.release_os_memory() >= 0
    heap.release_os_memory()
    after = heap.stats()
    assert after.heap_idle == after.heap_released
    assert after.extra["mapped_ready"] <= before.extra["mapped_ready"]
    assert heap.resident() == 0
    assert heap.release_os_memory() == 0
    assert any(
        heap.stats().extra[f"scavenged_{kind}"] for kind in ("forced", "eager", "background")
    )


def test_metrics_are_gos_names(heap: gomem.Heap) -> None:
    heap.gogc, heap.memory_limit = 50, 1 << 30
    m = heap.stats().metrics()
    assert list(m) == sorted(m)
    assert m["/gc/gogc:percent"] == 50 and m["/gc/gomemlimit:bytes"] == 1 << 30
    assert m["/sched/gomaxprocs:threads"] == 1
    heap.memory_limit = None
    assert heap.stats().metrics()["/gc/gomemlimit:bytes"] == 2**63 - 1


def test_stats_are_a_value(heap: gomem.Heap) -> None:
    s: Any = heap.stats()
    with pytest.raises(AttributeError):
        s.alloc = 5
    assert s == heap.stats()
    heap.alloc(8)
    assert s != heap.stats()


def test_next_gc_follows_gogc(heap: gomem.Heap) -> None:
    assert heap.stats().next_gc == 4 << 20
    heap.gogc = 200
    assert heap.stats().next_gc == 8 << 20
    heap.gogc = "off"
    assert (
        2**62 < heap.stats().next_gc < 2**63
    )  # Go's limit, less what else there is and 3 per cent


def test_stats_are_shown_on_a_few_lines(heap: gomem.Heap) -> None:
    heap.alloc(100)
    text = repr(heap.stats())
    assert len(text) < 1200 and "pause_ns=<256 of them>" in text and "heap_objects=1," in text
