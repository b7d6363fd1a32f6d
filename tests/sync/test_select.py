"""gomem.select: which case is chosen, and what is no case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import gomem
from gomem import Chan

# 99.9999 % quantiles of chi square: one fair choice in a million is refused.
LIMITS = {1: 23.9, 2: 27.6, 3: 30.7, 7: 40.5, 19: 62.6}


def assert_uniform(counts: Counter[int], n: int) -> None:
    each = counts.total() / n
    statistic = sum((counts[i] - each) ** 2 / each for i in range(n))
    assert set(counts) <= set(range(n))
    assert statistic < LIMITS[n - 1], counts


@pytest.mark.parametrize("n", [2, 3, 4, 8, 20])
def test_ready_cases_are_chosen_alike(n: int) -> None:
    chans = [Chan(int, 1) for _ in range(n)]
    for c in chans:
        c.send(0)
    counts: Counter[int] = Counter()
    for _ in range(500 * n):
        index, _, ok = gomem.select(*chans)
        assert ok
        chans[index].send(0)
        counts[index] += 1
    assert_uniform(counts, n)


def test_sends_and_receives_are_chosen_alike() -> None:
    full, empty = Chan(int, 1), Chan(int, 1)
    full.send(0)
    counts: Counter[int] = Counter()
    for _ in range(3000):
        index, _, _ = gomem.select(full, (empty, 0))
        counts[index] += 1
        if index == 0:
            full.send(0)
        else:
            empty.recv()
    assert_uniform(counts, 2)


def test_the_same_channel_twice_and_nil_ones_between() -> None:
    c = Chan(int, 1)
    counts: Counter[int] = Counter()
    for _ in range(3000):
        c.send(0)
        counts[gomem.select(None, c, Chan.nil(int), c, (None, 1))[0]] += 1
    assert_uniform(Counter({0: counts[1], 1: counts[3]}), 2)
    assert counts.total() == counts[1] + counts[3]


def test_who_waits_in_one_channel_twice_is_served_alike() -> None:
    """The cases of a select that has to wait go into the queue in random order."""
    counts: Counter[int] = Counter()

    def main() -> None:
        c, done = Chan(int), Chan(int)

        def waiter() -> None:
            for _ in range(3000):
                counts[gomem.select(c, c)[0]] += 1
            done.close()

        gomem.go(waiter)
        for i in range(3000):
            gomem.gosched()
            c.send(i)
        done.recv()

    gomem.run(main)
    assert_uniform(counts, 2)


def test_a_choice_does_not_depend_on_where_channels_are() -> None:
    """Parked on several channels, it is the one that is served first."""

    def main() -> list[int]:
        chans = [Chan(int) for _ in range(30)]
        done = Chan(object, 30)

        def waiter() -> None:
            while True:
                done.send(gomem.select(*chans))

        gomem.go(waiter)
        for c in reversed(chans):
            c.send(1)
        return [done.recv()[0] for _ in chans]

    assert gomem.run(main) == list(reversed(range(30)))


def test_default() -> None:
    c = Chan(int, 1)
    assert gomem.select(c, default=True) == (-1, None, False)
    assert gomem.select(default=True) == (-1, None, False)
    assert gomem.select((c, 1), default=True) == (0, None, False)
    assert gomem.select((c, 1), default=True) == (-1, None, False)
    assert gomem.select(c, default=True) == (0, 1, True)
    c.close()
    assert gomem.select(c, default=True) == (0, 0, False)


def test_many_cases() -> None:
    chans = [Chan(int, 1) for _ in range(5000)]
    assert gomem.select(*chans, default=True)[0] == -1
    chans[1234].send(5)
    assert gomem.select(*chans) == (1234, 5, True)
    with pytest.raises(ValueError, match="at most 65536 cases, not 65537"):
        gomem.select(*[None] * 65537)


class Big:
    """Something whose references are counted."""


def test_what_was_not_sent_is_let_go() -> None:
    import gc

    a, b = Chan(Big), Chan(Big, 1)
    gomem.select((a, Big()), (b, Big()))
    gomem.select((a, Big()), (b, Big()), default=True)
    with pytest.raises(TypeError, match="cannot send 3, a int, on a channel of Big"):
        gomem.select((a, Big()), (b, 3))
    closed = Chan(Big)
    closed.close()
    with pytest.raises(gomem.PanicError):
        gomem.select((a, Big()), (closed, Big()))
    assert sum(isinstance(o, Big) for o in gc.get_objects()) == 1  # in b
    del a, b, closed
    assert not any(isinstance(o, Big) for o in gc.get_objects())


@pytest.mark.parametrize(
    "call",
    [
        lambda c: gomem.select(3),
        lambda c: gomem.select((c,)),
        lambda c: gomem.select((c, 1, 2)),
        lambda c: gomem.select([c, 1]),
        lambda c: gomem.select((3, 1)),
        lambda c: gomem.select(c.send_only()),
        lambda c: gomem.select((c.recv_only(), 1)),
        lambda c: gomem.select(c, default=True, other=1),
        lambda c: gomem.select((c, "x")),
    ],
)
def test_wrong_cases(call: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        call(Chan(int, 1))


def test_views_are_cases() -> None:
    c = Chan(int, 1)
    assert gomem.select((c.send_only(), 4)) == (0, None, False)
    assert gomem.select(c.recv_only()) == (0, 4, True)
