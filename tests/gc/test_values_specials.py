"""Finalizers, cleanups and weak pointers of Go values: what is a pointer has them as objects do, what
keeps an object alive keeps them from being called."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gomem

NODE = gomem.struct("SpecialNode", number="int64", next="*SpecialNode")
VALUES = gomem.struct(
    "SpecialValues", bytes="[]uint8", text="string", table="map[string]int64", any="any"
)


@pytest.fixture
def heap() -> Iterator[gomem.Heap]:
    """Nothing is called but when the test says so."""
    with gomem.Heap(procs=1, gogc="off", finalizer_thread=False) as h:
        yield h
        h.verify()


def settle(heap: gomem.Heap) -> int:
    heap.gc()
    return heap.run_finalizers()


def builder(heap: gomem.Heap) -> gomem.Builder:
    made = heap.builder()
    made.write("hello, " * 20)
    return made


def buffer(heap: gomem.Heap) -> gomem.Buffer:
    made = heap.buffer()
    made.write("hello, " * 20)
    return made


POINTERS: dict[str, Callable[[gomem.Heap], Any]] = {"Builder": builder, "Buffer": buffer}
EACH = pytest.mark.parametrize("make", POINTERS.values(), ids=POINTERS)


# --- Builders and buffers ---


@EACH
def test_a_finalizer_gets_the_object_itself(heap: gomem.Heap, make: Any) -> None:
    value, got = make(heap), []
    address = value.address

    def finalizer(dead: Any) -> None:
        dead.write("and once more")
        got.append(dead)

    gomem.set_finalizer(value, finalizer)
    kind = type(value)
    with pytest.raises(ValueError, match=r"runtime\.SetFinalizer: finalizer already set"):
        gomem.set_finalizer(value, finalizer)
    assert settle(heap) == 0
    del value
    assert settle(heap) == 1
    assert type(got[0]) is kind and got[0].address == address
    assert bytes(got[0].string()) == b"hello, " * 20 + b"and once more"
    heap.verify()
    # It is back, without a finalizer; and may have another.
    assert settle(heap) == 0
    gomem.set_finalizer(got[0], print)
    gomem.set_finalizer(got[0], None)
    got.clear()
    assert settle(heap) == 0
    assert heap.stats().heap_objects == 0


@EACH
def test_cleanups_and_weak_pointers(heap: gomem.Heap, make: Any) -> None:
    value = make(heap)
    called: list[int] = []
    gomem.add_cleanup(value, called.append, 1)
    stopped = gomem.add_cleanup(value, called.append, 2)
    gomem.add_cleanup(value, called.append, 3)
    assert stopped.stop() and not stopped.stop()
    weak = gomem.Weak(value)
    again = weak.value()
    assert again == value and again is not None and again.address == value.address
    assert bytes(again.string()) == b"hello, " * 20
    assert weak == gomem.Weak(again) and hash(weak) == hash(gomem.Weak(again))
    assert weak != gomem.Weak(heap.lookup(value.address).ref)
    assert type(value).__name__ in repr(weak)
    del value
    assert settle(heap) == 0  # again has it
    del again
    assert settle(heap) == 2
    assert called == [1, 3] and weak.value() is None
    assert heap.stats().heap_objects == 0


@EACH
def test_handles_of_one_object_are_equal(heap: gomem.Heap, make: Any) -> None:
    """As pointers are."""
    value, other = make(heap), make(heap)
    pool = gomem.Pool(heap=heap)
    pool.put(value)
    again = pool.get()
    assert again is not value and again == value and hash(again) == hash(value)
    assert value != other and value != 5 and not value == other  # noqa: SIM201
    assert len({value, again, other}) == 2
    with pytest.raises(TypeError):
        assert value < other
    with gomem.Heap(procs=1) as elsewhere:
        assert make(elsewhere) != value


def test_a_finalizer_with_what_it_leads_to(heap: gomem.Heap) -> None:
    """Its array lives with it, and so does what a string of it shares."""
    b = builder(heap)
    called: list[str] = []
    array = heap.lookup(heap.lookup(b.string().address).object or 0).ref
    gomem.add_cleanup(array, called.append, "array")
    del array
    gomem.set_finalizer(b, lambda dead: called.append(str(len(dead))))
    text = b.string()
    del b
    assert settle(heap) == 1 and called == ["140"]
    assert settle(heap) == 0 and bytes(text[:5]) == b"hello"
    del text
    assert settle(heap) == 1 and called == ["140", "array"]


@EACH
@pytest.mark.parametrize("phase", ["sweep termination", "mark", "mark termination", "sweep"])
def test_a_weak_pointer_in_a_cycle(heap: gomem.Heap, make: Any, phase: str) -> None:
    weak = gomem.Weak(make(heap))
    with heap.step_gc() as cycle:
        while cycle.phase != phase:
            cycle.next_phase()
        value = weak.value()
        heap.verify()
    # Once marking has ended without it, it is dead.
    assert (value is None) == (phase == "sweep")
    if value is not None:
        assert bytes(value.string()) == b"hello, " * 20
        del value
    heap.gc()
    assert weak.value() is None


# --- What keeps objects alive ---


def test_the_array_of_slices(heap: gomem.Heap) -> None:
    """It dies with the last slice that shares it."""
    s = heap.slice(NODE, [{"number": i} for i in range(10)])
    called: list[str] = []
    gomem.add_cleanup(s[0], called.append, "array")
    gomem.add_cleanup(s[7], called.append, "element")
    weak = gomem.Weak(s[7])
    tail = s[8:]
    del s
    assert settle(heap) == 0
    assert weak.value().number == 7
    tail.append(*[{"number": 99}] * 5)  # an array of its own
    assert settle(heap) == 2
    assert sorted(called) == ["array", "element"] and weak.value() is None
    assert tail[0].number == 8


@pytest.mark.parametrize("kind", ["slice", "map", "interface", "field", "pool"])
def test_objects_that_values_hold(heap: gomem.Heap, kind: str) -> None:
    node = heap.new(NODE)
    node.number = 5
    called: list[Any] = []
    gomem.set_finalizer(node, lambda dead: called.append(dead.number))
    weak = gomem.Weak(node)
    pool = gomem.Pool(heap=heap)
    holder: Any = None
    if kind == "slice":
        holder = heap.slice(gomem.pointer(NODE), [None, node])
    elif kind == "map":
        holder = heap.make_map("int64", gomem.pointer(NODE))
        for i in range(100):
            holder[i] = None
        holder[3] = node
    elif kind == "interface":
        holder = heap.slice("any", [1, "x", node])
    elif kind == "field":
        holder = heap.new(VALUES)
        holder.any = node
    else:
        pool.put(node)
    del node
    assert settle(heap) == 0
    assert weak.value().number == 5
    if kind == "slice":
        holder[1] = None
    elif kind == "map":
        holder.delete(3)
    elif kind == "interface":
        holder.clear()
    elif kind == "field":
        holder.any = 7
    assert settle(heap) == 1
    assert called == [5] and weak.value() is None
    keep = holder, pool
    del keep


def test_a_finalizer_of_a_struct_with_values(heap: gomem.Heap) -> None:
    x = heap.new(VALUES)
    x.bytes = heap.slice("uint8", [1, 2, 3])
    x.text = heap.string("some text")
    x.table = heap.make_map("string", "int64")
    x.table["one"] = 1
    x.any = builder(heap)
    got: list[Any] = []
    gomem.set_finalizer(x, got.append)
    del x
    assert settle(heap) == 1
    heap.gc()
    (x,) = got
    assert list(x.bytes) == [1, 2, 3] and x.text == "some text"
    assert x.table["one"] == 1 and len(x.any) == 140
    heap.verify()


def test_pools_give_up_what_has_cleanups(heap: gomem.Heap) -> None:
    """A victim is alive; the cycle after that calls the cleanups."""
    pool = gomem.Pool(heap=heap)
    called: list[int] = []
    for i in range(20):
        b = builder(heap)
        gomem.add_cleanup(b, called.append, i)
        pool.put(b)
    del b
    assert settle(heap) == 0
    got = pool.get()
    assert len(got) == 140
    assert settle(heap) == 19 and pool.get() is None
    del got
    assert settle(heap) == 1 and sorted(called) == list(range(20))


# --- Wrong uses ---


NO_POINTERS: dict[str, tuple[str, Callable[[gomem.Heap], Any]]] = {
    "slice": ("[]int64", lambda h: h.make_slice("int64", 5)),
    "nil slice": ("[]string", lambda h: h.slice("string")),
    "string": ("string", lambda h: h.string("abcdef")),
    "map": ("map[string]int64", lambda h: h.make_map("string", "int64")),
    "pool": ("Pool", lambda h: gomem.Pool(heap=h)),
    "heap": ("Heap", lambda h: h),
}


@pytest.mark.parametrize("name", NO_POINTERS)
def test_what_is_no_pointer(heap: gomem.Heap, name: str) -> None:
    """Go's compiler, or Go's text; what they lead to is an object that a Ref can name."""
    go, make = NO_POINTERS[name]
    value = make(heap)
    with pytest.raises(TypeError) as error:
        gomem.set_finalizer(value, print)
    assert str(error.value) == f"runtime.SetFinalizer: first argument is {go}, not pointer"
    with pytest.raises(TypeError) as error:
        gomem.add_cleanup(value, print)
    assert str(error.value) == f"runtime.AddCleanup: ptr is {go}, not pointer"
    with pytest.raises(TypeError, match="a Builder, a Buffer, or None"):
        gomem.Weak(value)
    del error  # its traceback has the value
    if name in ("slice", "string", "map"):
        ref, called = heap.lookup(value.address).ref, []
        gomem.add_cleanup(ref, called.append, name)
        weak = gomem.Weak(ref)
        del ref
        assert settle(heap) == 0 and weak.value() is not None
        del value
        assert settle(heap) == 1 and called == [name] and weak.value() is None


def test_cleanups_that_would_never_run(heap: gomem.Heap) -> None:
    b, buf = builder(heap), buffer(heap)
    s = heap.make_slice(NODE, 10)
    m = heap.make_map("string", "int64")
    wrong: list[Callable[[], object]] = [
        functools.partial(gomem.add_cleanup, b, print, b),
        functools.partial(gomem.add_cleanup, buf, print, 1, buf),
        functools.partial(gomem.add_cleanup, buf, buf.write),
        functools.partial(gomem.add_cleanup, buf, lambda: buf.write("x")),
        functools.partial(gomem.add_cleanup, s[0], print, s),
        functools.partial(gomem.add_cleanup, s[0], print, s[3:]),
        functools.partial(gomem.add_cleanup, s[0], lambda: s[1]),
        functools.partial(gomem.add_cleanup, heap.lookup(m.address).ref, print, m),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match="cleanup will never run"):
            call()
    # Others' arguments, and those of length 0, are good ones.
    with gomem.Heap(procs=1) as elsewhere:
        for arg in (buf, s, m, builder(elsewhere), elsewhere.string("text"), heap.slice("int64")):
            gomem.add_cleanup(b, id, arg)
    del wrong, call, b
    assert settle(heap) == 6


@EACH
def test_another_heap_and_a_closed_one(heap: gomem.Heap, make: Any) -> None:
    with gomem.Heap(procs=1, finalizer_thread=False) as other:
        value = make(other)
        for attach in (heap._set_finalizer, heap._add_cleanup):
            with pytest.raises(gomem.InvalidPointerError, match="another heap"):
                attach(value, print, *[()] * (attach == heap._add_cleanup))
        with pytest.raises(TypeError):
            other._set_finalizer(other.make_slice("int64", 1), print)  # type: ignore[arg-type]
        weak = gomem.Weak(value)
        gomem.set_finalizer(value, print)
        cleanup = gomem.add_cleanup(value, print)
    assert weak.value() is None and not cleanup.stop()
    for call in (
        functools.partial(gomem.set_finalizer, value, print),
        functools.partial(gomem.add_cleanup, value, print),
        functools.partial(gomem.Weak, value),
    ):
        with pytest.raises(gomem.HeapClosedError):
            call()
