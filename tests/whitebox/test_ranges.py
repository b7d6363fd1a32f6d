"""Sorted address ranges against a set of addresses."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gomem import _testing as door

CELL = 4096


@st.composite
def disjoint(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Ranges that overlap nowhere and often touch, in any order."""
    cuts = sorted(draw(st.sets(st.integers(0, 200), min_size=2, max_size=60)))
    pairs = [p for p in itertools.pairwise(cuts) if draw(st.integers(0, 3))]
    return draw(st.permutations(pairs))


@given(disjoint(), st.lists(st.integers(0, 201), max_size=10))
def test_model(pairs: list[tuple[int, int]], probes: list[int]) -> None:
    ranges = door.Ranges()
    inside: set[int] = set()
    for low, high in pairs:
        assert ranges.add(low * CELL, high * CELL)
        inside |= set(range(low, high))
        assert ranges.verify()
    edges = sorted(inside)
    firsts = [i for i in edges if i - 1 not in inside]
    lasts = [i + 1 for i in edges if i + 1 not in inside]
    assert ranges.list() == [(a * CELL, b * CELL) for a, b in zip(firsts, lasts)]
    assert ranges.total_bytes() == len(inside) * CELL
    for probe in probes:
        for address in (probe * CELL, probe * CELL + CELL // 2):
            cell = address // CELL
            assert ranges.successor(address) == sum(a * CELL <= address for a in firsts)
            above = [i for i in edges if i >= cell]
            if cell in inside:
                expected: int | None = address
            else:
                expected = above[0] * CELL if above else None
            assert ranges.find(address) == expected


def test_refused_memory_changes_nothing() -> None:
    ranges = door.Ranges()
    for i in range(16):
        assert ranges.add(4 * i + 1, 4 * i + 2)
    before = ranges.list()
    # The table grows by halves of a chunk of metadata: let the chunk run out.
    ranges.fail(0, 1 << 60)
    added = 16
    while ranges.add(4 * added + 1, 4 * added + 2):
        before = ranges.list()
        added += 1
        assert added < 1 << 16
    assert ranges.list() == before and ranges.verify()
    ranges.fail(0, 0)
    assert ranges.add(4 * added + 1, 4 * added + 2)
    assert len(ranges.list()) == added + 1 and ranges.verify()


@st.composite
def two_ranges(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int]]:
    edge = st.integers(1, 20)
    a, b = (tuple(sorted(draw(st.sets(edge, min_size=2, max_size=2)))) for _ in range(2))
    return (a[0], a[1]), (b[0], b[1])


@given(two_ranges())
def test_subtract(ranges: tuple[tuple[int, int], tuple[int, int]]) -> None:
    a, b = ranges
    if a[0] < b[0] and b[1] < a[1]:
        return  # would be two ranges
    left = set(range(*a)) - set(range(*b))
    base, limit = door.range_subtract(a, b)
    assert set(range(base, limit)) == left
