"""A heap under random use beside a plain graph: what can be reached stays as it is, what cannot goes."""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import gomem

NODE = gomem.struct("GraphNode", a="*GraphNode", b="*GraphNode", number="int64")


class GraphMachine(RuleBasedStateMachine):
    """Objects with two pointers each, some of them held; the model is a dict of what points where."""

    procs: ClassVar[int] = 2
    heap: gomem.Heap

    @initialize(
        gogc=st.sampled_from([20, 100, "off"]),
        barrier=st.sampled_from(["hybrid", "dijkstra"]),
        marker=st.sampled_from(["span", "object"]),
    )
    def make(self, gogc: Any, barrier: str, marker: str) -> None:
        self.heap = gomem.Heap(procs=self.procs, gogc=gogc, barrier=barrier, marker=marker)
        self.held: dict[int, gomem.Ref] = {}
        self.links: dict[int, list[int | None]] = {}
        self.big: set[int | None] = set()
        self.count = 0
        self.made()

    def made(self) -> None:
        """For machines that need more than the heap."""

    def reachable(self) -> set[int]:
        todo, seen = list(self.held), set(self.held)
        while todo:
            for n in self.links[todo.pop()]:
                if n is not None and n not in seen:
                    seen.add(n)
                    todo.append(n)
        return seen

    def pick(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.held)))

    @rule(big=st.booleans())
    def new(self, big: bool) -> None:
        self.count += 1
        ref = self.heap.new(gomem.array(NODE, 30))[0] if big else self.heap.new(NODE)
        ref.number = self.count
        self.held[self.count] = ref
        self.links[self.count] = [None, None]
        if big:
            self.big.add(self.count)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), field=st.integers(0, 1), nothing=st.booleans())
    def link(self, data: st.DataObject, field: int, nothing: bool) -> None:
        source = self.pick(data)
        target = None if nothing else self.pick(data)
        value = None if target is None else self.held[target]
        if target in self.big:
            return  # no pointers to parts of objects
        setattr(self.held[source], "ab"[field], value)
        self.links[source][field] = target

    @precondition(lambda self: self.held)
    @rule(data=st.data(), field=st.integers(0, 1))
    def follow(self, data: st.DataObject, field: int) -> None:
        source = self.pick(data)
        target = self.links[source][field]
        value = getattr(self.held[source], "ab"[field])
        assert (value is None) == (target is None)
        if target is not None:
            assert value.number == target
            self.held[target] = value

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        del self.held[self.pick(data)]

    @rule(n=st.integers(1, 3000))
    def garbage(self, n: int) -> None:
        self.heap.alloc_many([48] * n)

    @rule()
    def collect(self) -> None:
        self.heap.gc()
        assert self.heap.stats().heap_objects == len(self.reachable())

    @invariant()
    def sound(self) -> None:
        if hasattr(self, "heap"):
            self.heap.verify()
            for number, ref in self.held.items():
                assert ref.number == number

    def teardown(self) -> None:
        if hasattr(self, "heap"):
            self.held.clear()
            self.heap.gc()
            assert self.heap.stats().heap_objects == 0
            self.heap.close()
