"""Giving memory back: what is free and backed goes, what lives stays; and how long it sleeps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gomem import _testing as door

PAGE = 8192


class ScavengeMachine(RuleBasedStateMachine):
    dontneed = True

    @initialize()
    def make(self) -> None:
        self.heap = door.TestHeap(dontneed=self.dontneed)
        self.objects: dict[int, bytes] = {}

    def backed(self) -> int:
        """Bytes that are free but not released."""
        counters = self.heap.counters()
        return counters["heap_idle"] - counters["heap_released"]

    @rule(npages=st.integers(1, 40) | st.integers(1, 700), byte=st.integers(1, 255))
    def alloc(self, npages: int, byte: int) -> None:
        size = npages * PAGE
        address = self.heap.malloc(0, size)
        assert address is not None
        assert not any(self.heap.read(address)), "released memory came back with old contents"
        # A mark in each page; all of it would take long.
        mark = bytes([byte]) + bytes(PAGE - 1)
        self.heap.write(address, mark * npages)
        self.objects[address] = mark

    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        if self.objects:
            address = data.draw(st.sampled_from(sorted(self.objects)), label="object")
            self.check(address)
            del self.objects[address]
            assert self.heap.free(0, address)

    @rule(npages=st.integers(1, 1000), force=st.booleans())
    def scavenge(self, npages: int, force: bool) -> None:
        before, backed = self.heap.counters(), self.backed()
        released = self.heap.scavenge(npages * PAGE, force)
        after = self.heap.counters()
        assert after["heap_released"] - before["heap_released"] == released
        assert released % PAGE == 0 and released <= backed
        assert after["heap_idle"] == before["heap_idle"]

    @rule()
    def all_of_it(self) -> None:
        self.heap.flush(0)
        backed = self.backed()
        assert self.heap.scavenge((1 << 63) - 1, True) == backed
        assert self.backed() == 0

    @rule(first=st.integers(0, 2))
    def refused(self, first: int) -> None:
        """The system declines: no more than before is released, and nothing is lost."""
        self.heap.flush(0)
        backed = self.backed()
        self.heap.fail(first, 1)
        released = self.heap.scavenge((1 << 63) - 1, True)
        self.heap.fail(0, 0)
        assert first > 0 or released == 0, "went on after a refusal"
        assert self.backed() == backed - released
        assert self.heap.verify() is None
        assert self.heap.scavenge((1 << 63) - 1, True) == backed - released

    @rule()
    def fresh_frees_wait(self) -> None:
        """The background scavenger sees what was freed only in the next generation."""
        self.heap.flush(0)
        self.heap.next_generation()
        while self.heap.scavenge(1 << 30, False):
            pass
        address = self.heap.malloc(0, 100 * PAGE)
        assert address is not None and self.heap.free(0, address)
        self.heap.flush(0)
        self.heap.next_generation()
        assert self.heap.scavenge(1 << 30, False) > 0

    @invariant()
    def sound(self) -> None:
        if hasattr(self, "heap"):
            assert self.heap.verify() is None

    def check(self, address: int) -> None:
        contents = self.heap.read(address)
        assert contents == self.objects[address] * (len(contents) // PAGE)

    def teardown(self) -> None:
        if hasattr(self, "heap"):
            for address in self.objects:
                self.check(address)


class LazyRelease(ScavengeMachine):
    dontneed = False


TestScavenge = ScavengeMachine.TestCase
TestLazyRelease = LazyRelease.TestCase


# --- How much of a CPU the background scavenger takes ---


@pytest.mark.parametrize("procs", [1, 2, 4, 8])
@pytest.mark.parametrize("worked", [1e6, 3e6])
@pytest.mark.parametrize("delay", [1.0, 1.5, 0.8])
def test_takes_one_per_cent(procs: int, worked: float, delay: float) -> None:
    """Whatever the sleeps are in truth, it takes 1 % of all CPUs in the long run. The controller
    hunts, as Go's with the same constants does: single steps take more or less."""
    ratios = door.scavenger_ratios(worked, delay, procs, 20000)
    # A step sleeps by the ratio that the one before has set.
    slept = [worked / ratio * delay for ratio in ratios[200:]]
    share = worked * len(slept) / (worked * len(slept) + sum(slept)) / procs
    assert 0.009 < share < 0.015


def test_gos_scenario() -> None:
    """64 MB at 10 us for 4 KB, three times over, in steps of at least a millisecond: the share of the
    CPU is 1 % within half a per cent at the end of each round, in which no time is spent idle."""
    quantum, ns = 64 << 10, 160_000
    quanta = -(-1_000_000 // ns)  # in a step
    steps = (64 << 20) // (quanta * quantum)
    worked = float(quanta * ns)
    ratios = [0.001, *door.scavenger_ratios(worked, 1.0, 1, 3 * steps)]
    for rounds in (1, 2, 3):
        slept = sum(worked / ratio for ratio in ratios[: rounds * steps])
        share = rounds * steps * worked / (rounds * steps * worked + slept)
        assert 0.005 <= share <= 0.015


@given(st.floats(1, 1e10), st.floats(0.01, 100), st.integers(1, 64))
def test_stays_in_bounds(worked: float, delay: float, procs: int) -> None:
    assert all(0.001 <= r <= 1000 for r in door.scavenger_ratios(worked, delay, procs, 200))


def test_nonsense_resets_it() -> None:
    ratios = door.scavenger_ratios(math.inf, 1.0, 1, 3)
    assert ratios == [0.001] * 3
