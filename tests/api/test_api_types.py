"""Types: layout, notation, fields, and everything that cannot be assigned."""

from __future__ import annotations

import gc
import math
from typing import Any

import numpy as np
import pytest

import gomem

INTEGERS = {
    "int8": 8, "int16": 16, "int32": 32, "int64": 64,
    "uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64, "uintptr": 64,
}  # fmt: skip


def test_layout_is_gos() -> None:
    mixed = gomem.struct("Mixed", a="bool", b="int64", c="uint16", d="*Mixed", e="[3]uint8")
    offsets = [offset for offset, _ in mixed.fields.values()]
    assert offsets == [0, 8, 16, 24, 32]
    assert (mixed.size, mixed.align, mixed.pointer_bytes) == (40, 8, 32)
    assert mixed.pointer_mask == (False, False, False, True)
    # A zero-sized last field is given a byte, so that its address lies inside.
    tail = gomem.struct("Tail", a="int32", e="[0]int64")
    assert (tail.size, tail.align) == (16, 8)
    assert gomem.struct("Empty").size == 0
    assert (gomem.type_of("complex64").align, gomem.type_of("complex128").align) == (4, 8)
    table = gomem.type_of("[3]*int8")
    assert (table.kind, table.length, table.pointer_mask) == ("array", 3, (True,) * 3)
    assert table.elem is not None and table.elem.kind == "pointer"


@pytest.mark.parametrize("name", sorted(INTEGERS))
def test_integers(heap: gomem.Heap, name: str) -> None:
    bits = INTEGERS[name]
    ref = heap.new(gomem.struct("Box", before="uint8", v=name, after="uint8"))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if name[0] == "i" else (0, 2**bits - 1)
    for value in (low, high, 0, 1, np.int8(5)):
        ref.v = value
        assert ref.v == value and (ref.before, ref.after) == (0, 0)
    ref.v = high
    for bad in (low - 1, high + 1, 2**100, -(2**100), 10**5000):
        with pytest.raises(ValueError):
            ref.v = bad
    with pytest.raises(ValueError, match=f"v is of type {name}, which cannot hold {high + 1}"):
        ref.v = high + 1
    for wrong in (1.0, "1", None, b"1", [1]):
        with pytest.raises(
            TypeError, match=f"v is of type {name} and cannot be set to a value of type"
        ):
            ref.v = wrong
    assert ref.v == high


def test_floats(heap: gomem.Heap) -> None:
    ref = heap.new(gomem.struct("F", f="float32", d="float64", c="complex64", z="complex128"))
    ref.f = ref.d = 0.1
    assert ref.d == 0.1 and math.isclose(ref.f, 0.1, rel_tol=1e-6)
    ref.c = ref.z = 1 + 2j
    assert ref.c == ref.z == 1 + 2j
    ref.d = float("nan")
    assert math.isnan(ref.d)
    ref.f = float("-inf")
    assert ref.f == -math.inf
    ref.d = 3
    assert ref.d == 3.0
    for field in ("f", "d", "c", "z"):
        with pytest.raises(ValueError, match=f"{field} is of type .*, which cannot hold 10000"):
            setattr(ref, field, 10**400)  # was an OverflowError
        with pytest.raises(TypeError, match="cannot be set to a value of type str"):
            setattr(ref, field, "1.5")


def test_bool(heap: gomem.Heap) -> None:
    ref = heap.new(gomem.struct("B", b="bool"))
    ref.b = True
    assert ref.b is True
    for wrong in (1, 0, None, "True"):
        with pytest.raises(
            TypeError, match="b is of type bool and cannot be set to a value of type"
        ):
            ref.b = wrong


def test_pointers(heap: gomem.Heap, node: gomem.Type) -> None:
    a, b = heap.new(node), heap.new(node)
    assert a.left is None
    a.left = b
    a.right = a
    assert a.left is b and a.right is a
    a.left = None
    assert a.left is None
    for wrong in (5, "x", b.address, heap.alloc(24), heap.new(gomem.type_of("int64"))):
        with pytest.raises(TypeError, match="left is of type \\*Node"):
            a.left = wrong
    other = gomem.Heap(procs=1)
    with other, pytest.raises(gomem.InvalidPointerError, match="left cannot point into another"):
        a.left = other.new(node)
    a.left = b
    heap.free(b)
    with pytest.raises(gomem.InvalidPointerError, match="dangles"):
        a.left  # noqa: B018
    with pytest.raises(gomem.InvalidPointerError, match="was freed"):
        a.left = b
    # What takes the place of the freed object is not a Node.
    taken = [heap.alloc(24) for _ in range(2000)]
    with pytest.raises(gomem.InvalidPointerError, match="dangles"):
        a.left  # noqa: B018
    del taken


def test_pointers_survive_their_refs(heap: gomem.Heap, node: gomem.Type) -> None:
    root = heap.new(node)
    at = root
    for i in range(500):
        at.left = heap.new(node)
        at = at.left
        at.value = i
    del at
    gc.collect()
    at, seen = root.left, []
    while at is not None:
        seen.append(at.value)
        at = at.left
    assert seen == list(range(500))
    assert heap.stats().heap_objects == 501


def test_unnamed_types_are_identical_by_structure(heap: gomem.Heap) -> None:
    """They were not, so that no object could be stored in a field of type *[4]int8."""
    holder = heap.new(gomem.struct("Holder", p="*[4]int8", q="**int64"))
    four = heap.new(gomem.type_of("[4]int8"))
    holder.p = four
    assert holder.p is four
    holder.q = heap.new(gomem.type_of("*int64"))
    for wrong in ("[5]int8", "[4]uint8", "*int8"):
        with pytest.raises(TypeError, match="cannot point to a"):
            holder.p = heap.new(gomem.type_of(wrong))
    with pytest.raises(TypeError, match="cannot point to a"):
        holder.q = heap.new(gomem.type_of("*int8"))


def test_structs_are_identical_by_name_only(heap: gomem.Heap) -> None:
    one, two = (gomem.struct("Same", x="int64") for _ in range(2))
    holder = heap.new(gomem.struct("Holder", p=gomem.pointer(one)))
    holder.p = heap.new(one)
    with pytest.raises(TypeError):
        holder.p = heap.new(two)


def test_unsafe_pointers(heap: gomem.Heap, node: gomem.Type) -> None:
    ref = heap.new(gomem.struct("Any", p="unsafe.Pointer"))
    for target in (heap.alloc(100), heap.new(node), heap.alloc(0), heap.alloc(3), ref):
        ref.p = target
        assert ref.p is target
    inner = heap.new(gomem.struct("Deep", a="int8", b="[2]int8")).b
    with pytest.raises(TypeError, match="cannot point to a part of an object"):
        ref.p = inner


def test_arrays_and_nesting(heap: gomem.Heap) -> None:
    point = gomem.struct("Point", x="int32", y="int32")
    shape = gomem.struct("Shape", points=gomem.array(point, 3), name="[2][4]uint8")
    ref = heap.new(shape)
    assert len(ref) == 2 and len(ref.points) == 3 and len(ref.name) == 2
    ref.points[1].y = 7
    ref.name[1][3] = 9
    assert [p.y for p in ref.points] == [0, 7, 0]
    assert ref.view()[12] == 7 and ref.view()[31] == 9
    assert ref["points"][1]["y"] == 7
    for index in (3, -1, -4, 2**70, -(2**70), 2**63 - 1):
        with pytest.raises(gomem.BoundsError):
            ref.points[index]
    for key in (1.0, "x", None, slice(0, 2)):
        with pytest.raises(TypeError):
            ref.points[key]
    with pytest.raises(
        TypeError, match="only an array has elements to iterate over, not a Ref of type Point"
    ):
        iter(ref.points[0])
    with pytest.raises(TypeError, match="set its parts"):
        ref.points = 5
    with pytest.raises(KeyError, match=r"Shape has no field \(\)"):
        ref[()]
    with pytest.raises(KeyError, match="Shape has no field 'nothing'"):
        ref["nothing"]
    with pytest.raises(TypeError, match="cannot be deleted"):
        del ref.points
    with pytest.raises(TypeError, match="cannot be deleted"):
        del ref.points[0].x
    with pytest.raises(AttributeError, match="Shape has no field 'nothing'"):
        ref.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="Shape has no field 'nothing'"):
        ref.nothing = 1
    assert {"points", "name", "address"} <= set(dir(ref))


def test_fields_hidden_by_refs_own_names(heap: gomem.Heap) -> None:
    ref = heap.new(gomem.struct("Own", size="int8", address="int8"))
    ref["size"] = 5
    assert ref["size"] == 5 and ref.size == 2


def test_converting_may_close_or_free(node: gomem.Type) -> None:
    """A value's own code runs while it is converted; then the object may be gone."""
    with gomem.Heap(procs=1) as heap:
        ref = heap.new(node)

        class Freer:
            def __index__(self) -> int:
                heap.free(ref)
                return 5

        with pytest.raises(gomem.InvalidPointerError, match="was freed"):
            ref.value = Freer()
        ref = heap.new(gomem.struct("F", f="float64"))

        class Closer:
            def __float__(self) -> float:
                heap.close()
                return 5.0

        with pytest.raises(gomem.HeapClosedError):
            ref.f = Closer()


@pytest.mark.parametrize(
    ("notation", "error", "message"),
    [
        ("nothing", ValueError, "is no type that gomem knows"),
        ("", ValueError, "is no type"),
        ("*", ValueError, "is no type"),
        ("[3]", ValueError, "is no type"),
        ("[-1]int8", ValueError, "is no type"),
        ("[x]int8", ValueError, "is no type"),
        ("int8\0", ValueError, "is no type"),
        ("\ud800", ValueError, "is no type"),
        ("[99999999999]int64", ValueError, "larger than 268435456 bytes"),
        ("[9223372036854775808]int8", ValueError, "larger than 268435456 bytes"),
        ("[" + "9" * 30 + "]int8", ValueError, "would be too large"),
        ("[" + "9" * 5000 + "]int8", ValueError, "would be too large"),
        ("*" * 5000 + "int8", ValueError, "levels of"),
        ("[1]" * 5000 + "int8", ValueError, "levels of"),
        (5, TypeError, "not int"),
        (None, TypeError, "not NoneType"),
        (b"int8", TypeError, "not bytes"),
    ],
)
def test_notations_that_are_none(notation: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gomem.type_of(notation)
    with pytest.raises(error, match=message):
        gomem.struct("S", x=notation)


def test_wrong_structs_and_arrays() -> None:
    struct: Any = gomem.struct
    with pytest.raises(ValueError, match="identifier, not '1x'"):
        struct("1x")
    with pytest.raises(TypeError, match="a name must be a string, not int"):
        struct(5)
    with pytest.raises(ValueError, match="identifier, not 'a b'"):
        struct("S", {"a b": "int8"})
    with pytest.raises(TypeError, match="a name must be a string, not int"):
        struct("S", {5: "int8"})
    for wrong in ([], 0, "x", 5):
        with pytest.raises(TypeError, match="fields must be a mapping"):
            struct("S", wrong)
    with pytest.raises(ValueError, match="a struct cannot contain itself"):
        struct("S", s="S")
    with pytest.raises(ValueError, match="would be larger than"):
        struct("S", **{f"f{i}": "[200000000]int8" for i in range(2)})
    array: Any = gomem.array
    with pytest.raises(ValueError, match="must not be negative: -1"):
        array("int8", -1)
    with pytest.raises(ValueError, match="would be larger"):
        array("int8", 2**70)  # was an OverflowError
    with pytest.raises(TypeError, match="length must be an integer, not str"):
        array("int8", "3")
    assert array("[0]int64", 2**40).size == 0


def test_long_names() -> None:
    """A name cut in the middle of a character was no text any more."""
    name = "é" * 200
    elem = gomem.struct(name, a="int8")
    assert gomem.array(elem, 3).name == f"[3]{name}"
    with pytest.raises(ValueError, match="type .1099511627776.é"):
        gomem.array(gomem.struct("é" * 600, a="int64"), 2**40)


def test_long_chains_of_types() -> None:
    """Freeing one recursed as deep as the chain is long."""
    chain = gomem.type_of("int8")
    for _ in range(300_000):
        chain = gomem.struct("S", f=chain)
    del chain
    gc.collect()


def test_recursive_types_are_collected() -> None:
    gc.collect()
    before = sum(isinstance(o, gomem.Type) for o in gc.get_objects())
    for _ in range(100):
        gomem.struct("Node", left="*Node", right="*Node")
    gc.collect()
    assert sum(isinstance(o, gomem.Type) for o in gc.get_objects()) <= before
