"""Goroutine stacks: pools, caches and spans against sums; contents against bytes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from gomem import _testing as door

SMALLEST, ORDERS, CACHE = 2048, 4, 32 << 10
NOSPLIT = 800
SIZES = [SMALLEST << k for k in range(8)]


class StackMachine(RuleBasedStateMachine):
    procs = 2

    @initialize()
    def make(self) -> None:
        self.heap = door.TestHeap(procs=self.procs)
        self.stacks: dict[int, bytes] = {}  # number: the used part
        self.cached = [[0] * ORDERS for _ in range(self.procs)]  # bytes

    def size(self, stack: int) -> int:
        lo, hi, _ = self.heap.stack(stack)
        return hi - lo

    def model_alloc(self, p: int, size: int) -> None:
        if size < SMALLEST << ORDERS:
            order = (size // SMALLEST).bit_length() - 1
            if self.cached[p][order] == 0:
                self.cached[p][order] = CACHE // 2
            self.cached[p][order] -= size

    def model_free(self, p: int, size: int) -> None:
        if size < SMALLEST << ORDERS:
            order = (size // SMALLEST).bit_length() - 1
            if self.cached[p][order] >= CACHE:
                self.cached[p][order] = CACHE // 2
            self.cached[p][order] += size

    @precondition(lambda self: len(self.stacks) < 100)
    @rule(p=st.integers(0, 1), size=st.sampled_from(SIZES), n=st.integers(1, 20))
    def alloc(self, p: int, size: int, n: int) -> None:
        for _ in range(n):
            stack = self.heap.stack_alloc(p, size)
            assert stack is not None
            self.model_alloc(p, size)
            assert self.size(stack) == size
            lo, _, _ = self.heap.stack(stack)
            assert lo % min(size, 8192) == 0
            self.stacks[stack] = b""

    @precondition(lambda self: self.stacks)
    @rule(data=st.data(), p=st.integers(0, 1), n=st.integers(1, 20))
    def free(self, data: st.DataObject, p: int, n: int) -> None:
        for _ in range(min(n, len(self.stacks))):
            stack = data.draw(st.sampled_from(sorted(self.stacks)), label="stack")
            assert self.heap.stack(stack)[2] == self.stacks.pop(stack)
            size = self.size(stack)
            self.heap.stack_free(p, stack)
            self.model_free(p, size)
            with pytest.raises(ValueError):
                self.heap.stack_free(p, stack)

    @precondition(lambda self: self.stacks)
    @rule(data=st.data(), seed=st.integers(0, 255))
    def use(self, data: st.DataObject, seed: int) -> None:
        stack = data.draw(st.sampled_from(sorted(self.stacks)), label="stack")
        size = self.size(stack)
        # Around a quarter of the size the answer to "shrink?" changes.
        edge = max(0, size // 4 - NOSPLIT)
        n = data.draw(st.integers(0, size) | st.integers(max(0, edge - 1), edge + 1), label="used")
        self.stacks[stack] = bytes((seed + 7 * i) % 256 for i in range(n))
        self.heap.stack_use(stack, self.stacks[stack])

    @precondition(lambda self: self.stacks)
    @rule(data=st.data(), p=st.integers(0, 1))
    def grow(self, data: st.DataObject, p: int) -> None:
        stack = data.draw(st.sampled_from(sorted(self.stacks)), label="stack")
        size = self.size(stack)
        if size > 1 << 20:
            return
        assert self.heap.stack_grow(p, stack)
        self.model_alloc(p, 2 * size)
        self.model_free(p, size)
        assert self.size(stack) == 2 * size

    @precondition(lambda self: self.stacks)
    @rule(data=st.data(), p=st.integers(0, 1))
    def shrink(self, data: st.DataObject, p: int) -> None:
        stack = data.draw(st.sampled_from(sorted(self.stacks)), label="stack")
        size, used = self.size(stack), len(self.stacks[stack])
        expected = size // 2 >= SMALLEST and used + NOSPLIT < size // 4
        assert self.heap.stack_shrink(p, stack) == expected
        if expected:
            self.model_alloc(p, size // 2)
            self.model_free(p, size)
        assert self.size(stack) == (size // 2 if expected else size)

    @precondition(lambda self: len(self.stacks) < 100)
    @rule(p=st.integers(0, 1), size=st.sampled_from(SIZES), first=st.integers(0, 2))
    def refused(self, p: int, size: int, first: int) -> None:
        """What is refused has changed nothing; what caches and pools have needs no memory."""
        before = self.heap.counters()["stack_inuse"]
        cached = list(self.heap.stack_caches(p))
        self.heap.fail(first, 1 << 60)
        stack = self.heap.stack_alloc(p, size)
        self.heap.fail(0, 0)
        if stack is None:
            assert self.heap.counters()["stack_inuse"] == before
            assert list(self.heap.stack_caches(p)) == cached
        else:
            self.stacks[stack] = b""
            # A pool that ran dry while it filled the cache: less than half of it is there.
            self.cached[p] = list(self.heap.stack_caches(p))

    @rule(p=st.integers(0, 1))
    def flush(self, p: int) -> None:
        self.heap.flush(p)
        self.cached[p] = [0] * ORDERS

    @invariant()
    def as_modelled(self) -> None:
        if not hasattr(self, "heap"):
            return
        assert self.heap.verify() is None
        for p in range(self.procs):
            assert list(self.heap.stack_caches(p)) == self.cached[p]
        where = sorted(self.heap.stack(s)[:2] for s in self.stacks)
        assert all(hi <= lo for (_, hi), (lo, _) in itertools.pairwise(where))
        inuse = self.heap.counters()["stack_inuse"]
        large = sum(hi - lo for lo, hi in where if hi - lo >= SMALLEST << ORDERS)
        small = sum(hi - lo for lo, hi in where) - large + sum(map(sum, self.cached))
        # A pool gives a span back when all its stacks are free: each span has one that is not.
        assert large + small <= inuse
        spans = (inuse - large) // CACHE
        assert (inuse - large) % CACHE == 0 and spans * SMALLEST <= small

    @invariant()
    def contents(self) -> None:
        if hasattr(self, "heap"):
            for stack, used in self.stacks.items():
                assert self.heap.stack(stack)[2] == used

    def teardown(self) -> None:
        if not hasattr(self, "heap"):
            return
        for i, stack in enumerate(list(self.stacks)):
            self.heap.stack_free(i % self.procs, stack)
        for p in range(self.procs):
            self.heap.flush(p)
        assert self.heap.counters()["stack_inuse"] == 0
        assert self.heap.verify() is None


TestStacks = StackMachine.TestCase


@pytest.mark.parametrize("size", SIZES)
def test_shrinks_below_a_quarter(size: int) -> None:
    """Less than a quarter in use, what frames may use beyond it included; never below the minimum."""
    heap = door.TestHeap()
    for used in {0, *range(max(0, size // 4 - NOSPLIT - 2), max(0, size // 4 - NOSPLIT + 3))}:
        stack = heap.stack_alloc(0, size)
        assert stack is not None
        heap.stack_use(stack, bytes(used))
        shrinks = size > SMALLEST and used + NOSPLIT < size // 4
        assert heap.stack_shrink(0, stack) == shrinks, used
        heap.stack_free(0, stack)


@pytest.mark.parametrize("size", [0, 1, 1024, 2049, 3000, (1 << 30) + 1, 1 << 31, 1 << 63])
def test_wrong_sizes(size: int) -> None:
    heap = door.TestHeap()
    with pytest.raises(ValueError):
        heap.stack_alloc(0, size)
    assert heap.counters()["stack_inuse"] == 0


def test_the_largest_stack_does_not_grow() -> None:
    heap = door.TestHeap()
    stack = heap.stack_alloc(0, 1 << 30)
    assert stack is not None
    assert not heap.stack_grow(0, stack)
    heap.stack_free(0, stack)
    assert heap.counters()["stack_inuse"] == 0
