"""Weak pointers as Python programs use them. Resurrection: tests/golden."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from typing import Any

import pytest

import gomem
from gomem.testing import os_refuses

NODE = gomem.struct(
    "WeakNode", a="*WeakNode", number="int64", part="[3]int32", inner="[2]*WeakNode"
)


def test_it_does_not_keep_the_object(heap: gomem.Heap) -> None:
    ref = heap.new(NODE)
    weak = gomem.Weak(ref)
    heap.gc()
    assert weak.value() is ref
    assert "WeakNode" in repr(weak)
    address = ref.address
    del ref
    again = weak.value()
    assert again is not None and again.address == address and again.type is NODE
    heap.gc()
    assert weak.value() is again
    del again
    heap.gc()
    assert weak.value() is None
    assert repr(weak) == "<gomem.Weak of None>"
    assert heap.stats().heap_objects == 0


@pytest.mark.parametrize("size", [1, 8, 16, 24, 600, 3000, 40_000])
@pytest.mark.parametrize("noscan", [True, False])
def test_sizes(heap: gomem.Heap, size: int, noscan: bool) -> None:
    refs = [heap.alloc(size, noscan=noscan) for _ in range(50)]
    weak = [gomem.Weak(r) for r in refs]
    heap.verify()
    assert [w.value() for w in weak] == refs
    refs.clear()
    heap.gc()
    assert all(w.value() is None for w in weak)
    refs = [heap.alloc(size, noscan=noscan) for _ in range(50)]
    assert all(w.value() is None for w in weak)
    assert not set(weak) & {gomem.Weak(r) for r in refs}


def test_an_object_holds_it(heap: gomem.Heap) -> None:
    """Not only Refs: it lives as long as anything leads to it."""
    holder = heap.new(NODE)
    holder.a = heap.new(NODE)
    holder.a.number = 5
    weak = gomem.Weak(holder.a)
    gc.collect()
    heap.gc()
    found = weak.value()
    assert found is not None and found.number == 5
    del found
    holder.a = None
    heap.gc()
    assert weak.value() is None


def test_parts(heap: gomem.Heap) -> None:
    ref = heap.new(NODE)
    weak = gomem.Weak(ref.part)
    assert weak == gomem.Weak(ref.part) != gomem.Weak(ref.inner)
    assert weak != gomem.Weak(ref)
    ref.part[1] = 77
    expected = ref.part
    assert weak.value() == expected
    del ref, expected
    part = weak.value()
    assert part is not None and part[1] == 77
    heap.gc()
    assert part[1] == 77
    heap.gc()
    assert weak.value() == part
    del part
    heap.gc()
    assert weak.value() is None


def test_equality_and_hash(heap: gomem.Heap) -> None:
    a, b = heap.new(NODE), heap.new(NODE)
    x, y, z = gomem.Weak(a), gomem.Weak(a), gomem.Weak(b)
    none = gomem.Weak(None)
    assert x == y and hash(x) == hash(y) and x != z and x != none and x != a
    assert none == gomem.Weak(None) and none.value() is None
    cache = {x: "a", z: "b", none: "none"}
    del a, b
    heap.gc()
    assert x.value() is None and x == y and x != z and x != none
    assert cache[y] == "a" and cache[z] == "b"
    c = heap.new(NODE)
    assert gomem.Weak(c) not in cache
    with pytest.raises(TypeError):
        x < y  # type: ignore[operator]  # noqa: B015


def test_freed_by_hand(heap: gomem.Heap) -> None:
    ref = heap.new(NODE)
    weak, part = gomem.Weak(ref), gomem.Weak(ref.inner)
    heap.free(ref)
    assert weak.value() is None and part.value() is None
    with pytest.raises(gomem.InvalidPointerError, match="the object was freed"):
        gomem.Weak(ref)
    table = heap.alloc_many([24] * 100)
    weaks = [gomem.Weak(table[i]) for i in range(100)]
    assert all(w.value() is not None for w in weaks)
    heap.free_many(table)
    assert all(w.value() is None for w in weaks)
    heap.verify()


def test_wrong_arguments(heap: gomem.Heap) -> None:
    make: Any = gomem.Weak
    for args in ((), (1,), ("x",), (heap,), (NODE,), (heap.alloc(8), 2)):
        with pytest.raises(TypeError):
            make(*args)
    with pytest.raises(TypeError):
        make(ref=None)
    weak = gomem.Weak(heap.new(NODE))
    for f in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            f(weak)
    with pytest.raises(TypeError):
        type("Derived", (make,), {})


def test_closed_heaps() -> None:
    heap = gomem.Heap(procs=1)
    ref = heap.new(NODE)
    weak = gomem.Weak(ref)
    heap.close()
    assert weak.value() is None and weak == weak
    with pytest.raises(gomem.HeapClosedError):
        gomem.Weak(ref)
    alive = weakref.ref(heap)
    del heap, ref
    gc.collect()
    assert alive() is not None  # as a Ref does, it keeps the Heap, which has nothing in it
    del weak
    gc.collect()
    assert alive() is None


def test_out_of_memory(heap: gomem.Heap) -> None:
    refs = [heap.new(NODE) for _ in range(5000)]
    made = []
    with os_refuses(heap, 0):
        for ref in refs:
            try:
                made.append(gomem.Weak(ref))
            except MemoryError:
                break
    assert 0 < len(made) < 5000
    heap.verify()
    assert all(w.value() is r for w, r in zip(made, refs))
    assert gomem.Weak(refs[-1]).value() is refs[-1]


def test_memory_of_handles_is_used_again(heap: gomem.Heap) -> None:
    heap.gogc = None
    ref = heap.new(NODE)
    for _ in range(3):
        before = heap.stats()
        for _ in range(20_000):
            gomem.Weak(ref).value()
            gomem.Weak(heap.alloc(16)).value()
        heap.gc()
    after = heap.stats()
    assert (before.other_sys, before.gc_sys) == (after.other_sys, after.gc_sys)


def test_values_while_others_collect() -> None:
    """A cache of weak pointers under threads: what is found is what was put there."""
    with gomem.Heap(procs=3, gogc=50) as heap:
        cache: dict[int, gomem.Weak] = {}
        lock = threading.Lock()
        failures: list[str] = []
        found = [0, 0]

        def work(seed: int) -> None:
            import random

            r = random.Random(seed)
            held: list[Any] = []
            for _ in range(4000):
                key = r.randrange(200)
                with lock:
                    weak = cache.get(key)
                ref = None if weak is None else weak.value()
                found[ref is not None] += 1
                if ref is None:
                    ref = heap.new(NODE)
                    ref.number = key
                    ref.a = r.choice(held) if held else None
                    with lock:
                        cache[key] = gomem.Weak(ref)
                elif ref.number != key:
                    failures.append(f"{ref.number} is not {key}")
                held.append(ref)
                if len(held) > 30:
                    held.pop(r.randrange(30))
                if r.random() < 0.01:
                    heap.gc()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert failures == []
        assert min(found) > 100
        heap.verify()
