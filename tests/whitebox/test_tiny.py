"""Tiny objects: where they go, as Go packs them, and which of a block live, whoever frees them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gomem import _testing as door

BLOCK = 16


def align(offset: int, size: int) -> int:
    for unit in (8, 4, 2):
        if size % unit == 0:
            return -(-offset // unit) * unit
    return offset


class Packer:
    """One P's current block. Addresses are the heap's; which of them are new is for us to know."""

    def __init__(self) -> None:
        self.block: int | None = None
        self.offset = BLOCK
        self.starts: set[int] = set()  # of parts not taken back: what other Ps free stays in it

    def place(self, size: int) -> int | None:
        """Where the next object goes in the current block; None: in a new one."""
        at = align(self.offset, size)
        return None if self.block is None or at + size > BLOCK else at

    def new_block(self, block: int, size: int) -> bool:
        """Does the new block become the current one?"""
        if self.block is not None and size >= self.offset:
            return False
        self.block, self.offset, self.starts = block, size, {block}
        return True


@given(st.lists(st.integers(1, 15), max_size=200))
def test_packing(sizes: list[int]) -> None:
    """Without frees: Go's rule, step by step."""
    heap, packer = door.TestHeap(), Packer()
    seen: set[int] = set()
    shared = 0
    for size in sizes:
        at = packer.place(size)
        address = heap.malloc(0, size)
        assert address is not None
        if at is None:
            assert address % BLOCK == 0 and address not in seen
            seen.add(address)
            packer.new_block(address, size)
        else:
            shared += 1
            assert packer.block is not None
            assert address == packer.block + at
            packer.offset = at + size
    block, offset, _ = heap.tiny(0)
    if packer.block is not None:
        assert (block, offset) == (packer.block, packer.offset)
    counters = heap.counters()
    assert counters["tiny_allocs"] == shared
    # As in Go, a shared object counts as allocated and freed.
    assert counters["mallocs"] == len(sizes)
    assert counters["mallocs"] - counters["frees"] == len(seen)


class TinyMachine(RuleBasedStateMachine):
    """Several Ps allocate and free each other's parts."""

    procs = 3

    @initialize()
    def make(self) -> None:
        self.heap = door.TestHeap(procs=self.procs)
        self.packers = [Packer() for _ in range(self.procs)]
        self.objects: dict[int, tuple[int, int]] = {}  # address: size, byte it is filled with
        self.blocks: set[int] = set()  # that were ever used

    def parts(self, block: int) -> int:
        return sum(1 << a - block for a in self.objects if block <= a < block + BLOCK)

    @rule(p=st.integers(0, 2), size=st.integers(1, 15), byte=st.integers(1, 255))
    def alloc(self, p: int, size: int, byte: int) -> None:
        packer = self.packers[p]
        at = packer.place(size)
        address = self.heap.malloc(p, size)
        assert address is not None
        assert address not in self.objects
        if at is None:
            assert address % BLOCK == 0
            assert self.parts(address) == 0, "a block with live parts was given out"
            assert all(address != q.block for q in self.packers)
            if (old := packer.block) is not None and packer.new_block(address, size):
                assert old != address
            elif old is None:
                packer.new_block(address, size)
        else:
            assert packer.block is not None and address == packer.block + at
            packer.offset = at + size
            packer.starts.add(address)
        self.blocks.add(address & -BLOCK)
        assert not any(self.heap.read(address)[:size])
        self.heap.write(address, bytes([byte]) * size)
        self.objects[address] = size, byte

    @rule(p=st.integers(0, 2), sizes=st.lists(st.integers(1, 15), max_size=30))
    def alloc_many(self, p: int, sizes: list[int]) -> None:
        for size in sizes:
            self.alloc(p, size, size)

    def free_one(self, p: int, address: int) -> None:
        size, byte = self.objects.pop(address)
        assert self.heap.read(address)[:size] == bytes([byte]) * size
        assert self.heap.free(p, address)
        packer = self.packers[p]
        if packer.block == address & -BLOCK:
            packer.starts.remove(address)
            if not packer.starts:
                packer.offset = 0  # its own, empty: it starts over
        assert not self.heap.free(p, address)
        assert not self.heap.free((p + 1) % self.procs, address)

    @rule(p=st.integers(0, 2), data=st.data())
    def free(self, p: int, data: st.DataObject) -> None:
        if self.objects:
            address = data.draw(st.sampled_from(sorted(self.objects)), label="object")
            self.free_one(p, address)

    @rule(p=st.integers(0, 2), data=st.data())
    def free_block(self, p: int, data: st.DataObject) -> None:
        if self.objects:
            block = data.draw(st.sampled_from(sorted(self.objects)), label="object") & -BLOCK
            for address in [a for a in self.objects if a & -BLOCK == block]:
                self.free_one(p, address)

    @rule(data=st.data(), p=st.integers(0, 2))
    def free_nothing(self, data: st.DataObject, p: int) -> None:
        if self.blocks:
            address = data.draw(st.sampled_from(sorted(self.blocks)), label="block")
            address += data.draw(st.integers(0, 15), label="offset")
            if address not in self.objects:
                assert not self.heap.free(p, address)

    @rule(p=st.integers(0, 2))
    def retire(self, p: int) -> None:
        self.heap.tiny_retire(p)
        self.packers[p] = Packer()

    @rule(p=st.integers(0, 2))
    def flush(self, p: int) -> None:
        self.heap.flush(p)
        self.packers[p] = Packer()

    @invariant()
    def sound(self) -> None:
        if hasattr(self, "heap"):
            assert self.heap.verify() is None

    @invariant()
    def same_parts(self) -> None:
        if hasattr(self, "heap"):
            for block in self.blocks:
                # A block may have become an ordinary slot of its class, but then nothing lives in it.
                assert self.heap.tiny_parts(block) == self.parts(block)

    def teardown(self) -> None:
        if not hasattr(self, "heap"):
            return
        for i, address in enumerate(sorted(self.objects)):
            self.free_one(i % self.procs, address)
        for p in range(self.procs):
            self.heap.tiny_retire(p)
        for p in range(self.procs):
            self.heap.flush(p)
        counters = self.heap.counters()
        assert counters["mallocs"] == counters["frees"]
        assert counters["heap_inuse"] == 0
        assert self.heap.verify() is None


TestTiny = TinyMachine.TestCase
