"""Channels and selects against a model: deques with those who wait.

Each operation is a goroutine's, begun one by one; after each everybody who can run has run. Where Go
leaves open which case of a select is chosen the model takes what was chosen, if that was ready.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

import gomem

CAPS = [0, 1, 3]  # of the channels; the last one, number 3, is nil
NIL = len(CAPS)

Case = tuple[int, int | None]  # (channel, what is sent or None)


@dataclass
class Operation:
    cases: list[Case]
    kind: str  # "plain", "try", "select", "default", "close"


@dataclass
class Waiter:
    number: int  # of the operation
    index: int  # of the case
    value: int | None


@dataclass
class Model:
    """What has happened, by the number of the operation: (index, value, ok), or the text of a panic."""

    buffers: list[deque[int]] = field(default_factory=lambda: [deque() for _ in CAPS])
    senders: list[list[Waiter]] = field(default_factory=lambda: [[] for _ in CAPS])
    receivers: list[list[Waiter]] = field(default_factory=lambda: [[] for _ in CAPS])
    closed: list[bool] = field(default_factory=lambda: [False for _ in CAPS])
    results: dict[int, object] = field(default_factory=dict)
    seen: dict[int, object] = field(default_factory=dict)  # what the goroutines say

    def ready(self, case: Case) -> bool:
        c, value = case
        if c == NIL:
            return False
        if value is None:
            return bool(self.senders[c] or self.buffers[c] or self.closed[c])
        return bool(self.closed[c] or self.receivers[c] or len(self.buffers[c]) < CAPS[c])

    def take(self, queue: list[Waiter]) -> Waiter:
        """The first who waits; of a select that waits there more than once any of its cases."""
        first = queue[0]
        same = [w for w in queue if w.number == first.number]
        seen = self.seen.get(first.number)
        if isinstance(seen, tuple):
            same = [w for w in same if w.index == seen[0]] or same
        for queues in (self.senders, self.receivers):
            for q in queues:
                q[:] = [w for w in q if w.number != first.number]
        return same[0]

    def do(self, number: int, index: int, case: Case) -> None:
        c, value = case
        if value is not None:
            if self.closed[c]:
                self.results[number] = "send on closed channel"
                return
            if self.receivers[c]:
                waiter = self.take(self.receivers[c])
                self.results[waiter.number] = (waiter.index, value, True)
            else:
                self.buffers[c].append(value)
            self.results[number] = (index, None, False)
            return
        if self.senders[c]:
            waiter = self.take(self.senders[c])
            assert waiter.value is not None
            self.results[waiter.number] = (waiter.index, None, False)
            self.buffers[c].append(waiter.value)
        if self.buffers[c]:
            self.results[number] = (index, self.buffers[c].popleft(), True)
        else:
            self.results[number] = (index, 0, False)

    def close(self, number: int, c: int) -> None:
        self.results[number] = (0, None, False)
        if c == NIL or self.closed[c]:
            what = "nil" if c == NIL else "closed"
            self.results[number] = f"close of {what} channel"
            return
        self.closed[c] = True
        while self.receivers[c]:
            waiter = self.take(self.receivers[c])
            self.results[waiter.number] = (waiter.index, 0, False)
        while self.senders[c]:
            waiter = self.take(self.senders[c])
            self.results[waiter.number] = "send on closed channel"

    def begin(self, number: int, op: Operation) -> None:
        if op.kind == "close":
            return self.close(number, op.cases[0][0])
        ready = [i for i, case in enumerate(op.cases) if self.ready(case)]
        if ready:
            seen = self.seen.get(number)
            if isinstance(seen, tuple):
                assert seen[0] in ready
                return self.do(number, seen[0], op.cases[seen[0]])
            panics = [
                i for i in ready if op.cases[i][1] is not None and self.closed[op.cases[i][0]]
            ]
            assert panics, f"{ready} are ready, and nothing happened: {seen}"
            return self.do(number, panics[0], op.cases[panics[0]])
        if op.kind in ("try", "default"):
            self.results[number] = (-1, None, False)
            return
        for i, (c, value) in enumerate(op.cases):
            if c != NIL:
                queue = self.receivers[c] if value is None else self.senders[c]
                queue.append(Waiter(number, i, value))


def perform(chans: list[gomem.Chan[int]], op: Operation) -> object:
    c, value = op.cases[0]
    try:
        if op.kind == "close":
            chans[c].close()
        elif op.kind == "plain" and value is None:
            return (0, *chans[c].recv_ok())
        elif op.kind == "plain":
            chans[c].send(value)
        elif op.kind == "try" and value is None:
            received = chans[c].try_recv()
            return (-1, None, False) if received is None else (0, *received)
        elif op.kind == "try":
            return (0 if chans[c].try_send(value) else -1, None, False)
        else:
            cases = [chans[c] if v is None else (chans[c], v) for c, v in op.cases]
            return gomem.select(*cases, default=op.kind == "default")
    except gomem.PanicError as panic:
        return str(panic)
    return (0, None, False)


cases = st.tuples(st.integers(0, NIL), st.none() | st.integers(1, 1000))
operations = st.one_of(
    st.builds(Operation, st.lists(cases, min_size=1, max_size=1), st.sampled_from(["plain", "try"])),
    st.builds(
        Operation, st.lists(cases, min_size=1, max_size=15), st.sampled_from(["select", "default"])
    ),
    st.builds(Operation, st.lists(cases, min_size=1, max_size=1), st.just("close")),
)  # fmt: skip


@settings(max_examples=max(500, settings.default.max_examples))
@given(st.lists(operations, max_size=40))
def test_as_the_model(program: list[Operation]) -> None:
    model = Model()

    def main() -> None:
        chans = [gomem.Chan(int, cap) for cap in CAPS] + [gomem.Chan.nil(int)]

        def one(number: int, op: Operation) -> None:
            model.seen[number] = perform(chans, op)

        for number, op in enumerate(program):
            gomem.go(one, number, op)
            for _ in range(3):  # at every 61st tick one is one's own successor
                gomem.gosched()
            model.begin(number, op)
            assert model.results == model.seen
            assert [len(c) for c in chans[:NIL]] == [len(b) for b in model.buffers]
            for c in chans:
                c._verify()

    gomem.run(main)


def test_the_model_can_fail() -> None:
    """A model in which buffers are stacks is noticed."""
    model = Model()
    for number, op in enumerate(
        [
            Operation([(2, 5)], "plain"),
            Operation([(2, 6)], "plain"),
            Operation([(2, None)], "plain"),
        ]
    ):
        model.seen[number] = (0, 6, True) if number == 2 else (0, None, False)
        model.begin(number, op)
    assert model.results != model.seen
