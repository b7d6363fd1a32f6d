"""Programs: how they begin and end, what goroutines raise, interrupts, deadlocks."""

from __future__ import annotations

import contextvars
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

import greenlet
import pytest

import gomem
from gomem import Chan


def test_run_gives_back_what_main_returns() -> None:
    assert gomem.run(lambda: 42) == 42
    assert gomem.run(divmod, 7, 2) == (3, 1)
    assert gomem.run(dict, [("a", 1)], b=2) == {"a": 1, "b": 2}


def test_go_passes_arguments() -> None:
    def main() -> list[Any]:
        out = Chan(object, 5)

        def f(*args: object, **kwargs: object) -> None:
            out.send((args, kwargs))

        gomem.go(f)
        gomem.go(f, 1, 2)
        gomem.go(f, 1, x=2)
        gomem.go(f, y=3)
        return [out.recv() for _ in range(4)]

    # The last one that was begun runs first, as in Go.
    assert gomem.run(main) == [((), {"y": 3}), ((), {}), ((1, 2), {}), ((1,), {"x": 2})]


@pytest.mark.parametrize("call", [gomem.run, gomem.go])
def test_wrong_calls(call: Callable[..., object]) -> None:
    for args in ((), (3,), ("x", 1)):
        with pytest.raises(TypeError, match="needs a function to call"):
            call(*args)


def test_outside_of_run() -> None:
    with pytest.raises(RuntimeError, match=r"call it inside gomem\.run"):
        gomem.go(print)
    assert gomem.num_goroutine() == 0
    gomem.gosched()


def test_one_program_a_thread() -> None:
    def main() -> None:
        with pytest.raises(RuntimeError, match="a program runs in this thread already"):
            gomem.run(print)

    gomem.run(main)
    gomem.run(main)


def test_num_goroutine() -> None:
    def main() -> list[int]:
        counts = [gomem.num_goroutine()]
        c = Chan(int)
        for _ in range(3):
            gomem.go(c.recv)
        counts.append(gomem.num_goroutine())
        c.send(1)
        gomem.gosched()
        counts.append(gomem.num_goroutine())
        return counts

    assert gomem.run(main) == [1, 4, 3]


# --- The end ---


def test_main_returns_and_the_others_are_unwound() -> None:
    ended = []

    def other(number: int) -> None:
        try:
            if number == 0:
                Chan(int).recv()
            elif number == 1:
                Chan(int).send(1)
            elif number == 2:
                gomem.select(Chan(int), (Chan(int), 1))
            elif number == 3:
                gomem.select()
            else:
                while True:
                    gomem.gosched()
        except BaseException as e:
            ended.append((number, type(e)))
            raise
        finally:
            # No waiting any more: it would be for ever.
            with pytest.raises(greenlet.GreenletExit):
                Chan(int).recv()
            with pytest.raises(RuntimeError, match="the program is over"):
                gomem.go(print)

    def main() -> str:
        for i in range(5):
            gomem.go(other, i)
        gomem.gosched()
        gomem.go(ended.append, "never begun")
        return "done"

    assert gomem.run(main) == "done"
    assert sorted(ended) == [(i, greenlet.GreenletExit) for i in range(5)]


def test_what_is_raised_in_a_goroutine_ends_the_program() -> None:
    class Mistake(Exception):
        pass

    unwound = []

    def bad() -> None:
        raise Mistake("here")

    def main() -> None:
        gomem.go(bad)
        try:
            Chan(int).recv()
        finally:
            unwound.append("main")

    with pytest.raises(Mistake, match="here") as caught:
        gomem.run(main)
    assert unwound == ["main"]
    assert [f.name for f in traceback.extract_tb(caught.value.__traceback__)][-1] == "bad"
    if sys.version_info >= (3, 11):
        (note,) = caught.value.__notes__
        assert note.startswith("panic: Mistake('here')\n\ngoroutine 2 [running]:\ncreated by ")
        assert "main in goroutine 1\n\t" in note


def test_what_main_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        gomem.run(lambda: 1 / 0)
    with pytest.raises(SystemExit):
        gomem.run(sys.exit)
    with pytest.raises(gomem.PanicError) as caught:
        gomem.run(lambda: Chan.nil(int).close())
    assert str(caught.value) == "close of nil channel"


def test_panics_can_be_caught_where_they_are() -> None:
    def main() -> str:
        c, out = Chan(int), Chan(str)

        def sender() -> None:
            try:
                c.send(1)
            except gomem.PanicError as e:
                out.send(str(e))

        gomem.go(sender)
        gomem.gosched()
        c.close()
        return out.recv()

    assert gomem.run(main) == "send on closed channel"


def test_what_is_raised_while_unwinding_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = []
    monkeypatch.setattr(sys, "unraisablehook", lambda u: said.append(u.exc_value))

    def stubborn() -> None:
        try:
            Chan(int).recv()
        finally:
            raise ValueError("while unwinding")

    def main() -> None:
        gomem.go(stubborn)
        gomem.gosched()

    gomem.run(main)
    assert [str(e) for e in said] == ["while unwinding"]


def starter() -> None:
    for _ in range(10):
        gomem.go(Chan(int).recv)
    gomem.go(print)


def test_nothing_is_kept_of_a_program() -> None:
    context = contextvars.copy_context()
    counted = [starter.__code__, starter, print, context]
    before = [sys.getrefcount(o) for o in counted]
    for _ in range(10):
        gomem.run(starter)
        context.run(gomem.run, starter)
    gc.collect()
    assert [sys.getrefcount(o) for o in counted] == before
    assert not any(
        isinstance(o, greenlet.greenlet) for o in gc.get_objects() if o is not greenlet.getcurrent()
    )


# --- Interrupts ---


def interrupt_soon() -> threading.Timer:
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def test_interrupt_while_all_wait() -> None:
    seen = []

    def other() -> None:
        try:
            Chan(int).recv()
        finally:
            seen.append("other")

    def main() -> None:
        gomem.go(other)
        try:
            Chan(int).recv()
        except KeyboardInterrupt:
            seen.append("main")
            raise

    timer = interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        gomem.run(main)
    timer.join()
    assert seen == ["main", "other"]
    assert gomem.run(lambda: 1) == 1


def test_main_may_go_on_after_an_interrupt() -> None:
    def main() -> int:
        c = Chan(int)
        try:
            c.recv()
        except KeyboardInterrupt:
            gomem.go(c.send, 5)
        return c.recv()

    timer = interrupt_soon()
    assert gomem.run(main) == 5
    timer.join()


def test_others_are_woken_at_the_moment_of_an_interrupt() -> None:
    """The handler wakes all and then raises: those that are to run before main are not forgotten."""
    c: Chan[int] = Chan(int)
    done: Chan[int] = Chan(int, 10)

    def other(i: int) -> None:
        c.recv()
        done.send(i)

    def main() -> list[int]:
        for i in range(4):
            gomem.go(other, i)
        gomem.gosched()  # they wait before main does
        try:
            c.recv()
        except KeyboardInterrupt:
            return sorted(done.recv() for _ in range(4))
        raise AssertionError("there was no interrupt")

    def handler(signum: int, frame: FrameType | None) -> None:
        c.close()
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGINT, handler)
    try:
        timer = interrupt_soon()
        assert gomem.run(main) == [0, 1, 2, 3]
        timer.join()
    finally:
        signal.signal(signal.SIGINT, old)


@pytest.mark.parametrize("which", ["recv", "send", "select"])
def test_interrupt_of_a_thread(which: str) -> None:
    c = Chan(int)
    calls = {"recv": c.recv, "send": lambda: c.send(1), "select": lambda: gomem.select(c, (c, 1))}
    timer = interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        calls[which]()
    timer.join()
    c._verify()
    assert c.try_recv() is None and not c.try_send(1)  # nobody is left in the queues


def test_interrupt_of_a_busy_goroutine() -> None:
    def main() -> None:
        a, b = Chan(int), Chan(int)

        def echo() -> None:
            for v in a:
                b.send(v)

        gomem.go(echo)
        while True:
            a.send(1)
            b.recv()

    timer = interrupt_soon()
    with pytest.raises(KeyboardInterrupt):
        gomem.run(main)
    timer.join()


def test_a_handler_cannot_wait_but_send() -> None:
    c = Chan(int, 1)
    results = []

    def handler(*args: object) -> None:
        try:
            Chan(int).recv()
        except RuntimeError as e:
            results.append(str(e))
        c.send(5)

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        assert gomem.run(c.recv) == 5
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert len(results) == 1 and results[0].startswith("cannot wait here")


# --- Deadlocks ---


def test_a_report_names_everybody() -> None:
    def waiter(c: Chan[int]) -> None:
        c.recv()

    def main() -> None:
        c = Chan(int)
        gomem.go(waiter, c)
        gomem.go(waiter, c)
        Chan.nil(int).send(1)

    with pytest.raises(gomem.FatalError) as caught:
        gomem.run(main)
    text = str(caught.value)
    assert text.startswith("fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [")
    assert "goroutine 1 [chan send (nil chan)]:\n" in text
    assert text.count(" [chan receive]:\n") == 2
    line = main.__code__.co_firstlineno
    for after in (2, 3):
        assert f"main in goroutine 1\n\t{__file__}:{line + after}\n" in text
    assert f"waiter(...)\n\t{__file__}:{waiter.__code__.co_firstlineno + 1}\n" in text


def test_a_deadlock_unwinds_and_leaves_nothing() -> None:
    c = Chan(int)
    for _ in range(3):
        with pytest.raises(gomem.FatalError):
            gomem.run(c.recv)
        c._verify()
    gc.collect()


# --- Around goroutines ---


def test_contexts_are_copied() -> None:
    var = contextvars.ContextVar("var", default=0)

    def main() -> list[int]:
        out = Chan(int, 3)
        var.set(1)

        def child() -> None:
            out.send(var.get())
            var.set(7)
            gomem.gosched()
            out.send(var.get())

        gomem.go(child)
        var.set(2)
        gomem.gosched()
        out.send(var.get())
        return [out.recv() for _ in range(3)]

    assert sorted(gomem.run(main)) == [1, 2, 7]


def test_exceptions_being_handled_are_each_goroutine_s_own() -> None:
    def main() -> list[object]:
        c = Chan(int)
        out = Chan(object, 2)

        def other() -> None:
            out.send(sys.exc_info()[0])
            try:
                raise KeyError
            except KeyError:
                c.recv()
                out.send(sys.exc_info()[0])

        gomem.go(other)
        try:
            raise ValueError
        except ValueError:
            c.send(1)
            assert sys.exc_info()[0] is ValueError
        gomem.gosched()
        return [out.recv(), out.recv()]

    assert gomem.run(main) == [None, KeyError]


def test_greenlets_of_one_s_own_inside_a_goroutine() -> None:
    def main() -> list[int]:
        c = Chan(int)

        def inner() -> int:
            return c.recv() + 1  # the goroutine waits on another greenlet than its own

        def worker(out: Chan[int]) -> None:
            out.send(greenlet.greenlet(inner).switch())

        out = Chan(int)
        gomem.go(worker, out)
        gomem.gosched()
        c.send(4)
        return [out.recv()]

    assert gomem.run(main) == [5]


def test_a_greenlet_that_is_switched_to_from_outside() -> None:
    """It is told; who switched to it is gone, as nobody switches back."""
    seen: list[Any] = []

    def main() -> None:
        def victim() -> None:
            seen.append(greenlet.getcurrent())
            try:
                Chan(int).recv()
            except RuntimeError as e:
                seen.append(str(e))

        gomem.go(victim)
        gomem.gosched()
        seen[0].switch()

    gomem.run(main)
    assert seen[1] == "the greenlet of a goroutine was switched to from outside gomem"


def assert_no_growth(before: int) -> None:
    if gomem.build_info()["profile"] != "asan":  # which keeps what is freed for a while
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10  # KiB


def test_many_goroutines_and_no_growth() -> None:
    def wave(n: int) -> int:
        c = Chan(int)

        def member(left: Chan[int], right: Chan[int]) -> None:
            right.send(left.recv() + 1)

        first = last = c
        for _ in range(n):
            following = Chan(int)
            gomem.go(member, last, following)
            last = following
        first.send(0)
        return last.recv()

    assert gomem.run(wave, 2000) == 2000
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(5):
        assert gomem.run(wave, 2000) == 2000
    assert_no_growth(before)


def test_many_starts() -> None:
    count = 0

    def one() -> None:
        nonlocal count
        count += 1

    def main() -> None:
        for _ in range(1000):
            for _ in range(300):
                gomem.go(one)
            gomem.gosched()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gomem.run(main)
    assert count >= 299 * 1000
    assert_no_growth(before)


def test_deep_recursion_in_goroutines() -> None:
    def depth(n: int) -> int:
        return 0 if n == 0 else 1 + depth(n - 1)

    def main() -> list[int]:
        out = Chan(int, 10)
        for _ in range(10):
            gomem.go(lambda: out.send(depth(500)))
        return [out.recv() for _ in range(10)]

    assert gomem.run(main) == [500] * 10


def test_the_process_ends_with_goroutines_alive() -> None:
    program = """
import sys, threading, gomem
c = gomem.Chan(int)
threading.Thread(target=gomem.run, args=(c.recv,), daemon=True).start()
threading.Thread(target=c.recv, daemon=True).start()
def main():
    gomem.go(c.recv)
    gomem.gosched()
    sys.exit(3)
gomem.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_fork_in_a_goroutine() -> None:
    def main() -> int:
        c = Chan(int)
        gomem.go(c.send, 7)
        pid = os.fork()
        if pid == 0:
            os._exit(c.recv())
        _, status = os.waitpid(pid, 0)
        assert c.recv() == 7
        return os.waitstatus_to_exitcode(status)

    assert gomem.run(main) == 7


def test_time_is_shared_with_threads() -> None:
    """A program all of whose goroutines wait lets other threads run."""
    c = Chan(float)

    def thread() -> None:
        time.sleep(0.05)
        c.send(time.monotonic())

    t = threading.Thread(target=thread)
    t.start()
    gomem.run(c.recv)
    t.join()
