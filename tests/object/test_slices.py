"""Slices, strings, builders and buffers: what they do, what they refuse, and what stays alive."""

from __future__ import annotations

import gc
import pickle
import random
import threading
from typing import Any

import numpy as np
import pytest

import gomem


@pytest.fixture
def person() -> gomem.Type:
    return gomem.struct(
        "Person", name="string", age="int32", friends="[]*Person", boss="*Person", any="any"
    )


# --- Slices ---


def test_sharing_is_gos(heap: gomem.Heap) -> None:
    s = heap.slice("int", [1, 2, 3, 4, 5])
    assert (len(s), s.cap, list(s)) == (5, 5, [1, 2, 3, 4, 5])
    t = s[1:3]
    assert (list(t), t.cap) == ([2, 3], 4)
    t.append(40)  # in place: it is in s, too
    assert list(s) == [1, 2, 3, 40, 5] and t.address == s.address + 8
    u = s[1:3:3]
    u.append(50)  # no room: another array
    assert list(s) == [1, 2, 3, 40, 5] and list(u) == [2, 3, 50] and u.cap == 4
    s[0] = -1
    assert (s[0], list(s[:0]), len(s[5:])) == (-1, [], 0)
    assert list(t[:4]) == [2, 3, 40, 5]  # up to the capacity
    assert s[5:].address == s.address  # what is empty does not point behind the array


def test_append_and_its_kin(heap: gomem.Heap) -> None:
    s = heap.slice("uint8")
    assert s.is_nil and (len(s), s.cap, s.address) == (0, 0, 0)
    s.append()
    assert s.is_nil
    s.append(1, 2, 3)
    s.extend(range(4, 6))
    s.extend(s)
    assert bytes(s) == bytes([1, 2, 3, 4, 5] * 2)
    assert s.copy(s[2:]) == 8 and bytes(s) == bytes([3, 4, 5, 1, 2, 3, 4, 5, 4, 5])
    s[3:5].clear()
    assert bytes(s) == bytes([3, 4, 5, 0, 0, 3, 4, 5, 4, 5])
    assert [x for x in s if x == 4] == [4, 4, 4] and 5 in s and 9 not in s
    for x in s[:2]:
        s.append(x)  # the loop goes over what there was
    assert len(s) == 12
    assert not heap.make_slice("int").is_nil


def test_arrays_of_numbers(heap: gomem.Heap) -> None:
    for name, dtype in [("int8", "i1"), ("uint16", "u2"), ("int32", "i4"), ("uint64", "u8"),
                        ("float32", "f4"), ("float64", "f8"), ("complex128", "c16"),
                        ("bool", "?"), ("int64", "i8"), ("complex64", "c8")]:  # fmt: skip
        s = heap.slice(name)
        values = np.array([0, 1, 1, 0, 1], dtype=dtype)
        s.append_many(values)
        view = np.asarray(s)
        assert view.dtype == values.dtype and np.array_equal(view, values)
        view[0] = 1
        assert s[0] == 1
        with pytest.raises(BufferError, match="1 views of this one are in use"):
            s.append_many(values)
        with pytest.raises(BufferError):
            heap.close()
        del view
        s.append_many(values)
        assert len(s) == 10
    for wrong in (values, np.ones((2, 2)), np.ones(4)[::2], b"abc"):
        with pytest.raises((TypeError, BufferError, ValueError)):
            heap.slice("int64").append_many(wrong)
    s = heap.slice("int64")
    s.append_many(7, count=3000)
    assert len(s) == 3000 and set(s) == {7}


def test_elements_of_every_kind(heap: gomem.Heap, person: gomem.Type) -> None:
    ada, ben = heap.new(person), heap.new(person)
    ada.name, ada.age, ada.any = "Ada", 36, 1.5
    ada.friends = heap.slice(gomem.pointer(person), [ben, None])
    ben.boss, ben.name = ada, heap.string(b"Ben")
    people = heap.slice(person, [ada, {"name": "Cy", "friends": None, "any": None}])
    heap.gc()
    assert people[0].name == "Ada" and people[0].friends[0] is ben and people[1].boss is None
    people[1].age = 5
    people[1] = ada
    assert people[1].age == 36 and people[1].any == 1.5
    assert people[1].friends.address == ada.friends.address
    with pytest.raises(ValueError, match="Person has not all of the 2 fields"):
        people.append({"name": "x", "height": 3})
    arrays = heap.slice("[3]int8", [[1, 2, 3], (4, 5, 6)])
    assert [list(a) for a in arrays] == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(ValueError, match="not of 2 elements"):
        arrays.append([1, 2])
    empty = heap.make_slice("[0]int", 3)
    assert len(empty) == 3 and len(list(empty)) == 3
    nested = heap.make_slice("[][]string", 1)
    nested[0] = heap.slice("[]string", [heap.slice("string", ["a", "b"])])
    heap.gc()
    assert nested[0][0][1] == "b"


def test_anything(heap: gomem.Heap) -> None:
    node = heap.new(gomem.struct("Plain", x="int"))
    values = [None, True, 0, 255, 256, -1, 2.5, 1j, "", "a", "abc", heap.string("x" * 100), node,
              heap.slice("int", [1]), heap.slice("string")]  # fmt: skip
    s = heap.slice("any", values)
    heap.gc()
    for got, value in zip(s, values):
        if isinstance(value, gomem.Slice):
            assert list(got) == list(value) and got.type is value.type
        else:
            assert got == value and (type(got) is not bool or value is True)
    assert s[12] is node
    for wrong in (object(), b"bytes", [1], 2**70, heap.alloc(8), heap):
        with pytest.raises((TypeError, ValueError)):
            s.append(wrong)
    assert len(s) == len(values)


def test_what_no_element_is(heap: gomem.Heap, person: gomem.Type) -> None:
    other = gomem.Heap(procs=1)
    s, strings, people = heap.slice("int8"), heap.slice("string"), heap.slice(person)
    for slice_, value in [(s, 1.5), (s, "1"), (s, None), (strings, 1), (strings, None),
                          (people, 5), (people, "x"), (people, None), (s, s),
                          (strings, s), (people, heap.new(gomem.struct("P", x="int")))]:  # fmt: skip
        with pytest.raises(TypeError):
            slice_.append(value)
        with pytest.raises(TypeError):
            slice_.extend([value])
    for value in (128, -129, 2**100):
        with pytest.raises(ValueError):
            s.append(1, value)
    with pytest.raises(gomem.InvalidPointerError, match="another heap"):
        strings.append(other.string("hello"))
    with pytest.raises(TypeError):
        s.copy(strings)
    with pytest.raises(TypeError):
        del s[0]
    with pytest.raises(TypeError, match="second bound"):
        s[0::1]
    with pytest.raises(TypeError, match="an index must be an integer"):
        s["0"]
    with pytest.raises(UnicodeEncodeError):
        strings.append("\ud800")
    with pytest.raises(TypeError):
        pickle.dumps(s)
    assert len(s) == len(strings) == len(people) == 0
    other.close()


# --- Strings ---


def test_strings(heap: gomem.Heap) -> None:
    s = heap.string("héllo")
    assert len(s) == 6 and s[1] == 0xC3 and bytes(s) == "héllo".encode()
    assert str(s) == "héllo" and repr(s) == "<gomem.String 'héllo'>"
    part = s[1:3]
    assert part.address == s.address + 1 and part == "é"
    assert s + " world" == "héllo world" and s + heap.string("") == s
    assert (s + "").address == s.address
    assert s == heap.string("héllo") and s != "hello" and hash(s) == hash("héllo")
    assert sorted([heap.string("b"), heap.string("a"), heap.string("ab")]) == ["a", "ab", "b"]
    assert {"héllo": 1}[s] == 1  # type: ignore[index]
    assert bytes(memoryview(s)) == bytes(s) and memoryview(s).readonly
    copy = s.to_slice()
    copy[0] = ord("H")
    assert s == "héllo" and bytes(copy)[:1] == b"H"
    assert heap.string(b"\xff").address == heap.string(b"\xff").address
    assert str(heap.string(b"\xff")) == "\ufffd"
    for wrong in (5, None, ["a"]):
        with pytest.raises(TypeError):
            heap.string(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            s + wrong  # type: ignore[operator]
    with pytest.raises(TypeError):
        "a" + s
    with pytest.raises(TypeError):
        s[0:1:2]


# --- Buffers ---


def test_buffers(heap: gomem.Heap) -> None:
    b = heap.buffer()
    assert (len(b), b.cap, b.read(5)) == (0, 0, b"")
    assert b.write("hello ") == 6 and b.write(heap.string("world")) == 5
    b.write_byte(33)
    assert (b.string(), len(b), b.cap, b.available) == ("hello world!", 12, 64, 52)
    assert b.read_byte() == ord("h")
    b.unread_byte()
    with pytest.raises(ValueError, match="UnreadByte"):
        b.unread_byte()
    shared = b.next(6)
    assert bytes(shared) == b"hello " and bytes(b.bytes()) == b"world!"
    line = b.read_bytes(ord("r"))
    assert bytes(line) == b"wor" and b.read(100) == b"ld!"
    with pytest.raises(EOFError):
        b.read_byte()
    b.write(b"x" * 64)  # over the old contents
    assert bytes(shared) == b"x" * 6 and bytes(line) == b"wor"
    b.truncate(3)
    assert len(b) == 3
    b.reset()
    assert len(b) == 0 and b.cap == 64
    for call, argument in [(b.write, 5), (b.write, None), (b.grow, "1"), (b.next, 1.5)]:
        with pytest.raises(TypeError):
            call(argument)  # type: ignore[operator]
    for call, argument in [(b.write_byte, 256), (b.write_byte, -1), (b.read, -1),
                           (b.read_bytes, 300)]:  # fmt: skip
        with pytest.raises(ValueError):
            call(argument)  # type: ignore[operator]


def test_builders(heap: gomem.Heap) -> None:
    b = heap.builder()
    assert b.string() == "" and (len(b), b.cap) == (0, 0)
    for i in range(100):
        b.write(f"{i},")
    early = b.string()
    b.write("the end")
    assert b.string() == ",".join(map(str, range(100))) + ",the end"
    assert len(early) == 290 and b.string()[:290] == str(early)
    b.reset()
    assert b.string() == "" and b.cap == 0 and early[:4] == "0,1,"


# --- What stays alive ---


def test_what_handles_hold_is_not_collected(heap: gomem.Heap) -> None:
    s = heap.slice("string", [f"string number {i}" for i in range(100)])
    part, one = s[50:51], s[7]
    sub = heap.slice("string", ["a long string to take a part of"])[0][2:6]
    del s
    heap.gc()
    heap.verify()
    assert part[0] == "string number 50" and one == "string number 7" and sub == "long"
    assert list(part[:50])[-1] == "string number 99"  # its whole array
    del part, one, sub
    gc.collect()
    heap.gc()
    assert heap.stats().heap_objects == 0


def test_garbage_while_it_grows() -> None:
    """Pointers move from array to array while the collector marks."""
    with gomem.Heap(procs=2, gogc=5) as heap:
        s = heap.slice("string")
        for i in range(20_000):
            s.append(f"element {i}")
            if i % 4000 == 0:
                heap.gc()
        assert all(s[i] == f"element {i}" for i in range(0, 20_000, 97))
        heap.verify()


def test_threads_append_each_to_their_own() -> None:
    with gomem.Heap(procs=3, gogc=20) as heap:
        done = []

        def work(base: int) -> None:
            s = heap.slice("int64")
            for i in range(20):
                s.append_many(np.arange(base + 1000 * i, base + 1000 * (i + 1)))
            assert np.array_equal(np.asarray(s), np.arange(base, base + 20_000))
            done.append(base)

        threads = [threading.Thread(target=work, args=(10**6 * i,)) for i in range(4)]
        for t in threads:
            t.start()
        while len(done) < 4 and any(t.is_alive() for t in threads):
            heap.gc()
        for t in threads:
            t.join()
        assert len(done) == 4
        heap.verify()


# --- Values are left to the collector ---


def test_objects_with_values_are_guarded(heap: gomem.Heap, person: gomem.Type) -> None:
    plain = heap.alloc(64)
    table = heap.alloc_many([8, 16])
    scan = heap.alloc(16, noscan=False)
    ref = heap.new(person)
    s = heap.slice("string", ["hello"])
    array = heap.lookup(s.address).ref
    assert array is not None
    for what in (ref, ref.address, array, array.address, scan, [ref], [s.address]):
        with pytest.raises(gomem.InvalidPointerError, match="Go values"):
            if isinstance(what, list):
                heap.free_many(what)
            else:
                heap.free(what)
    heap.free(plain)
    heap.free(table.addresses[0].item())
    heap.free_many(table)
    other = gomem.struct("Other", a="unsafe.Pointer", rest="[6]int")
    for thing, type_ in [(ref, other), (heap.new(other), person), (array, other)]:
        with pytest.raises(TypeError, match="Go values"):
            thing.as_type(type_)
    box = heap.new(other)
    for thing in (ref, array):
        with pytest.raises(TypeError, match="Go values"):
            box.a = thing
    assert memoryview(array).readonly and s[0] == "hello"


def test_pointers_that_may_dangle(heap: gomem.Heap) -> None:
    node = gomem.struct("Node", left="*Node", right="*Node", value="int64")
    a, b, c = heap.new(node), heap.new(node), heap.new(node)
    a.left, a.right = b, c
    heap.free(b)
    del b
    s = heap.slice("int", [1])
    assert a.right is c
    del c
    with pytest.raises(gomem.InvalidPointerError, match="may dangle"):
        a.right  # noqa: B018
    with pytest.raises(gomem.InvalidPointerError, match="dangles"):
        a.left  # noqa: B018
    assert list(s) == [1]


# --- No memory, no heap ---


def test_no_memory() -> None:
    with gomem.Heap(procs=1, max_memory=8 << 20) as heap:
        s = heap.slice("int64", [1, 2, 3])
        with pytest.raises(MemoryError):
            s.append_many(1, count=10**7)
        n = len(s)
        assert n > 1000 and s[2] == 3
        with pytest.raises(MemoryError):
            heap.make_slice("int64", 10**7)
        with pytest.raises(MemoryError):
            heap.buffer().grow(1 << 30)
        with pytest.raises(MemoryError):
            heap.string(bytes(1 << 24))
        assert len(s) == n
        del s
        heap.gc()
        kept = [heap.slice("string", [f"garbage is found {i}" * 1000]) for i in range(20)]
        for i in range(2000):  # more than fits, if nothing were collected
            heap.string(f"{i}" * 5000)
        assert kept[3][0][:19] == "garbage is found 3g"
        heap.verify()


def test_a_closed_heap(person: gomem.Type) -> None:
    heap = gomem.Heap(procs=1)
    s, text, b, sb = (
        heap.slice("string", ["abc"]),
        heap.string("abc"),
        heap.buffer(),
        heap.builder(),
    )
    numbers = heap.slice("int", [1])
    heap.close()
    calls: list[Any] = [
        lambda: s[0], lambda: s.append("x"), lambda: s[:1], lambda: list(s), lambda: numbers[0],
        lambda: memoryview(numbers), lambda: numbers.append_many(np.arange(3)), lambda: str(text),
        lambda: text[0], lambda: text[1:], lambda: text + "x", lambda: bytes(text), lambda: b.write("x"),
        lambda: len(b), lambda: b.read(1), lambda: b.bytes(), lambda: sb.write("x"), lambda: sb.string(),
        lambda: len(sb), lambda: heap.slice("int"), lambda: heap.make_slice("int", 3),
        lambda: heap.string("x"), lambda: heap.buffer(), lambda: heap.builder(),
        lambda: heap.make_chan("int"), lambda: numbers.copy(numbers), lambda: numbers.clear(),
        lambda: hash(text), lambda: text == "abc", lambda: memoryview(text), lambda: text.to_slice(),
    ]  # fmt: skip
    for i, call in enumerate(calls):
        with pytest.raises((gomem.HeapClosedError, BufferError)):
            pytest.fail(f"call {i} answered {call()!r}")
    assert (len(s), repr(text), repr(s)[:12]) == (1, "<gomem.String, closed heap>", "<gomem.Slice")


# --- Package slices ---


@pytest.mark.parametrize("elem", ["int64", "string", "any", "*int8"])
def test_edits_are_those_of_a_list(heap: gomem.Heap, elem: str) -> None:
    """While a cycle marks, too: what is moved and cut off is not lost."""
    rng = random.Random(elem)
    ints = [heap.new(gomem.type_of("int8")) for _ in range(20)]

    def value() -> Any:
        n = rng.randrange(1000)
        return {"string": f"text {n}", "*int8": ints[n % 20], "any": f"boxed {n}"}.get(elem, n)

    def plain(s: gomem.Slice) -> list[Any]:
        return [str(bytes(x), "utf8") if isinstance(x, gomem.String) else x for x in s]

    s, model = heap.slice(elem), list[Any]()
    cycle = heap.step_gc()
    for _ in range(400):
        i = rng.randint(0, len(model))
        j = rng.randint(i, min(len(model), i + 9))
        values = [value() for _ in range(rng.randrange(6))]
        op = rng.choice(["insert", "insert", "delete", "replace", "grow", "clip", "clone"])
        if op == "insert":
            s.insert(i, *values)
            model[i:i] = values
        elif op == "delete":
            s.delete(i, j)
            del model[i:j]
        elif op == "replace":
            s.replace(i, j, *values)
            model[i:j] = values
        elif op == "clone":
            old, s = s, s.clone()
            old.clear()
        elif op == "grow":
            s.grow(i)
            assert s.cap >= len(s) + i
        else:
            s.clip()
            assert s.cap == len(s)
        assert plain(s) == model
        if cycle.step() is None:
            cycle = heap.step_gc()
    cycle.finish()
    heap.gc()
    assert plain(s) == model
    heap.verify()


def test_what_is_left_over_is_zero(heap: gomem.Heap) -> None:
    node = heap.new(gomem.array("int64", 4))
    weak = gomem.Weak(node)
    s = heap.slice("*[4]int64", [None, node, None])
    del node
    other = s[:]
    s.delete(1, 3)
    assert len(s) == 1 and list(other) == [None] * 3
    heap.gc()
    assert weak.value() is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s: s.insert(4, 1), gomem.BoundsError, r"out of range \[4:3\]"),
        (lambda s: s.insert(-1, 1), gomem.BoundsError, r"out of range \[-1:\]"),
        (lambda s: s.insert(), TypeError, "takes an index and values"),
        (lambda s: s.insert("a", 1), TypeError, "an index must be an integer"),
        (lambda s: s.insert(0, "a"), TypeError, "an element is of type int64"),
        (lambda s: s.insert(0, 1, 2**80), (ValueError, OverflowError), "1208925819614629174706176"),
        (lambda s: s.delete(2, 1), gomem.BoundsError, r"out of range \[2:1:\]"),
        (lambda s: s.delete(0, 4), gomem.BoundsError, r"out of range \[:4:3\]"),
        (lambda s: s.delete(0), TypeError, "takes two indices"),
        (lambda s: s.delete(0, 1, 2), TypeError, "takes two indices"),
        (lambda s: s.replace(0, 99, 1), gomem.BoundsError, r"\[:99\] with capacity 8"),
        (lambda s: s.replace(0, 5, 1), gomem.BoundsError, r"out of range \[5:3\]"),
        (lambda s: s.replace(0), TypeError, "takes two indices and values"),
        (lambda s: s.grow(-1), gomem.PanicError, "cannot be negative"),
        (lambda s: s.grow(2**62), gomem.PanicError, "growslice: len out of range"),
        (lambda s: s.grow("a"), TypeError, "n must be an integer"),
    ],
)
def test_wrong_edits(heap: gomem.Heap, call: Any, error: Any, message: str) -> None:
    s = heap.make_slice("int64", 3, 8)
    with pytest.raises(error, match=message):
        call(s)
    assert (len(s), s.cap, list(s)) == (3, 8, [0, 0, 0])


def test_edits_with_views(heap: gomem.Heap) -> None:
    s = heap.slice("int64", [1, 2, 3])
    view = memoryview(s)
    with pytest.raises(BufferError, match="views of this one"):
        s.insert(1, 5)
    with pytest.raises(BufferError, match="views of this one"):
        s.grow(50)
    s.delete(0, 1)
    assert list(view) == [2, 3, 0]
    s.insert(1, 7)
    assert list(view) == [2, 7, 3]
