"""Random programs while the collector is at work: a step at a time, and in threads of its own."""

from __future__ import annotations

import subprocess
import threading
from typing import ClassVar

import cdriver
import pytest
from graph_machine import NODE, GraphMachine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

import gomem
from gomem.steps import StepCycle


def stepping(machine: StepMachine) -> bool:
    return machine.cycle is not None


class StepMachine(GraphMachine):
    """Mutator and marker take turns; another heap, of which nothing may leak in, is stepped as well."""

    def made(self) -> None:
        self.cycle: StepCycle | None = None
        self.tables: list[gomem.Roots] = []
        self.other = gomem.Heap(procs=1, gogc="off")
        self.chain = self.other.new(NODE)
        self.other_cycle: StepCycle | None = None

    # --- The marker ---

    @precondition(lambda self: not stepping(self))
    @rule(assists=st.booleans())
    def begin(self, assists: bool) -> None:
        self.cycle = self.heap.step_gc(assists=assists)

    @precondition(stepping)
    @rule(n=st.integers(1, 4))
    def step(self, n: int) -> None:
        assert self.cycle is not None
        for _ in range(n):
            self.cycle.step()
        if self.cycle.done:
            self.cycle = None

    @precondition(stepping)
    @rule()
    def next_phase(self) -> None:
        assert self.cycle is not None
        if self.cycle.next_phase() == "off":
            self.cycle = None

    @precondition(stepping)
    @rule()
    def finish(self) -> None:
        assert self.cycle is not None
        self.cycle.finish()
        self.cycle = None

    @precondition(lambda self: not stepping(self))
    @rule()
    def collect(self) -> None:
        """Whatever floated after the last cycle is gone after this one."""
        self.tables.clear()
        kinds = {step.kind for step in self.heap.step_gc()}
        assert "none" not in kinds and "phase" in kinds
        assert self.heap.stats().heap_objects == len(self.reachable())

    @precondition(stepping)
    @rule()
    def ask_for_another(self) -> None:
        for ask in (self.heap.gc, self.heap.step_gc):
            try:
                ask()
            except gomem.BusyError:
                continue
            raise AssertionError("two cycles at the same time")

    # --- The mutator, beyond what it has ---

    @rule(n=st.integers(1, 30), noscan=st.booleans())
    def table(self, n: int, noscan: bool) -> None:
        self.tables.append(self.heap.alloc_many([24, 600, 40_000][: 1 + n % 3] * n, noscan=noscan))

    @precondition(lambda self: self.tables)
    @rule()
    def drop_table(self) -> None:
        self.tables.pop(0)

    @rule(percent=st.sampled_from([20, 100, "off"]), limit=st.sampled_from([None, "64MiB"]))
    def settings_change(self, percent: int | str, limit: str | None) -> None:
        self.heap.gogc = percent  # type: ignore[assignment]
        self.heap.memory_limit = limit  # type: ignore[assignment]

    @rule(begin=st.booleans())
    def in_the_other_heap(self, begin: bool) -> None:
        new = self.other.new(NODE)
        new.a, new.number = self.chain, self.chain.number + 1
        self.chain = new
        if self.other_cycle is None or self.other_cycle.done:
            self.other_cycle = self.other.step_gc()
        self.other_cycle.step()
        self.other.verify()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def link_across(self, data: st.DataObject) -> None:
        try:
            self.held[self.pick(data)].a = self.chain
        except gomem.InvalidPointerError as error:
            assert "another heap" in str(error)
        else:
            raise AssertionError("a pointer into another heap")

    # --- What holds ---

    @invariant()
    def tricolor(self) -> None:
        """The same as verify(), by other means."""
        if not hasattr(self, "heap"):
            return
        colors = self.heap.colors()
        if self.cycle is not None:
            assert colors.phase == self.cycle.phase
        for ref in self.held.values():
            assert colors[ref] != "garbage"
        if colors.pointers is None or not colors.phase.startswith("mark"):
            return
        for source, _, target in colors.pointers.tolist():
            if source and colors[source] == "black":
                assert colors[target] != "white", f"{source:#x} is black, {target:#x} white"

    def teardown(self) -> None:
        if not hasattr(self, "heap"):
            return
        if self.cycle is not None:
            self.cycle.finish()
        if self.other_cycle is not None:
            self.other_cycle.finish()
        self.tables.clear()
        self.other.gc()
        assert self.other.stats().heap_objects == self.chain.number + 1
        self.other.verify()
        super().teardown()
        self.other.close()


TestSteps = StepMachine.TestCase
TestSteps.settings = settings(max_examples=40, stateful_step_count=60)


class ThreadMachine(GraphMachine):
    """Collections begin at any point of what the machine does, and another thread works as well."""

    procs: ClassVar[int] = 3

    def made(self) -> None:
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.threads = [threading.Thread(target=f) for f in (self.collecting, self.working)]
        for thread in self.threads:
            thread.start()

    def until_stopped(self, round_of: object) -> None:
        assert callable(round_of)
        try:
            while not self.stop.is_set():
                round_of()
        except BaseException as error:
            self.errors.append(error)

    def collecting(self) -> None:
        def collect() -> None:
            self.heap.gc()
            self.stop.wait(0.001)

        self.until_stopped(collect)

    def working(self) -> None:
        """A list that is turned round: every object is cut off and linked again."""

        def turn() -> None:
            top = self.heap.new(NODE)
            for i in range(20):
                new = self.heap.new(NODE)
                new.number, new.a = i, top.a
                top.a = new
            at, before = top.a, None
            while at is not None:
                after = at.a
                at.a, before, at = before, at, after
            for i in range(20):
                assert before.number == i
                before = before.a
            assert before is None

        self.until_stopped(turn)

    @rule()
    def collect(self) -> None:
        """How many there are nobody knows while others work."""
        self.heap.gc()
        assert self.heap.stats().heap_objects >= len(self.reachable())

    def teardown(self) -> None:
        if hasattr(self, "heap"):
            self.stop.set()
            for thread in self.threads:
                thread.join()
            assert not self.errors
        super().teardown()


TestThreads = ThreadMachine.TestCase
TestThreads.settings = settings(max_examples=15, stateful_step_count=40)


@pytest.mark.core_alone
@settings(max_examples=60)
@given(st.binary(max_size=400))
def test_programs_with_frames(choices: bytes) -> None:
    """tests/c/gc_steps.c has what Python has not: frames, tables that are written to, as it chooses."""
    program = cdriver.build("gc_steps")
    done = subprocess.run(
        [program, "bytes", choices.hex()], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
