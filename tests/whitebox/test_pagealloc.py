"""The page allocator, its caches and its scavenge index against strings of page states.

The model knows nothing of trees and hints: the first run of free pages in address order is what an
allocation gets.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from gomem import _testing as door

CHUNK = 512
DENSE = CHUNK * 31 // 32

# States of a page. A cached page is in use as far as the allocator knows.
ABSENT, SCAVENGED, FREE, USED, CACHED = b" sfuc"
AS_FREE = bytes.maketrans(b"s", b"f")

# Groups of chunks around the borders of the tree's levels and of the bitmaps' second level.
SITES = [
    range(1, 18),
    range(60, 70),
    range(4090, 4102),
    range(8188, 8197),
    range((1 << 20) - 4, (1 << 20) + 5),
    range((1 << 26) - 9, (1 << 26) - 2),
]


class PageAllocMachine(RuleBasedStateMachine):
    page_shift = 13

    @initialize()
    def make(self) -> None:
        self.pages = door.PageAlloc(self.page_shift)
        shrink = self.page_shift - 13  # fewer chunks fit into the address space
        self.sites = [range(s.start, s.stop) for s in SITES if s.stop < 1 << (26 - shrink)]
        self.cells = [bytearray(b" " * len(s) * CHUNK) for s in self.sites]
        self.caches = [dict[int, int](), dict[int, int]()]  # page -> SCAVENGED or FREE

    # --- The model ---

    def first_page(self, site: int) -> int:
        return self.sites[site].start * CHUNK

    def first_fit(self, n: int) -> int | None:
        for site, cells in enumerate(self.cells):
            at = cells.translate(AS_FREE).find(b"f" * n)
            if at >= 0:
                return self.first_page(site) + at
        return None

    def locate(self, page: int) -> tuple[bytearray, int]:
        site = next(i for i, s in enumerate(self.sites) if page // CHUNK in s)
        return self.cells[site], page - self.first_page(site)

    def take(self, page: int, n: int, state: int) -> bytes:
        """Gives n pages a new state; what they were."""
        cells, at = self.locate(page)
        old = bytes(cells[at : at + n])
        cells[at : at + n] = bytes([state]) * n
        return old

    def runs(self, pattern: bytes) -> list[tuple[int, int]]:
        return [
            (self.first_page(site) + m.start(), m.end() - m.start())
            for site, cells in enumerate(self.cells)
            for m in re.finditer(pattern, cells)
        ]

    def chunk(self, chunk: int) -> bytes:
        cells, at = self.locate(chunk * CHUNK)
        return bytes(cells[at : at + CHUNK])

    def grown(self) -> list[int]:
        return [c for s in self.sites for c in s if self.chunk(c)[0] != ABSENT]

    # --- Rules ---

    @rule(data=st.data())
    def grow(self, data: st.DataObject) -> None:
        site = data.draw(st.integers(0, len(self.sites) - 1), label="site")
        absent = [c for c in self.sites[site] if self.chunk(c)[0] == ABSENT]
        if not absent:
            return
        chunk = data.draw(st.sampled_from(absent), label="chunk")
        most = 1
        while chunk + most in absent:
            most += 1
        n = data.draw(st.integers(1, most), label="chunks")
        before = self.pages.counters()
        refuse = data.draw(st.none() | st.integers(0, 12), label="refuse")
        if refuse is not None:
            self.pages.fail(refuse, 1)
        ok = self.pages.grow(chunk, n)
        self.pages.fail(0, 0)
        if ok:
            self.take(chunk * CHUNK, n * CHUNK, SCAVENGED)
        else:
            assert refuse is not None
            # What may stay for the next attempt: bitmaps, a second level each, and room for a range.
            after = self.pages.counters()
            kept = (after["stat"] - before["stat"]) % (128 << (26 - self.page_shift))
            assert kept < 4096 and kept % 16 == 0
            assert after["search"] == before["search"]

    @rule(n=st.integers(1, 20) | st.integers(1, 3 * CHUNK) | st.integers(1, 1 << 27))
    def alloc(self, n: int) -> None:
        expected = self.first_fit(n)
        got = self.pages.alloc(n)
        if expected is None:
            assert got is None
        else:
            old = self.take(expected, n, USED)
            assert got == (expected, old.count(SCAVENGED))

    @rule(more=st.integers(-2, CHUNK + 2))
    def alloc_about_the_longest_run(self, more: int) -> None:
        longest = max((n for _, n in self.runs(b"[sf]+")), default=1)
        self.alloc(max(1, longest + more))

    @rule(data=st.data(), below=st.integers(1, 700), above=st.integers(1, 700))
    def free_around_a_border(self, data: st.DataObject, below: int, above: int) -> None:
        """A run that ends in one chunk what it begins in another."""
        borders = [c for c in self.grown() if self.chunk(c)[0] == USED]
        if borders:
            border = CHUNK * data.draw(st.sampled_from(borders), label="chunk")
            cells, at = self.locate(border)
            match_above = re.match(b"u+", cells[at : at + above])
            match_below = re.match(b"u*", cells[max(0, at - below) : at][::-1])
            assert match_above is not None and match_below is not None
            page, n = border - match_below.end(), match_below.end() + match_above.end()
            self.pages.free(page, n)
            self.take(page, n, FREE)

    @rule(n=st.integers(1, 2 * CHUNK))
    def fill_up(self, n: int) -> None:
        """Leaves no run of n pages."""
        for _ in range(30):
            if self.first_fit(n) is None:
                break
            self.alloc(n)

    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        runs = self.runs(b"u+")
        if not runs:
            return
        page, n = data.draw(st.sampled_from(runs), label="run")
        skip = data.draw(st.integers(0, n - 1) | st.just(0), label="skip")
        count = data.draw(st.integers(1, n - skip) | st.just(n - skip), label="pages")
        self.pages.free(page + skip, count)
        self.take(page + skip, count, FREE)
        with pytest.raises(ValueError):
            self.pages.free(page + skip, count)

    @rule(data=st.data(), every=st.integers(2, 70))
    def free_every(self, data: st.DataObject, every: int) -> None:
        """Many small runs."""
        runs = self.runs(b"u{100,}")
        if runs:
            page, n = data.draw(st.sampled_from(runs), label="run")
            for at in range(page, page + min(n, CHUNK), every):
                self.pages.free(at, 1)
                self.take(at, 1, FREE)

    @rule(n=st.integers(1, CHUNK))
    def find(self, n: int) -> None:
        assert self.pages.find(n) == self.first_fit(n)

    @rule(i=st.integers(0, 1))
    def cache_fill(self, i: int) -> None:
        if self.caches[i]:
            return
        first = self.first_fit(1)
        base, free, scavenged = self.pages.cache_fill(i)
        if first is None:
            assert free == 0
            return
        assert base == first // 64 * 64
        cells, at = self.locate(base)
        block = bytes(cells[at : at + 64])
        self.caches[i] = {base + k: s for k, s in enumerate(block) if s in (SCAVENGED, FREE)}
        assert free == sum(1 << p - base for p in self.caches[i])
        assert scavenged == sum(1 << p - base for p, s in self.caches[i].items() if s == SCAVENGED)
        for page in self.caches[i]:
            self.take(page, 1, CACHED)

    @rule(i=st.integers(0, 1), n=st.integers(1, 16) | st.integers(1, 64))
    def cache_alloc(self, i: int, n: int) -> None:
        cache = self.caches[i]
        fits = (p for p in sorted(cache) if all(p + k in cache for k in range(n)))
        expected = next(fits, None)
        got = self.pages.cache_alloc(i, n)
        if expected is None:
            assert got is None
            return
        old = [cache.pop(expected + k) for k in range(n)]
        self.take(expected, n, USED)
        assert got == (expected, old.count(SCAVENGED))

    @rule(i=st.integers(0, 1))
    def cache_flush(self, i: int) -> None:
        self.pages.cache_flush(i)
        for page, state in self.caches[i].items():
            self.take(page, 1, state)
        self.caches[i] = {}

    def scavenge_step(self, force: bool, n: int) -> bool:
        """False if there is no chunk to scavenge."""
        backed = [c for c in self.grown() if FREE in self.chunk(c)]
        got = self.pages.scavenge(force, n)
        if got is None:
            assert not (force and backed)
            return False
        where, count = got
        chunk = where // CHUNK if count else where
        pages = self.chunk(chunk)
        if force:
            assert chunk >= max(backed, default=0)
        else:
            assert sum(s in (USED, CACHED) for s in pages) < DENSE
        if count == 0:
            assert FREE not in pages
            return True
        end = pages.rindex(FREE) + 1
        run = end - len(pages[:end].rstrip(b"f"))
        assert (where, count) == (chunk * CHUNK + end - min(run, n), min(run, n))
        self.take(where, count, SCAVENGED)
        return True

    @rule(force=st.booleans(), n=st.integers(1, CHUNK))
    def scavenge(self, force: bool, n: int) -> None:
        self.scavenge_step(force, n)

    @rule()
    def next_generation(self) -> None:
        self.pages.next_generation()

    @rule(n=st.integers(8, CHUNK))
    def background_finds_all(self, n: int) -> None:
        """In a new generation the background scavenger leaves only what is in dense chunks."""
        self.pages.next_generation()
        while self.scavenge_step(False, n):
            pass
        for chunk in self.grown():
            pages = self.chunk(chunk)
            assert FREE not in pages or sum(s in (USED, CACHED) for s in pages) >= DENSE

    @rule()
    def force_finds_all(self) -> None:
        while self.scavenge_step(True, CHUNK):
            pass
        assert not self.runs(b"f")

    # --- Invariants ---

    @invariant()
    def verifies(self) -> None:
        if hasattr(self, "pages"):
            assert self.pages.verify() is None

    @invariant()
    def counts_its_memory(self) -> None:
        if hasattr(self, "pages"):
            counters = self.pages.counters()
            assert counters["ready"] == counters["stat"]

    @invariant()
    def same_bitmaps(self) -> None:
        if not hasattr(self, "pages"):
            return
        for chunk in self.grown():
            pages = self.chunk(chunk)
            in_use, scavenged = self.pages.bits(chunk)
            for bits, states in ((in_use, (USED, CACHED)), (scavenged, (SCAVENGED,))):
                expected = sum(1 << i for i, s in enumerate(pages) if s in states)
                assert int.from_bytes(bits, "little") == expected

    @invariant()
    def same_ranges(self) -> None:
        if not hasattr(self, "pages"):
            return
        ranges = self.pages.ranges()
        assert [c for low, high in ranges for c in range(low, high)] == self.grown()
        assert self.pages.counters()["grown_bytes"] == len(self.grown()) * CHUNK << self.page_shift


class SmallPages(PageAllocMachine):
    page_shift = 12


class LargePages(PageAllocMachine):
    page_shift = 16


TestPageAlloc = PageAllocMachine.TestCase
TestSmallPages = SmallPages.TestCase
TestLargePages = LargePages.TestCase


def test_finds_runs_longer_than_a_chunk_across_levels() -> None:
    pages = door.PageAlloc()
    assert pages.grow(4090, 14)
    assert pages.alloc(3) == (4090 * CHUNK, 3)
    assert pages.alloc(13 * CHUNK) == (4090 * CHUNK + 3, 13 * CHUNK)
    assert pages.alloc(CHUNK) is None
    pages.free(4090 * CHUNK + 3, 13 * CHUNK)
    assert pages.alloc(14 * CHUNK - 3) == (4090 * CHUNK + 3, CHUNK - 3)


def test_wrong_arguments() -> None:
    pages = door.PageAlloc()
    assert pages.grow(5, 1)
    for call in (
        lambda: pages.grow(5, 1),
        lambda: pages.grow(0, 1),
        lambda: pages.free(5 * CHUNK, 1),
        lambda: pages.free(CHUNK, 1),
        lambda: pages.alloc(0),
        lambda: pages.bits(6),
        lambda: pages.cache_alloc(2, 1),
        lambda: door.PageAlloc(11),
    ):
        with pytest.raises(ValueError):
            call()
    assert pages.verify() is None
