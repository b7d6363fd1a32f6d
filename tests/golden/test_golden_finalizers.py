"""The programs of tools/golden_finalizers.go, here: what is called in which cycle is what Go calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gomem

GOLDEN = json.loads((Path(__file__).parent / "finalizers.json").read_text())
NODE = gomem.struct(
    "GoldenNode", next="*GoldenNode", other="*GoldenNode", name="int64",
    array="[4]*GoldenNode",
)  # fmt: skip


class World:
    """A heap, and what was called since the last cycle."""

    def __init__(self) -> None:
        self.heap = gomem.Heap(procs=1, gogc="off", finalizer_thread=False)
        self.events: list[str] = []
        self.weak: dict[str, gomem.Weak] = {}
        self.kept: gomem.Ref | None = None

    def log(self, text: str) -> None:
        self.events.append(text)

    def node(self, name: str) -> gomem.Ref:
        ref = self.heap.new(NODE)
        ref.name = ord(name)
        return ref

    def finalized(self, ref: gomem.Ref) -> None:
        self.log(f"finalizer {chr(ref.name)}")

    def with_finalizer(self, name: str) -> gomem.Ref:
        ref = self.node(name)
        gomem.set_finalizer(ref, self.finalized)
        return ref

    def cleaned(self, name: str) -> None:
        self.log(f"cleanup {name}")

    def value(self, which: str) -> str:
        ref = self.weak[which].value()
        return "nil" if ref is None else chr(ref.name)


@pytest.fixture
def world() -> Iterator[World]:
    w = World()
    yield w
    w.kept = None
    w.heap.verify()
    w.heap.close()


def word(value: bool) -> str:
    return "true" if value else "false"


def chain(w: World) -> None:
    a, b, c = map(w.with_finalizer, "abc")
    a.next, b.next = b, c


def what_a_finalizer_sees(w: World) -> None:
    a, b = w.node("a"), w.node("b")
    a.next, a.array[2], b.next = b, w.node("c"), w.node("d")

    def see(n: gomem.Ref) -> None:
        w.log(" ".join(chr(x.name) for x in (n, n.next, n.next.next, n.array[2])))

    gomem.set_finalizer(a, see)


def leads_to_itself(w: World) -> None:
    a = w.with_finalizer("a")
    a.next = a


def cycle_of_two(w: World) -> None:
    a, b = w.with_finalizer("a"), w.node("b")
    a.next, b.next = b, a


def hangs_on_a_cycle(w: World) -> None:
    a, b = w.node("a"), w.node("b")
    a.next, b.next, b.other = b, a, w.with_finalizer("c")


def leads_to_a_cycle(w: World) -> None:
    a, b = map(w.with_finalizer, "ab")
    a.next, b.next = b, b


def cleanups_of_a_cycle(w: World) -> None:
    a, b = map(w.node, "ab")
    a.next, b.next = b, a
    gomem.add_cleanup(a, w.cleaned, "a")
    gomem.add_cleanup(b, w.cleaned, "b")


def finalizer_and_cleanups(w: World) -> None:
    a = w.with_finalizer("a")
    gomem.add_cleanup(a, w.cleaned, "first")
    gomem.add_cleanup(a, w.cleaned, "second")
    gomem.add_cleanup(a.array, w.cleaned, "part")


def argument(w: World) -> None:
    a, b = w.node("a"), w.with_finalizer("b")
    gomem.add_cleanup(a, lambda n: w.log(f"cleanup with {chr(n.name)}"), b)


def stopped_and_cleared(w: World) -> None:
    a = w.with_finalizer("a")
    gomem.set_finalizer(a, None)
    c = gomem.add_cleanup(a, w.cleaned, "stopped")
    gomem.add_cleanup(a, w.cleaned, "not stopped")
    assert c.stop()
    assert not c.stop()


def set_again(w: World) -> None:
    def first(n: gomem.Ref) -> None:
        w.log(f"first {chr(n.name)}")
        gomem.set_finalizer(n, lambda n: w.log(f"second {chr(n.name)}"))

    gomem.set_finalizer(w.node("a"), first)


def weak_pair(w: World, when: str) -> str:
    same = word(w.weak["old"] == w.weak["new"])
    return f"{when}: old {w.value('old')}, new {w.value('new')}, same {same}"


def brought_back(w: World) -> None:
    a = w.node("a")
    w.weak["old"] = gomem.Weak(a)
    gomem.add_cleanup(a, w.cleaned, "a")

    def again(n: gomem.Ref) -> None:
        w.weak["new"] = gomem.Weak(n)
        w.log(weak_pair(w, "finalizer"))
        w.kept = n

    gomem.set_finalizer(a, again)


def after_brought_back(w: World, i: int) -> None:
    w.log(weak_pair(w, "after"))
    if i == 1:
        w.kept = None


def weak_in_a_dead_graph(w: World) -> None:
    a, b = w.with_finalizer("a"), w.node("b")
    a.next = b
    w.weak["b"], w.weak["a"] = gomem.Weak(b), gomem.Weak(a)


def after_weak_in_a_dead_graph(w: World, i: int) -> None:
    w.log(f"b {w.value('b')}, a {w.value('a')}")


def weak_pointers_to_parts(w: World) -> None:
    a = w.node("a")
    weak = w.weak
    weak["w"], weak["w2"] = gomem.Weak(a), gomem.Weak(a)
    weak["part"], weak["whole"] = gomem.Weak(a.array), gomem.Weak(a.as_type(NODE))
    again, same = gomem.Weak(a.array), weak["w"] == weak["w2"]
    equal = (same, weak["part"] == again, weak["part"] == weak["whole"])
    w.log("same {}, part {}, parts {}".format(*map(word, equal)))
    w.log(f"alive {word(weak['part'].value() == a.array)}")


def after_weak_pointers_to_parts(w: World, i: int) -> None:
    same, dead = w.weak["w"] == w.weak["w2"], w.weak["part"].value() is None
    equal = (same, dead, w.weak["part"] == w.weak["whole"])
    w.log(f"{w.value('w')}, " + "same {}, part {}, parts {}".format(*map(word, equal)))


PROGRAMS: dict[str, tuple[Callable[[World], None], Callable[[World, int], None] | None]] = {
    f.__name__.replace("_", " "): (f, each)
    for f, each in [
        (chain, None), (what_a_finalizer_sees, None), (leads_to_itself, None), (cycle_of_two, None),
        (hangs_on_a_cycle, None), (leads_to_a_cycle, None), (cleanups_of_a_cycle, None),
        (finalizer_and_cleanups, None), (argument, None), (stopped_and_cleared, None),
        (set_again, None), (brought_back, after_brought_back),
        (weak_in_a_dead_graph, after_weak_in_a_dead_graph),
        (weak_pointers_to_parts, after_weak_pointers_to_parts),
    ]
}  # fmt: skip


def test_every_program_is_here() -> None:
    assert {*PROGRAMS, "many"} == set(GOLDEN["programs"])


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_called_when(world: World, name: str) -> None:
    setup, each = PROGRAMS[name]
    setup(world)
    got = []
    for i in range(len(GOLDEN["programs"][name])):
        world.heap.gc()
        world.heap.verify()
        world.heap.run_finalizers()
        if each is not None:
            each(world, i)
        got.append(sorted(world.events))
        world.events.clear()
    assert got == GOLDEN["programs"][name]


def test_many(world: World) -> None:
    for i in range(1000):
        a = world.node("a")
        gomem.set_finalizer(a, lambda n: None)
        for _ in range(i % 3):
            gomem.add_cleanup(a, int, i)
    del a
    got = []
    for _ in range(3):
        world.heap.gc()
        world.heap.run_finalizers()
        m = world.heap.stats().metrics()
        finalizers = m["/gc/finalizers/executed:finalizers"]
        cleanups = m["/gc/cleanups/executed:cleanups"]
        assert finalizers == m["/gc/finalizers/queued:finalizers"]
        assert cleanups == m["/gc/cleanups/queued:cleanups"]
        got.append(f"{finalizers} finalizers, {cleanups} cleanups")
    assert [got] == GOLDEN["programs"]["many"]


def closes_over(w: World) -> Any:
    a = w.node("a")
    return gomem.add_cleanup(a, lambda: a)


def twice(w: World) -> None:
    gomem.set_finalizer(a := w.with_finalizer("a"), w.finalized)
    del a


def with_its_object(w: World) -> None:
    a = w.node("a")
    gomem.add_cleanup(a, w.finalized, a)


def with_a_part(w: World) -> None:
    a = w.node("a")
    gomem.add_cleanup(a, w.finalized, a.array)


nothing: Any = None
WRONG: dict[str, Callable[[World], Any]] = {
    "finalizer of nil": lambda w: gomem.set_finalizer(nothing, w.finalized),
    "finalizer of integer": lambda w: gomem.set_finalizer(5, w.finalized),  # type: ignore[arg-type]
    "finalizer of a part": lambda w: gomem.set_finalizer(w.node("a").array, w.finalized),
    "no function": lambda w: gomem.set_finalizer(w.node("a"), 5),  # type: ignore[arg-type]
    "finalizer twice": twice,
    "cleanup of nil": lambda w: gomem.add_cleanup(nothing, w.cleaned, "a"),
    "cleanup with its object": with_its_object,
    "cleanup with a part": with_a_part,
    "cleanup closes over its object": closes_over,
}


@pytest.mark.parametrize("name", WRONG)
def test_messages(world: World, name: str) -> None:
    with pytest.raises((TypeError, ValueError)) as raised:
        WRONG[name](world)
    assert str(raised.value) == GOLDEN["messages"][name]


def test_every_message_is_here() -> None:
    # A Ref is never of free memory: tests/c/finalizer_cases.c has that one.
    assert {*WRONG, "finalizer of free memory"} == set(GOLDEN["messages"])
