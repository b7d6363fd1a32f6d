"""Maps: what they hold, iterations over maps that change, threads, and everything that is refused."""

from __future__ import annotations

import contextlib
import gc
import math
import threading
import time
from typing import Any

import numpy as np
import pytest

import gomem
from gomem.testing import os_refuses


def test_as_a_dict(heap: gomem.Heap) -> None:
    m = heap.make_map("string", "int")
    assert len(m) == 0 and "a" not in m and list(m) == []
    for i in range(3000):
        m[f"key {i}"] = i
    m._verify()
    assert len(m) == 3000 and m["key 77"] == 77 and "key 2999" in m and "key 3000" not in m
    assert m[heap.string("key 5")] == 5 and m[b"key 6"] == 6
    m["key 77"] = -1
    assert m["key 77"] == -1 and len(m) == 3000
    del m["key 77"]
    with pytest.raises(KeyError, match="key 77"):
        m["key 77"]
    with pytest.raises(KeyError):
        del m["key 77"]
    m.delete("key 77")
    assert m.get("key 77") == 0 and m.get("key 77", None) is None and m.get("key 78", 5) == 78
    assert {str(k): v for k, v in m.items()} == {f"key {i}": i for i in range(3000) if i != 77}
    assert sorted(m.values()) == [i for i in range(3000) if i != 77]
    assert sorted(map(str, m.keys())) == sorted(map(str, m))
    m.clear()
    m._verify()
    assert len(m) == 0 and list(m.items()) == [] and m.get("key 1") == 0
    assert m.type.key is gomem.type_of("string") and m.type.name == "map[string]int64"


def test_keys_of_every_kind(heap: gomem.Heap) -> None:
    pair = gomem.struct("Pair", a="int8", b="string")
    node = gomem.struct("Node", x="int")
    nodes = [heap.new(node) for _ in range(50)]
    cases: list[tuple[Any, list[Any]]] = [
        ("bool", [True, False]), ("int8", list(range(-128, 128))), ("uint64", [2**64 - 1, 0]),
        ("float32", [0.5 * i for i in range(60)]), ("float64", [math.pi * i for i in range(60)]),
        ("complex64", [complex(i, -i) for i in range(30)]),
        ("complex128", [complex(i, 1) for i in range(30)]),
        (gomem.pointer(node), nodes), ("string", ["", "a", "b" * 300]),
        ("[2]string", [["a", "b"], ["ab", ""], ["", "ab"]]),
        (pair, [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"a": 1, "b": "y"}]),
        ("[3]int8", [[1, 2, 3], [3, 2, 1]]), ("[150]uint8", [[i] * 150 for i in range(40)]),
        ("any", [1, 1.0, "1", True, None, 1j, "x" * 100, *nodes[:5], 2.5, -7, 10**9]),
        ("[2]any", [[1, "a"], [1, 2], ["a", 1], [None, None]]),
    ]  # fmt: skip
    for key, values in cases:
        m = heap.make_map(key, "int")
        for i, value in enumerate(values):
            m[value] = i
            heap.gc() if i == 10 else None
        m._verify()
        assert len(m) == len(values), key
        assert [m[value] for value in values] == list(range(len(values))), key
        assert sorted(m.values()) == list(range(len(values)))
        for value in values[::2]:
            del m[value]
        m._verify()
        assert [value in m for value in values] == [i % 2 == 1 for i in range(len(values))], key


def test_elements_of_every_kind(heap: gomem.Heap) -> None:
    big = gomem.struct("Big", numbers="[16]int", text="string", inner="map[string]int")
    m = heap.make_map("int", big)
    inner = heap.make_map("string", "int")
    inner["x"] = 5
    for i in range(20):
        m[i] = {"numbers": [i] * 16, "text": f"text {i}", "inner": inner}
        heap.gc()
    assert m[7]["text"] == "text 7" and m[7]["inner"]["x"] == 5 and m[7]["numbers"][15] == 7
    m[7]["numbers"][0] = 99  # a copy, as in Go
    assert m[7]["numbers"][0] == 7
    ref = heap.new(big)
    ref.text, ref.inner = "of a Ref", None
    m[7] = ref
    assert m[7]["text"] == "of a Ref" and m[7]["inner"].is_nil
    assert m.get(1000)["text"] == "" and m.get(1000)["numbers"] == [0] * 16
    sets = heap.make_map("int", gomem.struct("Empty"))
    sets[1] = {}
    assert 1 in sets and sets[1] == {}
    maps = heap.make_map("string", "map[string][]any")
    maps["a"] = heap.make_map("string", "[]any")
    maps["a"]["b"] = heap.slice("any", [1, "two", None])
    heap.gc()
    assert [x for x in maps["a"]["b"]] == [1, "two", None]


def test_floats_as_in_go(heap: gomem.Heap) -> None:
    m = heap.make_map("float64", "int")
    m[0.0] = 1
    m[-0.0] = 2
    assert len(m) == 1 and m[0.0] == 2
    assert math.copysign(1, next(iter(m))) == -1  # the key is the last one
    for _ in range(100):
        m[math.nan] = 7  # each is an entry of its own
    assert len(m) == 101 and math.nan not in m
    m.delete(math.nan)
    assert len(m) == 101 and sum(math.isnan(k) for k in m) == 100
    m._verify()
    m.clear()
    assert len(m) == 0 and list(m) == []


def test_the_nil_map(heap: gomem.Heap) -> None:
    m = heap.nil_map("int", "string")
    assert m.is_nil and len(m) == 0 and m.address == 0 and 5 not in m and m.get(5) == ""
    assert list(m) == list(m.items()) == []
    m.delete(5)
    m.clear()
    with pytest.raises(gomem.PanicError, match="^assignment to entry in nil map$"):
        m[5] = "x"
    with pytest.raises(gomem.PanicError, match="nil map"):
        m.set_many([1][:0] or np.array([1]))
    assert not heap.make_map("int", "string").is_nil


# --- Iterating while the map changes ---


def test_entries_that_stay_come_once(heap: gomem.Heap) -> None:
    """The map grows from one group to many tables while an iteration is under way."""
    for start in (3, 8, 9, 100, 1000, 2500):
        m = heap.make_map("int", "int")
        for i in range(start):
            m[i] = i
        seen = []
        for at, (key, value) in enumerate(m.items()):
            seen.append(key)
            assert value == key
            for i in range(40):
                m[10**6 + at * 40 + i] = 10**6 + at * 40 + i
            if at >= start:  # new entries may come, or not; enough of them
                break
        old = [k for k in seen if k < 10**6]
        assert len(set(seen)) == len(seen)
        if len(seen) < start:
            assert sorted(old) == list(range(start))
        m._verify()


def test_iteration_to_the_end_of_a_growing_map(heap: gomem.Heap) -> None:
    m = heap.make_map("int", "int")
    for i in range(700):
        m[i] = i
    seen, new = [], 10**6
    for key in m:
        seen.append(key)
        if new < 10**6 + 3000:
            for _ in range(10):
                m[new] = new
                new += 1
    assert len(set(seen)) == len(seen)
    assert set(range(700)) <= set(seen)


def test_deleted_entries_do_not_come(heap: gomem.Heap) -> None:
    for n in (8, 100, 3000):
        m = heap.make_map("int", "string")
        for i in range(n):
            m[i] = f"{i}"
        seen = []
        for key in m:
            seen.append(key)
            other = (key + 1) % n
            m.delete(other)
            if len(m) < n // 2:
                for i in range(n, 2 * n):  # make it grow
                    m[i] = "new"
            assert other not in seen[-1:] or n == 1
        gone = set(range(n)) - set(seen)
        assert all(key not in m for key in gone)
        m._verify()


def test_values_are_current(heap: gomem.Heap) -> None:
    m = heap.make_map("int", "int")
    for i in range(900):
        m[i] = 0
    late = set()
    for done, (key, value) in enumerate(m.items()):
        if done == 0:
            for i in range(900, 3000):
                m[i] = 1
            for i in range(900):  # only now, in the tables that have replaced the first ones
                m[i] = 1
            for i in range(0, 900, 3):
                m.delete(i)
        else:
            assert value == 1
            late.add(key)
    assert not late & set(range(0, 900, 3))
    it = iter(m)
    next(it)
    m.clear()
    assert list(it) == []
    m[5] = 5
    assert list(it) in ([], [5])


def test_iterations_begin_anywhere(heap: gomem.Heap) -> None:
    m = heap.make_map("int", "int")
    for i in range(8):
        m[i] = i
    assert len({tuple(m) for _ in range(100)}) > 3
    assert all(sorted(m) == list(range(8)) for _ in range(10))


def test_iterators_keep_what_they_need(heap: gomem.Heap) -> None:
    m = heap.make_map("string", "string")
    for i in range(1000):
        m[f"key {i}"] = f"value {i}"
    it = iter(m.items())
    first = next(it)
    for i in range(1000, 4000):
        m[f"key {i}"] = f"value {i}"
    old = {f"key {i}" for i in range(1000)} - {str(first[0])}
    del m
    gc.collect()
    heap.gc()
    for key, value in it:
        assert str(value)[6:] == str(key)[4:]
        old.discard(str(key))
    assert not old
    del it, key, value, first
    gc.collect()
    heap.gc()
    assert heap.stats().heap_objects == 0


# --- Arrays ---


def test_arrays(heap: gomem.Heap) -> None:
    m = heap.make_map("int32", "float64", 1000)
    keys = np.arange(5000, dtype="i4")
    m.set_many(keys, keys / 4)
    elems, found = m.get_many(np.array([7, 4999, 5000, -1], dtype="i4"))
    assert elems.tolist() == [1.75, 1249.75, 0, 0] and found.tolist() == [True, True, False, False]
    k, e = m.arrays()
    assert k.dtype == np.int32 and e.dtype == np.float64
    assert sorted(k) == keys.tolist() and np.array_equal(k / 4, e)
    names = heap.make_map("string", "int")
    names.set_many(heap.slice("string", ["a", "b", "a"]), heap.slice("int", [1, 2, 3]))
    assert names["a"] == 3 and names["b"] == 2 and len(names) == 2
    elems, found = names.get_many(heap.slice("string", ["b", "x"]))
    assert elems.tolist() == [2, 0] and found.tolist() == [True, False]
    names.set_many(heap.slice("string", ["z"]))
    assert names["z"] == 0
    with pytest.raises(ValueError, match="there are 2 keys and 1 elems"):
        m.set_many(keys[:2], [1.0][:0] or np.array([1.0]))
    for bad in (keys.astype("i8"), keys.reshape(2, -1), 5, ["a"], heap.slice("int", [1])):
        with pytest.raises((TypeError, BufferError)):
            m.set_many(bad)
    with pytest.raises(TypeError, match="keys of type string make no array"):
        names.arrays()
    with pytest.raises(TypeError, match="make no array"):
        heap.make_map("int", "string").get_many(np.arange(3))
    m._verify()


# --- Refused ---


def test_what_no_key_is(heap: gomem.Heap) -> None:
    for key in ("[]int", "map[int]int", "[2][]int", gomem.struct("S", s="[]int")):
        with pytest.raises(ValueError, match="invalid map key type"):
            heap.make_map(key, "int")
    m = heap.make_map("int8", "string")
    for key, error in [("a", TypeError), (1.0, TypeError), (None, TypeError), (200, ValueError)]:
        for call in (lambda k: m[k], lambda k: k in m, lambda k: m.__setitem__(k, "x"),
                     lambda k: m.__delitem__(k), m.delete, m.get):  # fmt: skip
            with pytest.raises(error):
                call(key)
    for value in (5, None, b"bytes", [1]):
        if value != b"bytes":
            with pytest.raises(TypeError):
                m[1] = value
    other = gomem.Heap(procs=1)
    with pytest.raises(gomem.InvalidPointerError):
        m[1] = other.string("hello")
    assert len(m) == 0
    for args in ((5, "int"), ("int", None), ("int", "int", "x"), ("int", "nonsense")):
        with pytest.raises((TypeError, ValueError)):
            heap.make_map(*args)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        hash(m[...])  # type: ignore[index]
    other.close()


def test_hints(heap: gomem.Heap) -> None:
    for hint in (-5, 0, 8, 9, 10**5, 2**62, 2**100):
        m = heap.make_map("int", "int", hint)
        m[1] = 2
        assert m[1] == 2
    with pytest.raises(MemoryError), gomem.Heap(procs=1, max_memory=8 << 20) as small:
        small.make_map("int", "int", 10**7)


def test_no_memory() -> None:
    with gomem.Heap(procs=1, max_memory=6 << 20) as heap:
        m = heap.make_map("int", "[20]int")
        n = 0
        with pytest.raises(MemoryError):
            for n in range(10**6):
                m[n] = [n] * 20
        m._verify()
        heap.verify()
        assert len(m) == n and m[n - 1] == [n - 1] * 20 and n not in m
        for i in range(0, n, 2):
            del m[i]
        heap.gc()
        m[5] = [5] * 20
        m._verify()


def test_a_closed_heap() -> None:
    heap = gomem.Heap(procs=1)
    m = heap.make_map("int", "any")
    m[1] = 1
    it = iter(m)
    heap.close()
    for call in (lambda: m[1], lambda: m.__setitem__(1, 2), lambda: 1 in m, lambda: len(m),
                 lambda: next(it), lambda: list(m), lambda: m.clear(), lambda: m.delete(1),
                 lambda: m.set_many(np.arange(3)), lambda: m._verify(),
                 lambda: heap.make_map("int", "int")):  # fmt: skip
        with pytest.raises(gomem.HeapClosedError):
            call()
    assert "closed heap" in repr(m)


# --- Threads ---


def test_concurrent_writes_are_told() -> None:
    with gomem.Heap(procs=3) as heap:
        m = heap.make_map("int", "int")
        keys = np.arange(3_000_000)
        texts: set[str] = set()
        written: list[bool] = []

        def write() -> None:
            while not written:
                with contextlib.suppress(gomem.FatalError):
                    m.set_many(keys, keys)
                    written.append(True)

        t = threading.Thread(target=write)
        t.start()
        while t.is_alive() and len(texts) < 3:
            for call in (lambda: m.__setitem__(-1, 1), lambda: m[5], lambda: next(iter(m.items())),
                         lambda: m.set_many(keys[:10]), lambda: m.clear()):  # fmt: skip
                try:
                    call()
                except gomem.FatalError as error:
                    texts.add(str(error))
                except (KeyError, StopIteration):
                    pass
            if not texts:
                time.sleep(0.0005)
        t.join()
        assert texts == {
            "concurrent map writes",
            "concurrent map read and map write",
            "concurrent map iteration and map write",
        }
        m._verify()
        heap.verify()


def test_a_write_while_others_read() -> None:
    with gomem.Heap(procs=3) as heap:
        m = heap.make_map("int", "int")
        m.set_many(np.arange(1000))
        keys = np.arange(3_000_000) % 2000
        seen: list[int] = []

        def read() -> None:
            while not seen:
                with contextlib.suppress(gomem.FatalError):  # a write was under way
                    seen.append(m.get_many(keys)[1].sum())

        t = threading.Thread(target=read)
        t.start()
        refused = 0
        while t.is_alive():
            try:
                m[7] = 1
            except gomem.FatalError as error:
                assert str(error) == "concurrent map read and map write"
                refused += 1
            assert m[8] == 0  # readers do not mind each other
        t.join()
        assert seen == [1_500_000] and refused > 0
        m[7] = 2
        assert m[7] == 2


def test_maps_of_threads_while_the_collector_runs() -> None:
    with gomem.Heap(procs=3, gogc=10) as heap:
        failed = []

        def work(seed: int) -> None:
            m, model = heap.make_map("string", "any"), {}
            for i in range(2000):
                key = f"{seed} {i * 7919 % 500}"
                if i % 3 == 0:
                    m.delete(key)
                    model.pop(key, None)
                else:
                    m[key] = model[key] = f"value {i}" if i % 2 else i
            if {str(k): v for k, v in m.items()} != model:
                failed.append(seed)
            m._verify()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            heap.gc()
        assert not failed
        heap.verify()


# --- Package maps ---


@pytest.mark.parametrize("n", [0, 5, 8, 9, 200, 5000])
def test_clones_are_maps_of_their_own(heap: gomem.Heap, n: int) -> None:
    m = heap.make_map("int", "any")
    for i in range(n):
        m[i] = f"text {i}"
    with heap.step_gc() as cycle:
        cycle.next_phase()
        copy = m.clone()
        for i in range(0, n, 2):
            m[i] = None
        m[-1] = 1
        del m[-1]
    heap.gc()
    assert len(copy) == n and all(str(copy[i]) for i in range(n))
    assert all(bytes(copy[i]) == f"text {i}".encode() for i in range(n))
    for i in range(n, 2 * n + 10):
        copy[i] = i
    assert len(m) == n and len(copy) == 2 * n + 10
    m._verify()
    copy._verify()


def test_clone_of_nil(heap: gomem.Heap) -> None:
    assert heap.nil_map("int", "int").clone().is_nil


def test_large_entries_are_cloned(heap: gomem.Heap) -> None:
    """They are objects, which the two do not share."""
    m = heap.make_map("int", "[20]int64")
    m[1] = list(range(20))
    copy = m.clone()
    m[1] = [0] * 20
    assert list(copy[1]) == list(range(20))


def test_copy(heap: gomem.Heap) -> None:
    a, b = heap.make_map("string", "int"), heap.make_map("string", "int")
    for i in range(3000):
        a[f"key {i}"] = i
        b[f"key {i + 1500}"] = -i
    b.copy(a)
    assert len(b) == 4500 and all(b[f"key {i}"] == i for i in range(3000))
    b.copy(b)
    b.copy(heap.nil_map("string", "int"))
    assert len(b) == 4500
    nil = heap.nil_map("string", "int")
    nil.copy(heap.make_map("string", "int"))
    with pytest.raises(gomem.PanicError, match="assignment to entry in nil map"):
        nil.copy(a)
    with pytest.raises(TypeError, match=r"of type map\[int64\]int64 cannot be copied"):
        a.copy(heap.make_map("int", "int"))
    with pytest.raises(TypeError, match="from another, not from dict"):
        a.copy({})  # type: ignore[arg-type]
    with gomem.Heap(procs=1) as other, pytest.raises(gomem.InvalidPointerError):
        a.copy(other.make_map("string", "int"))
    a._verify()
    b._verify()


def test_delete_func(heap: gomem.Heap) -> None:
    m = heap.make_map("int", "string")
    for i in range(2000):
        m[i] = f"text {i}"
    m.delete_func(lambda key, elem: key % 3 == 0 or bytes(elem) == b"text 1")
    assert sorted(m) == [i for i in range(2000) if i % 3 and i != 1]
    with pytest.raises(ZeroDivisionError):
        m.delete_func(lambda key, elem: 1 // 0)
    with pytest.raises(TypeError, match="takes a function, not int"):
        m.delete_func(5)  # type: ignore[arg-type]
    m.delete_func(lambda key, elem: m.clear())
    assert len(m) == 0
    heap.nil_map("int", "int").delete_func(lambda key, elem: True)
    m._verify()


def test_clones_without_memory() -> None:
    with gomem.Heap(procs=1, gogc="off") as heap:
        m = heap.make_map("int", "int")
        m.set_many(np.arange(20_000), np.arange(20_000))
        with os_refuses(heap), pytest.raises(MemoryError):
            for _ in range(100):
                m.clone().copy(m)
        heap.verify()
        copy = m.clone()
        copy._verify()
        assert len(copy) == 20_000
