"""Go values against models in Python, while collections come at any moment.

Slices are compared with lists that share their arrays as Go's slices do, maps with dicts, buffers and
builders with bytearrays. The heap is small, so that the collector often works while a rule runs.
"""

from __future__ import annotations

from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

import gomem

SMALL = st.integers(0, 40)
COUNTS = st.one_of(SMALL, st.sampled_from([63, 64, 65, 255, 256, 257, 1000]))
KEYS = st.integers(0, 60) | st.integers(0, 3000)
BYTES = st.binary(max_size=40) | st.integers(0, 3000).map(lambda n: b"abcdefg" * (n // 7))


class Values(RuleBasedStateMachine):
    """A heap in which little memory is enough for a cycle."""

    options: ClassVar[dict[str, Any]] = {"procs": 2, "gogc": 1}

    @initialize()
    def open(self) -> None:
        self.heap = gomem.Heap(**self.options)
        self.garbage = 0

    def teardown(self) -> None:
        if hasattr(self, "heap"):
            self.heap.gc()
            self.heap.verify()
            self.heap.close()

    @rule()
    def collect(self) -> None:
        self.heap.gc()

    @rule(n=st.integers(1, 50))
    def waste(self, n: int) -> None:
        """So much that cycles begin by themselves."""
        for i in range(n):
            self.heap.slice("string", [f"garbage {i}" * 20, "and more"])

    @invariant()
    def sound(self) -> None:
        if hasattr(self, "heap"):
            self.heap.verify()


class Array:
    """A slice variable of the model: a part of a list that others may share."""

    def __init__(self, array: list[Any], low: int, length: int, cap: int) -> None:
        self.array, self.low, self.length, self.cap = array, low, length, cap

    def values(self) -> list[Any]:
        return self.array[self.low : self.low + self.length]


class Slices(Values):
    slices: Bundle[tuple[gomem.Slice, Array]] = Bundle("slices")
    elem: ClassVar[str] = "int64"
    zero: ClassVar[Any] = 0
    value: ClassVar[st.SearchStrategy[Any]] = st.integers(-(2**63), 2**63 - 1)

    def draw(self, data: st.DataObject, n: int) -> list[Any]:
        one = data.draw(st.lists(self.value, min_size=min(n, 3), max_size=min(n, 3)))
        return (one * (n // max(len(one), 1) + 1))[:n]

    @rule(target=slices, n=COUNTS, extra=SMALL)
    def make(self, n: int, extra: int) -> Any:
        s = self.heap.make_slice(self.elem, n, n + extra)
        return s, Array([self.zero] * (n + extra), 0, n, n + extra)

    @rule(target=slices, data=st.data(), n=SMALL)
    def literal(self, data: st.DataObject, n: int) -> Any:
        values = self.draw(data, n)
        return self.heap.slice(self.elem, values), Array(list(values), 0, n, n)

    @rule(target=slices)
    def nil(self) -> Any:
        return self.heap.slice(self.elem), Array([], 0, 0, 0)

    def grown(self, pair: tuple[gomem.Slice, Array], values: list[Any]) -> None:
        s, m = pair
        if m.length + len(values) <= m.cap:
            m.array[m.low + m.length : m.low + m.length + len(values)] = values
            m.length += len(values)
            assert s.cap == m.cap
        else:
            assert s.cap >= m.length + len(values)
            new = m.values() + values
            m.array, m.low, m.length, m.cap = [*new], 0, len(new), s.cap
            m.array += [self.zero] * (m.cap - m.length)
        assert len(s) == m.length

    @rule(pair=slices, data=st.data(), n=COUNTS)
    def append(self, pair: tuple[gomem.Slice, Array], data: st.DataObject, n: int) -> None:
        values = self.draw(data, n)
        pair[0].append(*values)
        self.grown(pair, values)

    @rule(pair=slices, other=slices)
    def extend(self, pair: tuple[gomem.Slice, Array], other: tuple[gomem.Slice, Array]) -> None:
        values = other[1].values()
        if len(values) < 3000:
            pair[0].extend(other[0])
            self.grown(pair, values)

    @rule(target=slices, pair=slices, data=st.data())
    def part(self, pair: tuple[gomem.Slice, Array], data: st.DataObject) -> Any:
        s, m = pair
        high = data.draw(st.integers(0, m.cap))
        low = data.draw(st.integers(0, high))
        if data.draw(st.booleans()):
            top = data.draw(st.integers(high, m.cap))
            return s[low:high:top], Array(m.array, m.low + low, high - low, top - low)
        return s[low:high], Array(m.array, m.low + low, high - low, m.cap - low)

    @rule(pair=slices, data=st.data())
    def store(self, pair: tuple[gomem.Slice, Array], data: st.DataObject) -> None:
        s, m = pair
        if m.length > 0:
            i = data.draw(st.integers(0, m.length - 1))
            s[i] = value = data.draw(self.value)
            m.array[m.low + i] = value
            assert s[i] == value

    @rule(pair=slices, i=st.integers(-3, 50))
    def index(self, pair: tuple[gomem.Slice, Array], i: int) -> None:
        s, m = pair
        if 0 <= i < m.length:
            assert s[i] == m.array[m.low + i]
        else:
            try:
                s[i]
            except gomem.BoundsError as error:
                text = f"[{i}]" if i < 0 else f"[{i}] with length {m.length}"
                assert str(error) == f"runtime error: index out of range {text}"
            else:
                raise AssertionError("no panic")

    @rule(to=slices, source=slices)
    def copy(self, to: tuple[gomem.Slice, Array], source: tuple[gomem.Slice, Array]) -> None:
        values = source[1].values()[: to[1].length]
        assert to[0].copy(source[0]) == len(values)
        to[1].array[to[1].low : to[1].low + len(values)] = values

    @rule(pair=slices)
    def clear(self, pair: tuple[gomem.Slice, Array]) -> None:
        s, m = pair
        s.clear()
        m.array[m.low : m.low + m.length] = [self.zero] * m.length

    @rule(pair=consumes(slices))
    def drop(self, pair: tuple[gomem.Slice, Array]) -> None:
        self.compare(pair)

    @rule(pair=slices)
    def compare(self, pair: tuple[gomem.Slice, Array]) -> None:
        s, m = pair
        assert (len(s), s.cap) == (m.length, m.cap)
        assert list(s) == m.values()
        assert list(s[: m.cap]) == m.array[m.low : m.low + m.cap]


class StringSlices(Slices):
    elem = "string"
    zero = ""
    value = st.text(st.characters(codec="utf-8"), max_size=20)


class AnySlices(Slices):
    elem = "any"
    zero = None
    value = st.none() | st.booleans() | st.integers(-300, 300) | st.text("abc") | st.floats(0, 9)


class Maps(Values):
    """A dict beside each map; and iterations, each with what it must and may show still."""

    key: ClassVar[str] = "string"
    elem: ClassVar[str] = "string"
    zero: ClassVar[Any] = ""
    maps: Bundle[tuple[gomem.Map, dict[Any, Any]]] = Bundle("maps")
    iterations: Bundle[list[Any]] = Bundle("iterations")

    def make_key(self, i: int) -> Any:
        return f"key {i}"

    def make_elem(self, i: int) -> Any:
        return f"element {i}" * (i % 5)

    def plain(self, key: Any) -> Any:
        return str(key)

    @initialize()
    def no_iterations(self) -> None:
        self.live: list[dict[str, Any]] = []

    def changed(self, model: dict[Any, Any], *, gone: Any = None, new: Any = None) -> None:
        for it in self.live:
            if it["model"] is model:
                if gone is not None:
                    it["must"].discard(gone)
                    it["seen"].discard(gone)  # set again it is another entry
                if new is not None:
                    it["may"].add(new)

    @rule(target=maps, hint=st.sampled_from([0, 0, 5, 9, 100, 1000, 3000]))
    def make(self, hint: int) -> Any:
        return self.heap.make_map(self.key, self.elem, hint), {}

    @rule(pair=maps, number=KEYS, e=SMALL)
    def store(self, pair: Any, number: int, e: int) -> None:
        m, model = pair
        key, elem = self.make_key(number), self.make_elem(e)
        m[key] = model[key] = elem
        self.changed(model, new=key)

    @rule(pair=maps, first=KEYS, n=COUNTS, e=SMALL)
    def store_many(self, pair: Any, first: int, n: int, e: int) -> None:
        m, model = pair
        elem = self.make_elem(e)
        for i in range(first, first + n):
            key = self.make_key(i)
            m[key] = model[key] = elem
            self.changed(model, new=key)

    @rule(pair=maps, number=KEYS)
    def look_up(self, pair: Any, number: int) -> None:
        m, model = pair
        key = self.make_key(number)
        assert (key in m) == (key in model)
        assert m.get(key) == model.get(key, self.zero)

    @rule(pair=maps, number=KEYS)
    def delete(self, pair: Any, number: int) -> None:
        m, model = pair
        key = self.make_key(number)
        m.delete(key)
        model.pop(key, None)
        self.changed(model, gone=key)

    @rule(pair=maps, keep=st.integers(1, 9))
    def delete_many(self, pair: Any, keep: int) -> None:
        m, model = pair
        for i, key in enumerate(list(model)):
            if i % keep:
                del m[key], model[key]
                self.changed(model, gone=key)

    @rule(pair=maps)
    def clear(self, pair: Any) -> None:
        m, model = pair
        m.clear()
        for key in model:
            self.changed(model, gone=key)
        model.clear()

    @rule(target=iterations, pair=maps)
    def iterate(self, pair: Any) -> Any:
        m, model = pair
        self.live.append({"it": iter(m.items()), "model": model, "must": set(model),
                          "may": set(model), "seen": set(), "over": False})  # fmt: skip
        return multiple(self.live[-1])

    @rule(it=iterations, n=COUNTS)
    def go_on(self, it: dict[str, Any], n: int) -> None:
        for _ in range(n):
            pair = next(it["it"], None)
            if pair is None:
                assert not it["must"] - it["seen"], "entries were left out"
                it["over"] = True
                break
            key = self.plain(pair[0])
            assert key not in it["seen"], "an entry came twice"
            assert key in it["may"] and it["model"].get(key, self) == pair[1]
            it["seen"].add(key)

    @rule(it=consumes(iterations))
    def stop(self, it: dict[str, Any]) -> None:
        self.live.remove(it)

    @rule(pair=maps)
    def compare(self, pair: Any) -> None:
        m, model = pair
        m._verify()
        assert len(m) == len(model)
        assert {self.plain(k): v for k, v in m.items()} == model

    @rule(pair=consumes(maps))
    def drop(self, pair: Any) -> None:
        self.compare(pair)


class NumberMaps(Maps):
    key = "int64"
    elem = "[20]int64"  # an object of its own
    zero = [0] * 20

    def make_key(self, i: int) -> Any:
        return i

    def make_elem(self, i: int) -> Any:
        return [i] * 20

    def plain(self, key: Any) -> Any:
        return key


class Buffers(Values):
    buffers: Bundle[tuple[gomem.Buffer, bytearray]] = Bundle("buffers")
    builders: Bundle[tuple[gomem.Builder, bytearray]] = Bundle("builders")
    strings: Bundle[tuple[gomem.String, bytes]] = Bundle("strings")

    @rule(target=buffers)
    def make_buffer(self) -> Any:
        return self.heap.buffer(), bytearray()

    @rule(target=builders)
    def make_builder(self) -> Any:
        return self.heap.builder(), bytearray()

    @rule(target=strings, data=BYTES)
    def make_string(self, data: bytes) -> Any:
        return self.heap.string(data), data

    @rule(pair=st.one_of(buffers, builders), data=BYTES)
    def write(self, pair: Any, data: bytes) -> None:
        assert pair[0].write(data) == len(data)
        pair[1].extend(data)
        assert len(pair[0]) == len(pair[1])

    @rule(pair=st.one_of(buffers, builders), s=strings)
    def write_string(self, pair: Any, s: Any) -> None:
        pair[0].write(s[0])
        pair[1].extend(s[1])

    @rule(pair=st.one_of(buffers, builders), byte=st.integers(0, 255))
    def write_byte(self, pair: Any, byte: int) -> None:
        pair[0].write_byte(byte)
        pair[1].append(byte)

    @rule(pair=st.one_of(buffers, builders), n=COUNTS)
    def grow(self, pair: Any, n: int) -> None:
        pair[0].grow(n)
        assert pair[0].cap >= len(pair[1]) + n

    @rule(pair=st.one_of(buffers, builders))
    def reset(self, pair: Any) -> None:
        pair[0].reset()
        pair[1].clear()

    @rule(pair=buffers, n=COUNTS, how=st.sampled_from(["read", "next"]))
    def read(self, pair: Any, n: int, how: str) -> None:
        assert bytes(getattr(pair[0], how)(n)) == pair[1][:n]
        del pair[1][:n]

    @rule(pair=buffers, delimiter=st.sampled_from(b"adg\0"))
    def read_line(self, pair: Any, delimiter: int) -> None:
        at = pair[1].find(delimiter)
        n = len(pair[1]) if at < 0 else at + 1
        assert bytes(pair[0].read_bytes(delimiter)) == pair[1][:n]
        del pair[1][:n]

    @rule(pair=buffers)
    def read_and_unread(self, pair: Any) -> None:
        if pair[1]:
            assert pair[0].read_byte() == pair[1][0]
            pair[0].unread_byte()

    @rule(pair=buffers, n=COUNTS)
    def truncate(self, pair: Any, n: int) -> None:
        if n <= len(pair[1]):
            pair[0].truncate(n)
            del pair[1][n:]

    @rule(target=strings, pair=st.one_of(buffers, builders))
    def string(self, pair: Any) -> Any:
        return pair[0].string(), bytes(pair[1])

    @rule(target=strings, a=strings, b=strings)
    def concat(self, a: Any, b: Any) -> Any:
        return (a[0] + b[0], a[1] + b[1]) if len(a[1]) + len(b[1]) < 10_000 else a

    @rule(target=strings, s=strings, data=st.data())
    def part(self, s: Any, data: st.DataObject) -> Any:
        high = data.draw(st.integers(0, len(s[1])))
        low = data.draw(st.integers(0, high))
        return s[0][low:high], s[1][low:high]

    @rule(s=strings)
    def compare(self, s: Any) -> None:
        assert bytes(s[0]) == s[1] and len(s[0]) == len(s[1])

    @rule(pair=buffers)
    def compare_buffer(self, pair: Any) -> None:
        assert bytes(pair[0].bytes()) == pair[1]

    @rule(s=consumes(strings))
    def drop_string(self, s: Any) -> None:
        self.compare(s)


class LittleMemorySlices(StringSlices):
    """Garbage has to be found, or there is no memory."""

    options = {"procs": 1, "gogc": 400, "max_memory": 32 << 20}


TestSlices = Slices.TestCase
TestStringSlices = StringSlices.TestCase
TestAnySlices = AnySlices.TestCase
TestLittleMemorySlices = LittleMemorySlices.TestCase
TestMaps = Maps.TestCase
TestNumberMaps = NumberMaps.TestCase
TestBuffers = Buffers.TestCase
