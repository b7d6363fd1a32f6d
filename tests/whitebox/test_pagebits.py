"""Page bitmaps and their summaries against strings of '0' (free) and '1' (in use)."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gomem import _testing as door

PAGES = 512


def to_bytes(pages: str) -> bytes:
    return int(pages[::-1], 2).to_bytes(len(pages) // 8, "little")


def to_pages(bits: bytes) -> str:
    return format(int.from_bytes(bits, "little"), f"0{PAGES}b")[::-1]


@st.composite
def bitmaps(draw: st.DrawFn) -> str:
    """Runs of many lengths: uniformly random bits have no long runs."""
    runs = draw(st.lists(st.integers(1, 300) | st.integers(1, 5) | st.just(64), max_size=60))
    bit, pages = draw(st.sampled_from("01")), ""
    for run in runs:
        pages += bit * run
        bit = "10"[int(bit)]
    return (pages + bit * PAGES)[:PAGES]


@st.composite
def islands(draw: st.DrawFn) -> str:
    """A few short runs of free pages, most of them inside a word."""
    pages = "1" * PAGES
    for _ in range(draw(st.integers(1, 6))):
        n = draw(st.integers(1, 64))
        at = draw(st.integers(0, PAGES - n))
        pages = pages[:at] + "0" * n + pages[at + n :]
    return pages


@st.composite
def page_ranges(draw: st.DrawFn) -> tuple[int, int]:
    first = draw(st.integers(0, PAGES - 1))
    return first, draw(st.integers(1, PAGES - first))


@given(bitmaps(), page_ranges())
@example("0" * PAGES, (0, PAGES))
@example("1" * PAGES, (64, 64))
def test_ranges(pages: str, where: tuple[int, int]) -> None:
    first, n = where
    bits = to_bytes(pages)
    assert to_pages(bits) == pages
    assert door.page_bits_count(bits, first, n) == pages[first : first + n].count("1")
    after = pages[:first] + "1" * n + pages[first + n :]
    assert to_pages(door.page_bits_set(bits, first, n)) == after
    after = pages[:first] + "0" * n + pages[first + n :]
    assert to_pages(door.page_bits_clear(bits, first, n)) == after


@given(bitmaps() | islands(), st.integers(1, 80) | st.integers(1, PAGES), st.integers(0, PAGES - 1))
@example("0" * PAGES, PAGES, 0)
@example("1" * 63 + "0" * 65 + "1" * 384, 65, 0)
def test_find(pages: str, n: int, start: int) -> None:
    """The first run at or after the start of the word of ``start``."""
    word = start // 64 * 64
    found, first_free = door.page_bits_find(to_bytes(pages), n, start)
    assert found == pages.find("0" * n, word)
    expected = pages.find("0", word)
    # It need not be known when nothing was found; if it is, it is the first.
    assert first_free == expected


@given(bitmaps() | islands())
@example("0" * PAGES)
@example("1" * PAGES)
@example("1" * 70 + "0" * 45 + "1" * 397)
@example("1" + "0" * 62 + "1" + "1" * 448)
@example("0" + "1" * 510 + "0")
def test_summarize(pages: str) -> None:
    runs = [len(run) for run in re.findall("0+", pages)]
    start, end = len(pages) - len(pages.lstrip("0")), len(pages) - len(pages.rstrip("0"))
    assert door.page_bits_summarize(to_bytes(pages)) == (start, max(runs, default=0), end)


@given(st.lists(bitmaps() | st.just("0" * PAGES) | st.just("1" * PAGES), min_size=1, max_size=8))
def test_merge(chunks: list[str]) -> None:
    """Merging what chunks look like is what they look like in a row."""
    summaries = [door.page_bits_summarize(to_bytes(c)) for c in chunks]
    whole = "".join(chunks)
    runs = [len(run) for run in re.findall("0+", whole)]
    start, end = len(whole) - len(whole.lstrip("0")), len(whole) - len(whole.rstrip("0"))
    assert door.summary_merge(summaries, 9) == (start, max(runs, default=0), end)


def test_merge_to_the_limit() -> None:
    """2^21 free pages do not fit in 21 bits: the special form."""
    part = (1 << 18, 1 << 18, 1 << 18)
    assert door.summary_merge([part] * 8, 18) == (1 << 21, 1 << 21, 1 << 21)
    most = (1 << 18, 1 << 18, (1 << 18) - 1)
    assert door.summary_merge([part] * 7 + [(0, 0, 0)], 18) == (7 << 18, 7 << 18, 0)
    assert door.summary_merge([(0, 5, 3), *[part] * 7], 18) == (0, (7 << 18) + 3, (7 << 18) + 3)
    assert most[2] < most[1]


@given(
    st.integers(0, 2**64 - 1) | bitmaps().map(lambda p: int(p[:64], 2)),
    st.integers(1, 64),
)
@example(2**64 - 1, 64)
@example(0, 1)
def test_find_bit_range(bits: int, n: int) -> None:
    at = format(bits, "064b")[::-1].find("1" * n)
    assert door.find_bit_range64(bits, n) == (64 if at < 0 else at)


@given(
    bitmaps(),
    bitmaps(),
    st.integers(0, PAGES - 1),
    st.sampled_from([1, 2, 8, 64]),
    st.integers(0, PAGES),
    st.sampled_from([0, 4, 16, 64, 256]),
)
def test_scavenge_candidate(
    in_use: str, scavenged: str, start: int, least: int, most: int, huge: int
) -> None:
    """What is released is free and backed, whole groups of pages, the topmost run there is; a huge
    page that would be broken is released whole if it can be."""
    scavenged = "".join(str(int(s) & ~int(u) & 1) for s, u in zip(scavenged, in_use))
    groups = [
        "0" if "1" not in in_use[i : i + least] + scavenged[i : i + least] else "1"
        for i in range(0, PAGES, least)
    ]
    blocked = "".join(g * least for g in groups)
    top = (start // 64 + 1) * 64
    found = door.scavenge_candidate(to_bytes(in_use), to_bytes(scavenged), start, least, most, huge)
    end = blocked.rfind("0", 0, top) + 1
    if end == 0:
        assert found is None
        return
    assert found is not None
    first, n = found
    run = end - (blocked.rfind("1", 0, end) + 1)
    wanted = min(run, -(-max(most, 1) // least) * least)
    if most == 0:
        wanted = min(run, least)
    at = end - wanted
    if huge > 1 and -(-at // huge) * huge <= end and at // huge * huge >= end - run:
        at = at // huge * huge
    assert (first, n) == (at, end - at)
    assert "1" not in blocked[first : first + n]


@pytest.mark.parametrize(
    "call",
    [
        lambda: door.page_bits_set(b"", 0, 1),
        lambda: door.page_bits_set(bytes(64), 500, 13),
        lambda: door.page_bits_count(bytes(64), 0, 0),
        lambda: door.page_bits_find(bytes(64), 513, 0),
        lambda: door.page_bits_find(bytes(64), 1, 512),
        lambda: door.find_bit_range64(1, 65),
        lambda: door.summary_merge([], 3),
        lambda: door.summary_merge([(1, 0, 0)], 3),
        lambda: door.range_subtract((1, 10), (3, 5)),
        lambda: door.scavenge_candidate(bytes(64), bytes(64), 0, 3, 1, 0),
    ],
)
def test_wrong_arguments(call: object) -> None:
    with pytest.raises(ValueError):
        call()  # type: ignore[operator]
