"""Chan by itself: elements, views, wrong arguments, references."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import gomem
from gomem import Chan


@pytest.mark.parametrize(
    ("kind", "good", "bad", "zero"),
    [
        (int, [1, True, -(10**30)], ["x", 1.5, None], 0),
        (bool, [True], [1], False),
        (float, [1.5, 3], ["x", 1j], 0.0),
        (complex, [1j, 1.5, 3], ["x"], 0j),
        (str, ["x", ""], [b"x", 1], ""),
        (bytes, [b"x"], ["x"], b""),
        (tuple, [(1, 2)], [[1]], ()),
        (list, [[1]], [(1,)], None),
        (list[int], [[1]], [(1,)], None),
        (object, [1, None, "x"], [], None),
        (Any, [1, None, "x"], [], None),
        (None, [None], [0], None),
        (int | None, [1, None], ["x"], None),
        ((int, str), [1, "x"], [1.5], None),
        (gomem.Chan, [Chan(int)], [1], None),
        (Callable, [print], [1], None),
    ],
)
def test_elements(kind: Any, good: list[object], bad: list[object], zero: object) -> None:
    c: Chan[Any] = Chan(kind, 10)
    for value in good:
        c.send(value)
    for value in bad:
        with pytest.raises(TypeError, match="cannot send"):
            c.send(value)
        with pytest.raises(TypeError, match="cannot send"):
            c.try_send(value)
    assert len(c) == len(good)
    for value in good:
        assert c.recv() is value
    c.close()
    after = c.recv()
    assert after == zero and type(after) is type(zero)


@pytest.mark.parametrize(
    ("kind", "good", "bad", "zero"),
    [
        ("int64", [1, -(2**63), 2**63 - 1], [2**63, "x", 1.5], 0),
        ("int8", [127, -128], [128], 0),
        ("uint16", [65535], [-1], 0),
        ("float64", [1.5, 2], ["x"], 0.0),
        ("float32", [0.5], ["x"], 0.0),
        ("bool", [True, False], ["x"], False),
        ("complex128", [1 + 2j], ["x"], 0j),
        ("complex64", [1 + 2j], ["x"], 0j),
        (gomem.type_of("uint8"), [255], [256], 0),
    ],
)
def test_elements_of_go(kind: Any, good: list[Any], bad: list[Any], zero: object) -> None:
    c = Chan(kind, 10)
    assert c.type == gomem.type_of(kind)
    for value in good:
        c.send(value)
    for value in bad:
        with pytest.raises((TypeError, ValueError)):
            c.send(value)
    assert [c.recv() for _ in good] == good
    c.close()
    after = c.recv()
    assert after == zero and type(after) is type(zero)


@pytest.mark.parametrize("kind", [3, "nonsense", "[3]int64", "string", "*int64", [int]])
def test_wrong_types(kind: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Chan(kind)


@pytest.mark.parametrize("cap", [-1, -(2**80), 2**80, 2**63 - 1])
def test_wrong_sizes(cap: int) -> None:
    with pytest.raises(gomem.PanicError, match=r"^makechan: size out of range$"):
        Chan(int, cap)


def test_wrong_arguments() -> None:
    for call in (
        lambda: Chan(),
        lambda: Chan(int, "x"),
        lambda: Chan(int, 1.5),
        lambda: Chan(int, 1, 2),
        lambda: Chan(int, size=1),
        lambda: Chan(int).send(),
        lambda: Chan(int).recv(1),
        lambda: gomem.SendChan(),
        lambda: gomem.RecvChan(Chan(int)),
        lambda: type("Sub", (Chan,), {}),
        lambda: pickle.dumps(Chan(int)),
        lambda: copy.copy(Chan(int)),
        lambda: copy.copy(Chan(int).send_only()),
    ):
        with pytest.raises(TypeError):
            call()  # type: ignore[no-untyped-call]


def test_len_cap_truth_and_repr() -> None:
    c = Chan(int, 2)
    assert (len(c), c.cap, bool(c), c.type) == (0, 2, True, int)
    c.send(1)
    assert len(c) == 1 and repr(c).startswith("<Chan of int: 1/2 at 0x")
    c.close()
    assert "closed" in repr(c) and repr(c.send_only()).startswith("<SendChan of int: 1/2, closed")
    nil = Chan.nil(str)
    assert (len(nil), nil.cap, bool(nil), repr(nil)) == (0, 0, True, "<Chan of str: nil>")
    assert not nil.try_send("x") and nil.try_recv() is None


def test_closing() -> None:
    c = Chan(int, 3)
    with c as same:
        assert same is c
        c.send(1)
    assert c.try_recv() == (1, True)
    assert c.recv_ok() == (0, False)
    assert c.try_recv() == (0, False)
    assert list(c) == []
    for call in (lambda: c.send(1), lambda: c.try_send(1)):
        with pytest.raises(gomem.PanicError, match=r"^send on closed channel$"):
            call()


def test_views() -> None:
    c = Chan(int, 2)
    send, recv = c.send_only(), c.recv_only()
    send.send(1)
    assert send.try_send(2) and not send.try_send(3)
    assert (len(send), send.cap, send.type, bool(send)) == (2, 2, int, True)
    assert recv.recv() == 1 and recv.recv_ok() == (2, True) and recv.try_recv() is None
    with send:
        send.send(5)
    assert list(recv) == [5]
    for name in ("send", "try_send", "close", "send_only"):
        with pytest.raises(AttributeError, match=f"^{name}: this is a receive-only channel"):
            getattr(recv, name)
    for name in ("recv", "recv_ok", "try_recv", "recv_only"):
        with pytest.raises(AttributeError, match=f"^{name}: this is a send-only channel"):
            getattr(send, name)
    with pytest.raises(TypeError):
        iter(send)  # type: ignore[call-overload]
    with pytest.raises(AttributeError, match="nothing"):
        recv.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_generic_at_run_time() -> None:
    for kind in (Chan, gomem.SendChan, gomem.RecvChan):
        assert kind[int].__origin__ is kind  # type: ignore[index, attr-defined]
    assert Chan[int](int, 1).cap == 1


# --- References ---


class Thing:
    """Something of which it is counted how many there are."""


def things() -> int:
    gc.collect()
    return sum(isinstance(o, Thing) for o in gc.get_objects())


def test_elements_left_in_the_buffer_go_with_the_channel() -> None:
    c = Chan(Thing, 3)
    for _ in range(3):
        c.send(Thing())
    assert things() == 3
    c.recv()
    assert things() == 2
    del c
    assert things() == 0


def test_a_channel_in_itself_is_collected() -> None:
    c = Chan(object, 2)
    gone = weakref.ref(c)
    c.send(c)
    c.send((c.send_only(), Thing()))
    del c
    assert things() == 0 and gone() is None


def test_references_balance() -> None:
    thing = Thing()

    def everything() -> None:
        c = Chan(Thing, 1)
        for _ in range(3):
            c.send(thing)
            assert not c.try_send(thing)
            assert c.recv() is thing
            c.send(thing)
            assert c.recv_ok()[0] is thing
            assert c.try_recv() is None
            gomem.select((c, thing), None)
            gomem.select(c)
        with pytest.raises(TypeError):
            c.send(3)  # type: ignore[arg-type]
        c.send(thing)
        c.close()
        with pytest.raises(gomem.PanicError):
            c.send(thing)
        with pytest.raises(gomem.PanicError):
            gomem.select((c, thing))
        assert list(c) == [thing]

        def program() -> None:
            d = Chan(Thing)

            def sender() -> None:
                for _ in range(3):
                    d.send(thing)

            gomem.go(sender)
            for _ in range(3):
                d.recv()
            gomem.go(d.send, thing)
            gomem.go(lambda: gomem.select((d, thing), (Chan(Thing), thing), Chan(int)))
            gomem.go(d.recv)
            gomem.gosched()
            d.close()

        gomem.run(program)

    everything()
    gc.collect()
    before = sys.getrefcount(thing), sys.getrefcount(Thing), len(gc.get_objects())
    for _ in range(20):
        everything()
    gc.collect()
    after = sys.getrefcount(thing), sys.getrefcount(Thing), len(gc.get_objects())
    assert after[:2] == before[:2] and after[2] - before[2] < 20


def test_memory_that_is_out() -> None:
    with pytest.raises((MemoryError, gomem.PanicError)):
        Chan(int, 2**44)
