"""Channels between threads, and between programs in several threads."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

import gomem
from gomem import Chan
from gomem.testing import in_threads


def produce(c: Chan[int], n: int) -> Callable[[], None]:
    def f() -> None:
        for i in range(n):
            c.send(i)

    return f


def consume(c: Chan[int], out: list[int]) -> Callable[[], None]:
    return lambda: out.extend(c)


def pick(c: Chan[int], out: list[int]) -> Callable[[], None]:
    def f() -> None:
        while True:
            _, v, ok = gomem.select(c, c, Chan.nil(int))
            if not ok:
                return
            out.append(v)

    return f


@pytest.mark.parametrize("cap", [0, 1, 10])
@pytest.mark.parametrize("how", [consume, pick])
@pytest.mark.parametrize("programs", [False, True])
def test_nothing_is_lost(
    cap: int, how: Callable[[Chan[int], list[int]], Callable[[], None]], programs: bool
) -> None:
    c = Chan(int, cap)
    n, received = 300, [[], []]  # type: int, list[list[int]]
    producers = [produce(c, n) for _ in range(3)]
    done = Chan(None, 3)

    def and_tell(f: Callable[[], None]) -> Callable[[], None]:
        def both() -> None:
            f()
            done.send(None)

        return both

    def closer() -> None:
        for _ in producers:
            done.recv()
        c.close()

    functions = [*map(and_tell, producers), closer, *(how(c, r) for r in received)]
    if programs:
        in_threads(*(lambda f=f: gomem.run(f) for f in functions))  # type: ignore[misc]
    else:
        in_threads(*functions)
    assert sorted(received[0] + received[1]) == sorted(list(range(n)) * 3)
    c._verify()


def test_one_producer_s_order_is_kept() -> None:
    c = Chan("int64", 4)
    out: list[int] = []

    def producer() -> None:
        produce(c, 500)()
        c.close()

    in_threads(producer, consume(c, out))
    assert out == list(range(500))


def test_closing_wakes_threads() -> None:
    c = Chan(int)
    results: list[object] = []

    def sender() -> None:
        with pytest.raises(gomem.PanicError, match="send on closed channel"):
            gomem.select((d, 1))

    d = Chan(int)

    def closer() -> None:
        while not (threading.active_count() >= 4 and len(results) == 0):
            pass
        c.close()
        d.close()

    in_threads(lambda: results.append(c.recv_ok()), sender, closer)
    assert results == [(0, False)]


def test_threads_that_all_wait_are_told() -> None:
    c = Chan(int)
    told: list[str] = []

    def waiter() -> None:
        with pytest.raises(gomem.FatalError) as caught:
            gomem.run(c.recv) if len(threading.enumerate()) % 2 else c.recv()
        told.append(str(caught.value))

    t = threading.Thread(target=waiter)
    t.start()
    with pytest.raises(gomem.FatalError, match="all goroutines are asleep - deadlock!"):
        while True:  # whoever is told first is not asleep any more
            c.recv()
    c.try_send(1)
    t.join(50)
    assert not t.is_alive() and len(told) <= 1
    c._verify()


def test_who_is_awake_may_wake_others() -> None:
    """A thread that has never used a channel and runs since gomem was imported counts."""
    c = Chan(int)
    timer = threading.Timer(0.2, c.send, (1,))
    timer.start()
    assert c.recv() == 1
    timer.join()


BYSTANDER = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
import gomem
c = gomem.Chan(int)
for f in (c.recv, lambda: gomem.run(c.recv)):
    try:
        f()
    except gomem.FatalError as e:
        print(str(e).splitlines()[0])
"""


def test_threads_that_were_there_first_do_not_count() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BYSTANDER], capture_output=True, text=True, timeout=50, check=False
    )
    text = "fatal error: all goroutines are asleep - deadlock!\n"
    assert (done.stdout, done.stderr) == (text * 2, "")
