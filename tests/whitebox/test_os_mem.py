"""Memory from the OS against a list of page states, with calls refused at will; and the metadata
allocators against lists of addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gomem import _testing as door

NPAGES = 12
RESERVED, PREPARED, READY = range(3)
RESERVE, MAP, USE, ALLOC, ADVISE = (1 << i for i in range(5))


class OsMemMachine(RuleBasedStateMachine):
    dontneed = True

    @initialize(align=st.sampled_from([0, 1 << 16, 1 << 22]))
    def make(self, align: int) -> None:
        self.om = door.OsMem(NPAGES, self.dontneed)
        counters = self.om.counters()
        self.page, self.base_ready = counters["page_size"], counters["ready"]
        address = self.om.reserve(align)
        assert address % max(align, self.page) == 0
        self.states = [RESERVED] * NPAGES
        self.bytes: list[int | None] = [0] * NPAGES  # None: may be anything left by MADV_FREE
        self.blocks: dict[int, int] = {}
        self.limit = 1 << 60
        self.refusing = 0

    def ready(self) -> int:
        blocks = sum(-(-size // self.page) for size in self.blocks.values())
        return (self.states.count(READY) + blocks) * self.page

    def runs(self, *states: int) -> list[tuple[int, int]]:
        return [
            (i, n)
            for i in range(NPAGES)
            for n in range(1, NPAGES - i + 1)
            if all(s in states for s in self.states[i : i + n])
        ]

    def pick(self, data: st.DataObject, *states: int) -> tuple[int, int] | None:
        runs = self.runs(*states)
        return data.draw(st.sampled_from(runs), label="pages") if runs else None

    def refused(self, kind: int) -> bool:
        return bool(self.refusing & kind)

    @rule(kinds=st.sampled_from([0, 0, 0, MAP, USE, ALLOC, ADVISE, MAP | USE]))
    def refuse(self, kinds: int) -> None:
        self.refusing = kinds
        self.om.fail(0, 1 << 60 if kinds else 0, kinds)

    @rule(pages=st.none() | st.integers(0, 40))
    def set_limit(self, pages: int | None) -> None:
        # Not below what is in use: the limit is an invariant.
        wanted = 1 << 60 if pages is None else self.base_ready + pages * self.page
        self.limit = max(wanted, self.base_ready + self.ready())
        self.om.limit(self.limit)

    @rule(data=st.data())
    def map(self, data: st.DataObject) -> None:
        if where := self.pick(data, RESERVED):
            i, n = where
            ok = self.om.map(i, n)
            assert ok == (not self.refused(MAP))
            if ok:
                self.states[i : i + n] = [PREPARED] * n
                self.bytes[i : i + n] = [0] * n

    @rule(data=st.data())
    def unmap(self, data: st.DataObject) -> None:
        if where := self.pick(data, PREPARED, READY):
            i, n = where
            self.om.unmap(i, n)
            self.states[i : i + n] = [RESERVED] * n

    @rule(data=st.data())
    def used(self, data: st.DataObject) -> None:
        if where := self.pick(data, PREPARED, READY):
            i, n = where
            more = self.states[i : i + n].count(PREPARED)
            fits = self.base_ready + self.ready() + more * self.page <= self.limit
            ok = self.om.used(i, n)
            assert ok == (more == 0 or (fits and not self.refused(USE)))
            if ok:
                self.states[i : i + n] = [READY] * n

    @rule(data=st.data())
    def unused(self, data: st.DataObject) -> None:
        if where := self.pick(data, READY):
            i, n = where
            ok = self.om.unused(i, n)
            assert ok == (not self.refused(ADVISE))
            if ok:
                self.states[i : i + n] = [PREPARED] * n
                self.bytes[i : i + n] = [0 if self.dontneed else None] * n
                if self.dontneed:
                    assert self.om.resident(i, n) == 0

    @rule(data=st.data(), byte=st.integers(1, 255))
    def fill(self, data: st.DataObject, byte: int) -> None:
        if where := self.pick(data, READY):
            self.om.fill(where[0], byte)
            self.bytes[where[0]] = byte
            assert self.om.resident(where[0], 1) == self.page

    @rule(size=st.integers(1, 5 * 4096))
    def alloc(self, size: int) -> None:
        if len(self.blocks) == 40:
            return
        rounded = -(-size // self.page) * self.page
        fits = self.base_ready + self.ready() + rounded <= self.limit
        block = self.om.alloc(size)
        assert (block is not None) == (fits and not self.refused(ALLOC))
        if block is not None:
            assert block not in self.blocks
            self.blocks[block] = size

    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        if self.blocks:
            block = data.draw(st.sampled_from(sorted(self.blocks)), label="block")
            self.om.free(block)
            del self.blocks[block]
            with pytest.raises(ValueError):
                self.om.free(block)

    @rule(data=st.data())
    def wrongly(self, data: st.DataObject) -> None:
        """What the states forbid is refused by the door."""
        for call, states in (
            (self.om.map, (PREPARED, READY)),
            (self.om.used, (RESERVED,)),
            (self.om.unused, (RESERVED, PREPARED)),
            (self.om.unmap, (RESERVED,)),
        ):
            if where := self.pick(data, *states):
                with pytest.raises(ValueError):
                    call(*where)

    @invariant()
    def counted(self) -> None:
        if not hasattr(self, "om"):
            return
        counters = self.om.counters()
        assert counters["sound"]
        assert counters["ready"] == self.base_ready + self.ready()
        assert counters["peak"] >= counters["ready"]
        blocks = sum(-(-size // self.page) for size in self.blocks.values())
        mapped = NPAGES - self.states.count(RESERVED)
        assert counters["stat"] == (mapped + blocks) * self.page
        assert counters["regions"] == 1 + len(self.blocks)

    @invariant()
    def contents(self) -> None:
        if not hasattr(self, "om"):
            return
        for i, state in enumerate(self.states):
            if state == READY and self.bytes[i] is not None:
                assert self.om.read(i) == bytes([self.bytes[i] or 0]) * self.page


class LazyRelease(OsMemMachine):
    dontneed = False


TestOsMem = OsMemMachine.TestCase
TestLazyRelease = LazyRelease.TestCase


def test_the_nth_call_is_refused() -> None:
    om = door.OsMem(8)
    om.reserve(0)
    om.fail(2, 2)
    assert [om.map(i, 1) for i in range(6)] == [True, True, False, False, True, True]
    om.fail(1, 1, USE)  # numbered among their kind
    assert om.map(2, 2)
    assert [om.used(i, 1) for i in range(3)] == [True, False, True]


def test_reserving_is_refused() -> None:
    om = door.OsMem(8)
    for align in (0, 1 << 20):
        om.fail(0, 1)
        assert om.reserve(align) == 0
    assert om.counters()["regions"] == 0
    assert om.reserve(0) != 0
    om.unreserve()
    assert om.counters()["regions"] == 0 and om.reserve(1 << 20) % (1 << 20) == 0


def test_the_region_table_grows() -> None:
    """4096 bytes hold 256 regions; the door has no more than 64 blocks, so ask of many."""
    many = [door.OsMem(1) for _ in range(8)]
    for om in many:
        om.reserve(0)
        blocks = [om.alloc(1) for _ in range(64)]
        assert om.counters()["regions"] == 65 and om.counters()["sound"]
        with pytest.raises(ValueError):
            om.alloc(1)
        for block in blocks:
            assert block is not None
            om.free(block)
        assert om.counters()["regions"] == 1


# --- Metadata ---


@given(
    st.lists(
        st.tuples(st.integers(1, 5000) | st.integers(60_000, 140_000), st.integers(0, 12)),
        max_size=40,
    )
)
def test_persistent(requests: list[tuple[int, int]]) -> None:
    meta = door.Metadata(64, 64)
    taken: list[tuple[int, int]] = []
    counted = 0
    for size, log_align in requests:
        p = meta.persistent(size, 1 << log_align)
        assert p is not None
        assert p % (1 << log_align) == 0
        assert all(p + size <= q or q + n <= p for q, n in taken)
        taken.append((p, size))
        counters = meta.counters()
        # Big pieces are mapped by themselves, in whole pages.
        counted += size if size < 65536 else -(-size // 4096) * 4096
        assert counters["persistent"] == counted
        assert counters["ready"] == counters["persistent"] + counters["other"]


@given(
    st.sampled_from([(1, 8), (24, 8), (100, 64), (5000, 8), (20_000, 64)]),
    st.lists(st.integers(0, 15), max_size=200),
)
def test_fixalloc(kind: tuple[int, int], steps: list[int]) -> None:
    """Objects of one size: aligned, disjoint, the last freed is the first reused."""
    size, align = kind
    meta = door.Metadata(size, align)
    rounded = -(-max(size, 8) // align) * align
    live: dict[int, int] = {}
    freed: list[int] = []
    fresh = 0
    for number in steps:
        if number in live:
            meta.free(number)
            freed.append(live.pop(number))
        else:
            p = meta.alloc(number)
            assert p is not None and p % align == 0
            if freed:
                assert p == freed.pop()
            else:
                fresh += 1
                others = [*live.values()]
                assert all(p + rounded <= q or q + rounded <= p for q in others)
            live[number] = p
        assert meta.counters()["inuse"] == len(live) * rounded
    per_chunk = max(1, (16 << 10) // rounded)
    assert meta.counters()["fixed"] == -(-fresh // per_chunk) * per_chunk * rounded


def test_refused_metadata() -> None:
    meta = door.Metadata(1000, 8)
    meta.fail(0, 1 << 60)
    before = meta.counters()
    assert meta.persistent(100, 8) is None
    assert meta.persistent(100_000, 8) is None
    assert meta.alloc(0) is None
    assert meta.counters() == before
    meta.fail(0, 0)
    assert meta.persistent(100, 8) is not None and meta.alloc(0) is not None
    with pytest.raises(ValueError):
        meta.alloc(0)
    with pytest.raises(ValueError):
        meta.free(1)
