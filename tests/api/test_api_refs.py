"""Ref: identity, views, lifetime."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import gomem


def test_one_ref_an_object(heap: gomem.Heap) -> None:
    ref = heap.alloc(100)
    assert heap.lookup(ref.address).ref is ref
    assert heap.lookup(ref.address + 99).ref is ref
    assert ref == heap.lookup(ref.address).ref and ref != heap.alloc(100) and ref != 5
    assert len({ref, heap.lookup(ref.address).ref}) == 1
    with pytest.raises(TypeError):
        ref < heap.alloc(8)  # type: ignore[operator]  # noqa: B015


def test_attributes(heap: gomem.Heap) -> None:
    ref = heap.alloc(100)
    assert (ref.size, ref.slot_size, ref.size_class) == (100, 112, 9)
    assert ref.heap is heap and ref.type is None and not ref.freed
    span = ref.span
    assert span.base <= ref.address < span.base + span.npages * 8192
    assert span.elem_size == 112 and span.size_class == 9 and span.noscan
    large = heap.alloc(100_000)
    assert large.size_class == 0 and large.span.large and large.span.nelems == 1
    assert hex(ref.address) in repr(ref) and "100 bytes" in repr(ref)
    assert {"address", "view", "span"} <= set(dir(ref))
    with pytest.raises(AttributeError):
        ref.address = 5  # type: ignore[misc]
    with pytest.raises(AttributeError, match="without a type has no field 'x'"):
        ref.x = 5
    with pytest.raises(AttributeError, match="no attribute 'x'"):
        ref.x  # noqa: B018
    for use in (lambda: ref[0], lambda: len(ref), lambda: ref["x"]):
        with pytest.raises(TypeError, match="without a type"):
            use()


def test_view_is_the_memory(heap: gomem.Heap) -> None:
    ref = heap.alloc(64)
    view = ref.view()
    assert (view.format, view.nbytes, view.ndim, view.readonly) == ("B", 64, 1, False)
    view[3] = 7
    array = np.frombuffer(ref, dtype=np.uint8)
    assert array[3] == 7
    assert array.ctypes.data == ref.address
    array[4] = 9
    assert view[4] == 9
    assert np.asarray(memoryview(ref).cast("Q"))[0] == 7 << 24 | 9 << 32


def test_view_keeps_the_object(heap: gomem.Heap) -> None:
    address = heap.alloc(64).address
    view = heap.lookup(address).ref.view()  # type: ignore[union-attr]
    gc.collect()
    for free in (
        lambda: heap.free(address),
        lambda: heap.free(heap.lookup(address).ref),  # type: ignore[arg-type]
        lambda: heap.free_many([address]),
        lambda: heap.free_many([heap.lookup(address).ref]),  # type: ignore[list-item]
        heap.close,
    ):
        with pytest.raises(BufferError, match=r"view of .* is|views of"):
            free()  # type: ignore[no-untyped-call]
    second = heap.lookup(address).ref.view()  # type: ignore[union-attr]
    with second, pytest.raises(BufferError, match="2 views of its objects are still in use"):
        heap.close()
    view[:] = b"y" * 64
    view.release()
    heap.free(address)


def test_view_of_pointers_is_read_only(heap: gomem.Heap, node: gomem.Type) -> None:
    for ref in (heap.alloc(64, noscan=False), heap.new(node)):
        assert ref.view().readonly
        with pytest.raises(TypeError):
            ref.view()[0] = 1
        with pytest.raises((BufferError, ValueError)):
            np.frombuffer(ref, dtype=np.uint8)[0] = 1
    parts = heap.new(gomem.struct("Parts", p="*int8", raw="[16]uint8"))
    assert not parts.raw.view().readonly
    parts.raw.view()[2] = 5
    assert parts.raw[2] == 5
    view = parts.raw.view()
    with pytest.raises(BufferError):
        heap.free(parts)
    view.release()


def test_weak_reference_callbacks_do_not_find_the_dying(heap: gomem.Heap) -> None:
    """They did, and brought it back to life after its memory was given up."""
    ref = heap.alloc(64)
    address = ref.address
    found: list[Any] = []

    def callback(_: object) -> None:
        found.append(heap.lookup(address).ref)

    weak = weakref.ref(ref, callback)
    del ref
    gc.collect()
    assert weak() is None
    assert len(found) == 1
    assert found[0].address == address and found[0].size == 64
    assert heap.lookup(address).ref is found[0]
    heap.free(found[0])


def test_copying_and_pickling_is_refused(heap: gomem.Heap, node: gomem.Type) -> None:
    things = [heap, heap.alloc(8), heap.alloc_many([8]), node, heap.new(node)]
    for thing in things:
        for work in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be pickled or copied"):
                work(thing)
    for value in (heap.stats(), gomem.SizeClasses(), gomem.SizeClassRules.tcmalloc()):
        assert pickle.loads(pickle.dumps(value)) == value
        assert copy.deepcopy(value) == value


def test_handles_are_not_made_by_hand() -> None:
    for kind in (gomem.Ref, gomem.Roots, gomem.Type):
        with pytest.raises(TypeError, match="cannot create"):
            kind()
        with pytest.raises(TypeError):
            type("Sub", (kind,), {})


def test_as_type(heap: gomem.Heap, node: gomem.Type) -> None:
    raw = heap.alloc(24)
    point = gomem.struct("Point", x="float64", y="float64", tag="uint8")
    p = raw.as_type(point)
    p.x, p.tag = 1.5, 255
    assert raw.view()[16] == 255 and p.size == 24 and p.address == raw.address
    with pytest.raises(TypeError, match="disagree about a pointer at offset 0"):
        raw.as_type(node)
    with pytest.raises(ValueError, match="takes 32 bytes, the object has 24"):
        raw.as_type(gomem.type_of("[4]int64"))
    with pytest.raises(TypeError, match=r"as_type\(\) takes a gomem.Type, not str"):
        raw.as_type("int8")  # type: ignore[arg-type]
    heap.free(raw)
    assert p.freed
    with pytest.raises(gomem.InvalidPointerError, match="was freed"):
        p.x  # noqa: B018
    with pytest.raises(gomem.InvalidPointerError, match="was freed"):
        raw.as_type(point)


def test_a_part_is_no_object(heap: gomem.Heap) -> None:
    outer = heap.new(gomem.struct("Outer", a="int64", inner="[3]int16"))
    inner = outer.inner
    assert inner.address == outer.address + 8 and inner.size == 6
    assert inner == outer.inner and hash(inner) == hash(outer.inner) and inner != outer
    with pytest.raises(gomem.InvalidPointerError, match="part of an object"):
        heap.free(inner)
    del outer
    inner[1] = 5  # the part keeps the Ref
    assert inner[1] == 5
    heap.free(inner.address - 8)
    assert inner.freed


def test_ref_keeps_the_heap() -> None:
    ref = gomem.Heap(procs=1).alloc(64)
    gc.collect()
    ref.view()[0] = 1
    assert not ref.heap.closed
