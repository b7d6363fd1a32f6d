"""Finalizers, cleanups and weak pointers against a plain graph that says what must happen to each."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import gomem

FIELDS = {"a": "unsafe.Pointer", "b": "unsafe.Pointer", "number": "int64", "part": "[2]int8"}
NODE = gomem.struct("MachineNode", FIELDS)
BIG = gomem.struct("BigMachineNode", {**FIELDS, "pad": "[200]int64"})  # with a malloc header
HUGE = gomem.struct("HugeMachineNode", {**FIELDS, "pad": "[9000]int64"})


@dataclass
class Model:
    """An object: what it leads to, and what is attached to it."""

    number: int
    children: list[int | None] = field(default_factory=lambda: [None, None])
    finalizer: str | None = None
    cleanups: dict[int, int | None] = field(default_factory=dict)  # its id -> its argument
    epoch: int = 0  # how often weak pointers to it became nil


class SpecialsMachine(RuleBasedStateMachine):
    """Each step is made by one of three threads; a cycle may run beside some of them."""

    finalizer_thread = False

    @initialize(procs=st.integers(1, 3), marker=st.sampled_from(["span", "object"]))
    def open(self, procs: int, marker: str) -> None:
        self.heap = gomem.Heap(
            procs=procs, gogc="off", marker=marker, finalizer_thread=self.finalizer_thread
        )
        self.pool = ThreadPoolExecutor(3)
        self.model: dict[int, Model] = {}
        self.held: dict[int, gomem.Ref] = {}
        self.weak: list[tuple[gomem.Weak, int, int, bool]] = []
        self.cleanups: dict[int, gomem.Cleanup] = {}
        self.events: list[tuple[str, int]] = []
        self.expected: list[tuple[str, int]] = []
        self.last = 0

    def teardown(self) -> None:
        if hasattr(self, "heap"):
            self.pool.shutdown()
            self.held.clear()
            self.heap.verify()
            self.heap.close()

    def run(self, f: Callable[[], Any]) -> Any:
        return self.pool.submit(f).result()

    def pick(self, n: int) -> int:
        return sorted(self.held)[n % len(self.held)]

    # --- What programs do ---

    @rule(kind=st.sampled_from([NODE, NODE, NODE, BIG, HUGE]))
    def new(self, kind: gomem.Type) -> None:
        self.last += 1
        number = self.last

        def make() -> None:
            self.held[number] = self.heap.new(kind)
            self.held[number].number = number

        self.run(make)
        self.model[number] = Model(number)

    @precondition(lambda self: self.held)
    @rule(x=st.integers(0, 99), y=st.integers(0, 99), slot=st.integers(0, 1), cut=st.booleans())
    def link(self, x: int, y: int, slot: int, cut: bool) -> None:
        a, target = self.pick(x), None if cut else self.pick(y)
        self.run(lambda: setattr(self.held[a], "ab"[slot], target and self.held[target]))
        self.model[a].children[slot] = target

    @precondition(lambda self: self.held)
    @rule(x=st.integers(0, 99))
    def drop(self, x: int) -> None:
        del self.held[self.pick(x)]

    @precondition(lambda self: self.held)
    @rule(x=st.integers(0, 99), action=st.sampled_from(["nothing", "keep", "again"]))
    def finalizer(self, x: int, action: str) -> None:
        number = self.pick(x)
        if self.model[number].finalizer is not None:
            self.run(lambda: gomem.set_finalizer(self.held[number], None))
        self.run(lambda: gomem.set_finalizer(self.held[number], self.called(action)))
        self.model[number].finalizer = action

    def called(self, action: str) -> Callable[[gomem.Ref], None]:
        def finalize(ref: gomem.Ref) -> None:
            number = ref.number
            self.events.append(("finalizer", number))
            if action == "keep":
                self.held[number] = ref
            elif action == "again":
                gomem.set_finalizer(ref, self.called("nothing"))

        return finalize

    @precondition(lambda self: self.held)
    @rule(x=st.integers(0, 99), y=st.integers(0, 99), part=st.booleans(), alone=st.booleans())
    def cleanup(self, x: int, y: int, part: bool, alone: bool) -> None:
        number, other = self.pick(x), self.pick(y)
        if other == number:
            alone = True
        self.last += 1
        key = self.last
        args = () if alone else (self.held[other],)
        ref = self.held[number].part if part else self.held[number]
        self.cleanups[key] = self.run(lambda: gomem.add_cleanup(ref, self.cleaned(key), *args))
        self.model[number].cleanups[key] = None if alone else other

    def cleaned(self, key: int) -> Callable[..., None]:
        def clean(*args: gomem.Ref) -> None:
            self.events.append(("cleanup", key))
            for ref in args:
                self.events.append(("argument", ref.number))

        return clean

    @precondition(lambda self: self.cleanups)
    @rule(x=st.integers(0, 99))
    def stop(self, x: int) -> None:
        key = sorted(self.cleanups)[x % len(self.cleanups)]
        owner = next((m for m in self.model.values() if key in m.cleanups), None)
        assert self.run(self.cleanups.pop(key).stop) == (owner is not None)
        if owner is not None:
            del owner.cleanups[key]

    @precondition(lambda self: self.held)
    @rule(x=st.integers(0, 99), part=st.booleans())
    def make_weak(self, x: int, part: bool) -> None:
        number = self.pick(x)
        ref = self.held[number].part if part else self.held[number]
        weak = self.run(lambda: gomem.Weak(ref))
        self.weak.append((weak, number, self.model[number].epoch, part))

    @precondition(lambda self: self.weak)
    @rule(x=st.integers(0, 99))
    def strong_from_weak(self, x: int) -> None:
        weak, number, epoch, part = self.weak[x % len(self.weak)]
        if not part and self.alive(number, epoch):
            self.held[number] = self.run(weak.value)

    @precondition(lambda self: self.weak)
    @rule(x=st.integers(0, 99))
    def drop_weak(self, x: int) -> None:
        del self.weak[x % len(self.weak)]

    # --- What the collector does ---

    def closure(self, numbers: Iterable[int | None]) -> set[int]:
        seen: set[int] = set()
        todo = list(numbers)
        while todo:
            n = todo.pop()
            if n is not None and n not in seen:
                seen.add(n)
                todo += self.model[n].children
        return seen

    def marked(self) -> set[int]:
        """What roots lead to: Refs, arguments of cleanups, objects with finalizers for all but
        themselves."""
        roots: list[int | None] = list(self.held)
        for m in self.model.values():
            roots += m.cleanups.values()
            if m.finalizer is not None:
                roots += [c for c in m.children if c != m.number]
        return self.closure(roots)

    def model_cycle(self) -> list[tuple[str, int]]:
        """One cycle, and what is called after it."""
        marked = self.marked()
        called: list[tuple[str, int]] = []
        for m in [m for m in self.model.values() if m.number not in marked]:
            m.epoch += 1
            if m.finalizer is None:
                for key, argument in m.cleanups.items():
                    called.append(("cleanup", key))
                    called += [] if argument is None else [("argument", argument)]
                del self.model[m.number]
                continue
            called.append(("finalizer", m.number))
            m.finalizer = "nothing" if m.finalizer == "again" else None
        return called

    @rule()
    def cycle(self) -> None:
        self.run(self.heap.gc)
        self.heap.verify()
        expected = sorted(self.model_cycle())
        self.run(self.heap.run_finalizers)
        got = sorted(self.events)
        self.events.clear()
        assert got == expected

    def settle(self) -> list[tuple[str, int]]:
        """All that is ever called when nobody does anything any more."""
        called: list[tuple[str, int]] = []
        held = dict.fromkeys(self.held)
        while new := self.model_cycle():
            called += new
        del held
        return called

    @rule(
        steps=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.booleans()), max_size=9)
    )
    def cycle_beside_others(self, steps: list[tuple[int, int, bool]]) -> None:
        """While a cycle runs, objects are linked and dropped: what dies meanwhile may do so in it or
        later, but it does. Objects that finalizers bring back are kept apart from this."""
        if any(m.finalizer == "keep" for m in self.model.values()):
            return
        thread = threading.Thread(target=self.heap.gc)
        thread.start()
        for x, y, drop in steps:
            if drop and self.held:
                self.drop(x)
            elif self.held:
                self.link(x, y, x % 2, y % 5 == 0)
        thread.join()
        self.run(self.heap.run_finalizers)
        for _ in range(2 * len(self.model) + 2):
            before = len(self.events)
            self.run(self.heap.gc)
            self.heap.verify()
            self.run(self.heap.run_finalizers)
            if len(self.events) == before:
                break
        got = sorted(self.events)
        self.events.clear()
        assert got == sorted(self.settle())

    # --- What must hold ---

    def alive(self, number: int, epoch: int) -> bool:
        return number in self.model and self.model[number].epoch == epoch

    @invariant()
    def weak_pointers(self) -> None:
        if not hasattr(self, "heap"):
            return
        for weak, number, epoch, part in self.weak:
            ref = weak.value()
            assert (ref is not None) == self.alive(number, epoch)
            assert ref is None or part or ref.number == number
            del ref
        for i, (x, *which) in enumerate(self.weak):
            for y, *other in self.weak[i:]:
                assert (x == y) == (which == other)
                assert x != y or hash(x) == hash(y)

    @invariant()
    def objects(self) -> None:
        if hasattr(self, "heap"):
            self.heap.verify()
            for number, ref in self.held.items():
                assert ref.number == number
            assert self.heap.stats().heap_objects == len(self.model)


class TestSpecials(SpecialsMachine.TestCase):
    settings = settings(deadline=None)


def test_the_model_has_reason_to_agree() -> None:
    """The machine's own example: it sees a finalizer, a cleanup with an argument, a weak pointer end."""
    m = SpecialsMachine()
    m.open(2, "span")
    for _ in range(3):
        m.new(NODE)
    m.link(0, 1, 0, False)
    m.finalizer(0, "again")
    m.finalizer(1, "nothing")
    m.cleanup(1, 2, True, False)
    m.make_weak(0, False)
    m.make_weak(1, True)
    for _ in range(3):
        m.drop(0)
    sizes = []
    for _ in range(6):
        m.cycle()
        m.weak_pointers()
        m.objects()
        sizes.append(len(m.model))
    assert sizes == [3, 3, 2, 1, 0, 0] or sizes[-1] == 0
    m.teardown()
    gc.collect()
