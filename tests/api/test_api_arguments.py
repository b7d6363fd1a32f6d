"""Arguments that are not what they should be are refused, and named, at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gomem

HISTOGRAM = gomem.Float64Histogram((1, 2), (0.0, 1.0, 2.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gomem.SizeClasses(classes=5), r"classes must be a sequence of pairs .* not int"),  # type: ignore[arg-type]
        (lambda: gomem.SizeClasses(classes="ab"), r"classes must be a sequence of pairs .* not str"),  # type: ignore[arg-type]
        (lambda: gomem.SizeClasses(classes=[(8, 1), 5]), "what is at index 1 is no pair"),  # type: ignore[list-item]
        (lambda: HISTOGRAM.quantile("a"), "q must be a number, not str"),  # type: ignore[arg-type]
        (lambda: HISTOGRAM.quantile(None), "q must be a number, not NoneType"),  # type: ignore[arg-type]
        (lambda: gomem.allocs_per_run(1), "fn must be a function, not int"),  # type: ignore[arg-type]
        (lambda: gomem.benchmem(len, name=5), "name must be a string, not int"),  # type: ignore[arg-type]
        (lambda: gomem.Heap(finalizer_thread="no"), "finalizer_thread must be True or False, not str"),  # type: ignore[arg-type]
        (lambda: gomem.Heap(madvdontneed="x"), "madvdontneed must be True or False, not str"),  # type: ignore[arg-type]
        (lambda: gomem.Heap(madvdontneed=None), "madvdontneed must be True or False, not None"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_is_of_the_wrong_type(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_classes_that_are_no_pairs() -> None:
    for wrong in ("a", (16, 1, 2)):
        with pytest.raises(ValueError, match="what is at index 1 is no pair"):
            gomem.SizeClasses(classes=[(8, 1), wrong])  # type: ignore[list-item]


def test_numpys_bools_are_bools() -> None:
    with gomem.Heap(procs=1, madvdontneed=np.False_, finalizer_thread=np.True_):  # type: ignore[arg-type]
        pass


def test_a_field_is_given_once() -> None:
    with pytest.raises(ValueError, match="field a is given twice"):
        gomem.struct("A", {"a": "int", "b": "int"}, a="int")
    assert tuple(gomem.struct("A", {"b": "int"}, a="int").fields) == ("b", "a")


def test_colors_of_what_is_no_address(heap: gomem.Heap) -> None:
    ref, other = heap.alloc(100), gomem.Heap(procs=1)
    foreign = other.alloc(100)
    colors = heap.colors()
    assert colors[ref] == colors[ref.address + 50] == colors[np.uint64(ref.address)] == "white"
    for wrong in (1.5, None, "x"):
        with pytest.raises(TypeError, match="a key must be an address or a Ref"):
            colors[wrong]  # type: ignore[index]
        assert wrong not in colors
    with pytest.raises(gomem.InvalidPointerError, match="another heap"):
        colors[foreign]
    assert foreign not in colors and ref in colors
    with pytest.raises(KeyError):
        colors[5]
    other.close()


class Method:
    def takes_none(self) -> None: ...

    def takes_one(self, ref: Any) -> None: ...


def wrapped(*args: Any) -> None: ...


def declared(*args: Any) -> None: ...


functools.update_wrapper(wrapped, Method().takes_none)
declared.__signature__ = None  # type: ignore[attr-defined]


def test_finalizers_that_could_not_be_called(heap: gomem.Heap) -> None:
    node = gomem.struct("Node", key="int64")
    ref = heap.new(node)
    text = r"runtime.SetFinalizer: cannot pass \*Node to finalizer <lambda>\(\)"
    with pytest.raises(TypeError, match=text):
        gomem.set_finalizer(ref, lambda: 0)  # type: ignore[arg-type, misc]
    with pytest.raises(TypeError, match=r"cannot pass Ref to finalizer takes_none\(\)"):
        gomem.set_finalizer(heap.alloc(8), Method().takes_none)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot pass Buffer to finalizer"):
        gomem.set_finalizer(heap.buffer(), lambda a, b: 0)  # type: ignore[arg-type, misc]
    fine: list[Any] = [
        lambda r: 0, lambda *r: 0, lambda r, more=1: 0, Method().takes_one, print, wrapped, declared,
        functools.partial(lambda a, b: 0, 1), [].append, Method.takes_none, int,
    ]  # fmt: skip
    for fn in fine:
        gomem.set_finalizer(ref, fn)
        gomem.set_finalizer(ref, None)
