"""What values say of themselves, and what errors say of types."""

from __future__ import annotations

import numpy as np
import pytest

import gomem


def test_two_types_of_one_name(heap: gomem.Heap) -> None:
    """As when a cell of a notebook is run twice."""
    first = gomem.struct("Node", left="*Node", any="any")
    second = gomem.struct("Node", left="*Node", any="any")
    old, new = heap.new(first), heap.new(second)
    with pytest.raises(
        TypeError, match=r"object of type Node \(another type of that name: gomem.st"
    ):
        new.left = old
    nodes = heap.slice(second)
    with pytest.raises(TypeError, match=r"to a Ref of type Node \(another type of that name"):
        nodes.append(old)
    with pytest.raises(TypeError, match="cannot point to an object of type int64$"):
        new.left = heap.new("int")
    with (
        gomem.Heap(procs=1) as other,
        pytest.raises(TypeError, match="Ref of type Node in another"),
    ):
        nodes.append(other.new(second))


def test_a_ref_without_a_type(heap: gomem.Heap) -> None:
    with pytest.raises(
        TypeError, match=r"cannot be set to a Ref that has no type; as_type\(\) gives"
    ):
        gomem.Pool(heap=heap).put(heap.alloc(100))


def test_what_cannot_be_iterated_over(heap: gomem.Heap) -> None:
    for wrong, name in ((None, "NoneType"), (5, "int")):
        with pytest.raises(TypeError, match=rf"iterable of elements of \[\]int64, not {name}"):
            heap.slice("int").extend(wrong)  # type: ignore[arg-type]

    def fails() -> object:
        yield 1
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        heap.slice("int").extend(fails())  # type: ignore[arg-type]


def test_new_takes_gos_notation(heap: gomem.Heap) -> None:
    assert heap.new("int64").type is gomem.type_of("int64")
    array = heap.new("[3]string")
    heap.gc()
    array[2] = "x"
    assert array[2] == "x" and len(array) == 3
    with pytest.raises(ValueError, match="is no type that gomem knows"):
        heap.new("Nothing")
    with pytest.raises(TypeError, match="gomem.Type or Go's notation of one, not int"):
        heap.new(5)  # type: ignore[arg-type]


def test_only_numbers_are_arrays(heap: gomem.Heap) -> None:
    node = gomem.struct("Node", key="int64")
    for s in (heap.slice("*int"), heap.slice("string", ["a"]), heap.slice(node)):
        with pytest.raises(TypeError, match="only slices of numbers are arrays, not"):
            np.asarray(s)
    s = heap.slice("int32", [1, 2])
    for dtype in (None, "int32", "float64"):
        array = s.__array__(dtype)
        assert array.tolist() == [1, 2] and array.dtype == (dtype or "int32")
    s.__array__(copy=True)[0] = 5
    assert s[0] == 1
    s.__array__()[0] = 5
    assert s[0] == 5


def test_reprs() -> None:
    heap = gomem.Heap(procs=1)
    builder, buffer, pool = heap.builder(), heap.buffer(), gomem.Pool(heap=heap)
    builder.write("hello")
    buffer.write("hello")
    buffer.read(2)
    assert repr(builder) == "<gomem.Builder, len 5, cap 8>"
    assert repr(buffer) == "<gomem.Buffer, len 3, cap 64>"
    assert repr(pool) == f"<gomem.Pool without new, in {heap!r}>"
    assert repr(gomem.Pool(list, heap=heap)).startswith("<gomem.Pool with new, in <gomem.Heap")
    heap.close()
    assert repr(builder) == "<gomem.Builder, closed heap>"
    assert repr(buffer) == "<gomem.Buffer, closed heap>"
    assert "closed" in repr(pool)
