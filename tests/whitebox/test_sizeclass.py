"""Tables of size classes from arbitrary rules: lookup against a search, division against //."""

from __future__ import annotations

import bisect

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import gomem
from gomem import _testing as door

GO = gomem.SizeClasses()


@st.composite
def rules(draw: st.DrawFn) -> gomem.SizeClassRules:
    page_size = 1 << draw(st.integers(12, 18))
    return gomem.SizeClassRules(
        page_size=page_size,
        max_small_size=128 * draw(st.integers(8, 2048)),
        min_align=draw(st.sampled_from([8, 16])),
        align16_from=draw(st.sampled_from([16, 32, 64, 128])),
        align_max=draw(st.sampled_from([128, 256, 1024, 4096])),
        max_waste=draw(st.sampled_from([0.05, 0.125, 0.3])),
        stretch=draw(st.booleans()),
    )


@st.composite
def tables(draw: st.DrawFn) -> gomem.SizeClasses:
    try:
        return gomem.SizeClasses(draw(rules()))
    except ValueError:
        assume(False)
        raise


@given(tables(), st.data())
def test_lookup(table: gomem.SizeClasses, data: st.DataObject) -> None:
    """The class of a size is the smallest that fits; larger ones are large."""
    classes = [c.size for c in table]
    assert classes == sorted(set(classes))
    edges = st.sampled_from(classes).flatmap(lambda s: st.integers(max(0, s - 9), s + 9))
    for size in data.draw(st.lists(edges | st.integers(0, classes[-1] + 100), min_size=30)):
        expected = bisect.bisect_left(classes, max(size, 1))
        if size > classes[-1] - 8:
            expected = 0
        assert table.class_of(size) == expected
        if expected:
            assert table.round_up(size) == classes[expected]
        else:
            page = table.page_size
            assert table.round_up(size) == -(-size // page) * page


@given(tables())
def test_division(table: gomem.SizeClasses) -> None:
    """The slot of every offset, by multiplication, with the offsets where it could go wrong."""
    for c in list(table)[1:]:
        edges = {0, 1, c.size - 1, c.size, c.size * (c.objects - 1), c.size * c.objects - 1}
        edges |= {c.size * (c.objects // 2) - 1, c.size * (c.objects // 2), c.span_bytes - 1}
        for offset in edges:
            if 0 <= offset < c.size * c.objects:
                assert door.span_index(c.size, c.div_magic, offset) == offset // c.size


def test_division_of_every_offset() -> None:
    """Go's table: its magic numbers alone, without the correction, are right everywhere."""
    for c in list(GO)[1:]:
        for offset in range(c.span_bytes):
            assert (offset * c.div_magic) >> 32 == offset // c.size
        for offset in range(0, c.span_bytes, 7):
            assert door.span_index(c.size, c.div_magic, offset) == offset // c.size


@given(tables())
def test_rules_are_kept(table: gomem.SizeClasses) -> None:
    for c in list(table)[1:]:
        assert c.span_bytes % table.page_size == 0
        assert c.objects == c.span_bytes // c.size >= 1
        assert c.tail_waste == c.span_bytes - c.objects * c.size
        assert c.size % c.min_align == 0


def test_wrong_arguments() -> None:
    for arguments in ((0, 1, 1), (8, 0, 1), (8, 1 << 32, 1), (8, 1, 1 << 32)):
        with pytest.raises(ValueError):
            door.span_index(*arguments)
