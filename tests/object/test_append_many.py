"""Many appends in one call: what they take, what they refuse at once, and what ends them."""

from __future__ import annotations

import signal
import time
from typing import Any

import numpy as np
import pytest

import gomem


@pytest.mark.parametrize("count", [2**62, 2**63, 10**30, 2**45])
def test_a_length_no_array_can_have_is_refused_at_once(heap: gomem.Heap, count: int) -> None:
    s = heap.slice("int64", [5])
    before = heap.stats().mallocs
    with pytest.raises(gomem.PanicError, match="growslice: len out of range"):
        s.append_many(1, count=count)
    assert list(s) == [5] and heap.stats().mallocs == before


def test_elements_of_no_size_take_no_time(heap: gomem.Heap) -> None:
    s = heap.slice(gomem.struct("Empty"))
    s.append_many({}, count=2**62)
    assert (len(s), s.cap) == (2**62, 2**62)
    with pytest.raises(gomem.PanicError, match="growslice: len out of range"):
        s.append_many({}, count=2**62)
    assert len(s) == 2**62


class Interrupted(Exception):
    pass


def test_a_signal_ends_it() -> None:
    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with gomem.Heap(procs=1, max_memory="512MiB") as heap:
            s = heap.slice("uint8", [7])
            start = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                s.append_many(9, count=10**10)
            assert time.monotonic() - start < 10
            assert 1 < len(s) < 10**10 and s[0] == 7 and s[len(s) - 1] == 9
            heap.verify()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_handler_that_closes_the_heap_or_looks_at_the_slice() -> None:
    heap = gomem.Heap(procs=1, max_memory="512MiB")
    s = heap.slice("uint8", [7])
    views: list[Any] = []

    def look(number: int, frame: Any) -> None:
        views.append(memoryview(s))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        signal.signal(signal.SIGALRM, interrupt)

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted

    def close(number: int, frame: Any) -> None:
        heap.close()

    before = signal.signal(signal.SIGALRM, look)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Interrupted):
            s.append_many(9, count=10**10)
        assert list(s) == [7]  # there is a view of it: it stays as it is
        views.clear()
        signal.signal(signal.SIGALRM, close)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(gomem.HeapClosedError):
            s.append_many(9, count=10**10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_lists(heap: gomem.Heap) -> None:
    s = heap.slice("int")
    s.append_many([1, 2])
    s.append_many((3,))
    s.append_many([])
    s.append_many(list(range(4, 1000)))
    assert list(s) == list(range(1, 1000))
    words = heap.slice("string")
    words.append_many(["a", "b" * 100])
    m = heap.make_map("int", "string")
    m.set_many([1, 2], ["one", "two"])
    m.set_many(np.array([3]))
    heap.gc()
    assert list(words) == ["a", "b" * 100]
    assert {k: str(v) for k, v in m.items()} == {1: "one", 2: "two", 3: ""}
    numbers = heap.make_map("int", "int")
    numbers.set_many([5, 6], [50, 60])
    values, found = numbers.get_many([6, 7])
    assert values.tolist() == [60, 0] and found.tolist() == [True, False]
    with pytest.raises(TypeError, match="an element is of type int64"):
        s.append_many([1, "2"])
    with pytest.raises(ValueError, match="2 keys and 1 elems"):
        numbers.set_many([1, 2], [3])
    assert len(s) == 999 and len(numbers) == 2


@pytest.mark.parametrize("wrong", [None, 5, {1: 2}, "12", 1.5])
def test_what_is_no_array_is_named(heap: gomem.Heap, wrong: Any) -> None:
    kind = type(wrong).__name__
    with pytest.raises(TypeError, match=f"values must be a Slice, a list or .* not {kind}"):
        heap.slice("int").append_many(wrong)
    with pytest.raises(TypeError, match=f"keys must be a Slice, a list or .* not {kind}"):
        heap.make_map("int", "int").set_many(wrong)
