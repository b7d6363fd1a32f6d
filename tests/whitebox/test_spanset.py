"""Span sets against a list, and under several threads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gomem import _testing as door

NSPANS = 8


@given(st.lists(st.sampled_from(["pop", "take_all", *range(NSPANS)]), max_size=100))
def test_is_a_stack(steps: list[str | int]) -> None:
    spans = door.SpanSet(NSPANS)
    model: list[str | int] = []
    for step in steps:
        if step == "pop":
            assert spans.pop() == (model.pop() if model else None)
        elif step == "take_all":
            assert spans.take_all() == model[::-1]
            model = []
        elif step in model:
            with pytest.raises(ValueError):
                spans.push(int(step))
        else:
            spans.push(int(step))
            model.append(step)
        assert spans.count() == len(model)


@given(st.lists(st.sampled_from(["pop", "take_all", *range(3)]), max_size=60))
def test_heads_never_recur(steps: list[str | int]) -> None:
    """A thread that has read a head finds it changed whenever anything was pushed since, even if the
    same span is on top again: the tag in the word says so."""
    spans = door.SpanSet(3)
    inside: set[int] = set()
    seen = set()
    for step in steps:
        if step == "pop":
            inside.discard(-1 if (popped := spans.pop()) is None else popped)
        elif step == "take_all":
            spans.take_all()
            inside.clear()
        elif step not in inside:
            spans.push(int(step))
            inside.add(int(step))
            assert spans.head() not in seen
            seen.add(spans.head())


@pytest.mark.parametrize("nspans", [2, 3, 100])
@pytest.mark.parametrize("seed", [1, 2])
def test_threads(nspans: int, seed: int) -> None:
    """No span is got by two threads at once, and none is lost. Few spans make ABA likely."""
    spans = door.SpanSet(nspans)
    assert spans.race(4, 60_000, seed) == 0
    assert spans.count() == nspans
    assert sorted(spans.take_all()) == list(range(nspans))
    assert spans.count() == 0
