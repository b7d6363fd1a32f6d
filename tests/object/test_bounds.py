"""Indexes and counts that are out of range are Go's panics, with what was given in the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gomem


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (3, "[3] with length 3"),
        (-1, "[-1]"),
        (2**63 - 1, "[9223372036854775807] with length 3"),
        (2**64, "[18446744073709551616] with length 3"),
        (-(2**70), "[-1180591620717411303424]"),
        pytest.param(1 << 20000, "[an integer of 20001 bits] with length 3", id="huge"),
    ],
)
def test_indexes(heap: gomem.Heap, index: int, text: str) -> None:
    array = heap.new(gomem.array("int", 3))
    s = heap.slice("int", [1, 2, 3])
    string = heap.string("abc")
    calls: list[Callable[[], Any]] = [
        lambda: array[index], lambda: s[index], lambda: string[index],
        lambda: array.__setitem__(index, 1), lambda: s.__setitem__(index, 1),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(gomem.BoundsError) as caught:
            call()
        assert str(caught.value) == f"runtime error: index out of range {text}"
        assert isinstance(caught.value, (gomem.PanicError, IndexError))
    assert list(array) == [0, 0, 0] and list(s) == [1, 2, 3]


@pytest.mark.parametrize(
    ("read", "n", "text"),
    [
        (0, -1, "[:-1]"),
        (648, -1, "[648:647]"),
        (648, -648, "[648:0]"),
        (648, -649, "[:-1]"),
        (648, -(2**63), "[:-9223372036854775160]"),
    ],
)
def test_bytes_before_the_next(heap: gomem.Heap, read: int, n: int, text: str) -> None:
    b = heap.buffer()
    b.write(b"x" * 700)
    b.read(read)
    for call in (b.next, b.peek):
        with pytest.raises(gomem.BoundsError) as caught:
            call(n)
        assert str(caught.value) == f"runtime error: slice bounds out of range {text}"
    assert len(b) == 700 - read


def test_a_missing_key_that_is_a_tuple_is_named(heap: gomem.Heap) -> None:
    m = heap.make_map(gomem.array("int", 2), "int")
    for call in (lambda: m[(1, 2)], lambda: m.__delitem__((1, 2))):
        with pytest.raises(KeyError) as caught:
            call()
        assert caught.value.args == ((1, 2),)
