"""The programs of tools/golden_sync.go, here: what they panic with, what is said when all are asleep,
and the order in which goroutines do things are Go's."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import gomem
from gomem import Chan

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "sync.json").read_text())

# --- Panics ---


def closed() -> Chan[int]:
    c = Chan(int, 1)
    c.close()
    return c


def parked(operation: Callable[[Chan[int]], object]) -> None:
    def main() -> None:
        c = Chan(int)
        gomem.go(c.close)
        operation(c)

    gomem.run(main)


PANICS: dict[str, Callable[[], object]] = {
    "send": lambda: closed().send(1),
    "close": lambda: closed().close(),
    "close nil": lambda: Chan.nil(int).close(),
    "make": lambda: Chan(int, -1),
    "select send": lambda: gomem.select((closed(), 1), Chan(int)),
    "select default": lambda: gomem.select((closed(), 1), default=True),
    "parked send": lambda: parked(lambda c: c.send(1)),
    "parked select": lambda: parked(lambda c: gomem.select((c, 1), Chan(int))),
}


@pytest.mark.parametrize("name", GOLDEN["panics"])
def test_panics(name: str) -> None:
    with pytest.raises(gomem.PanicError) as caught:
        PANICS[name]()
    assert str(caught.value) == GOLDEN["panics"][name]


# --- All asleep ---


def send_full() -> None:
    c = Chan(int, 1)
    c.send(1)
    c.send(2)


def two() -> None:
    c, d = Chan(int), Chan(int)
    gomem.go(c.recv)
    gomem.gosched()
    gomem.go(d.send, 1)
    gomem.gosched()
    gomem.select()


ASLEEP: dict[str, Callable[[], object]] = {
    "receive": lambda: Chan(int).recv(),
    "send": lambda: Chan(int).send(1),
    "send full": send_full,
    "nil receive": lambda: Chan.nil(int).recv(),
    "nil send": lambda: Chan.nil(int).send(1),
    "range": lambda: list(Chan(int)),
    "select": lambda: gomem.select(Chan(int), (Chan(int), 1)),
    "select none": lambda: gomem.select(),
    "select one": lambda: gomem.select(Chan(int)),
    "select nil": lambda: gomem.select(None, (None, 1)),
    "two": two,
}


@pytest.mark.parametrize("name", GOLDEN["asleep"])
def test_all_asleep(name: str) -> None:
    expected = GOLDEN["asleep"][name]
    with pytest.raises(gomem.FatalError) as caught:
        gomem.run(ASLEEP[name])
    first, _, rest = str(caught.value).partition("\n")
    assert first == expected["first"]
    headers = re.findall(r"^goroutine (\d+) \[(.*)\]:$", rest, re.MULTILINE)
    assert [status for _, status in headers] == [row[0] for row in expected["goroutines"]]
    created = re.findall(r"^created by \S+ in goroutine (\d+)$", rest, re.MULTILINE)
    assert created == [row[2] for row in expected["goroutines"] if row[2]]


@pytest.mark.parametrize(
    "name", [n for n, r in GOLDEN["asleep"].items() if len(r["goroutines"]) == 1]
)
def test_a_thread_alone_is_asleep(name: str) -> None:
    """Without a program it is the thread that would wait for ever."""
    with pytest.raises(gomem.FatalError) as caught:
        ASLEEP[name]()
    first, _, rest = str(caught.value).partition("\n")
    assert first == GOLDEN["asleep"][name]["first"]
    assert f"thread [{GOLDEN['asleep'][name]['goroutines'][0][0]}]:" in rest


# --- Orders ---

Log = Callable[[str], None]


def each(log: Log, n: int, f: Callable[[int], None]) -> None:
    done = Chan(int, n)

    def one(i: int) -> None:
        f(i)
        done.send(i)

    for i in range(n):
        gomem.go(one, i)
    for _ in range(n):
        log(f"done {done.recv()}")


def start(log: Log) -> None:
    each(log, 5, lambda i: log(f"run {i}"))


def gosched(log: Log) -> None:
    def steps(i: int) -> None:
        for j in range(3):
            log(f"{i} at {j}")
            gomem.gosched()

    each(log, 3, steps)


def pipe(capacity: int) -> Callable[[Log], None]:
    def program(log: Log) -> None:
        c = Chan(int, capacity)

        def sender() -> None:
            for i in range(6):
                log(f"send {i}")
                c.send(i)
                log(f"sent {i}")
            c.close()
            log("closed")

        gomem.go(sender)
        for v in c:
            log(f"got {v}")
        log("end")

    return program


def close_wakes(log: Log) -> None:
    c, done = Chan(int), Chan(int)

    def waiter(i: int) -> None:
        _, ok = c.recv_ok()
        log(f"{i} woken {str(ok).lower()}")
        done.send(i)

    for i in range(4):
        gomem.go(waiter, i)
    gomem.gosched()
    c.close()
    log("closed")
    for _ in range(4):
        log(f"done {done.recv()}")


def fifo(log: Log) -> None:
    c = Chan(int)

    def one(i: int) -> None:
        if i < 3:
            log(f"{i} got {c.recv()}")
            return
        for j in range(3):
            log(f"send {j}")
            c.send(j)

    each(log, 4, one)


def full_buffer(log: Log) -> None:
    c = Chan(int, 1)

    def sender(i: int) -> None:
        log(f"send {i}")
        c.send(i)
        log(f"sent {i}")

    def starter() -> None:
        for i in range(3):
            gomem.go(sender, i)

    gomem.go(starter)
    gomem.gosched()
    gomem.gosched()
    for _ in range(3):
        log(f"got {c.recv()}")
    gomem.gosched()


def select_parks(log: Log) -> None:
    a, b, done = Chan(int), Chan(int), Chan(int)

    def selector() -> None:
        for i in range(4):
            match gomem.select(a, (b, i)):
                case 0, v, ok:
                    log(f"a {v} {str(ok).lower()}")
                case 1, _, _:
                    log(f"b took {i}")
        done.close()

    gomem.go(selector)
    gomem.gosched()
    a.send(1)
    log("sent")
    log(f"got {b.recv()}")
    a.send(2)
    a.close()
    done.recv()
    log("end")


def ring(log: Log) -> None:
    def station(i: int, here: Chan[int], there: Chan[int]) -> None:
        v = here.recv()
        log(f"{i} passes {v}")
        there.send(v + 1)

    first = last = Chan(int)
    for i in range(4):
        out = Chan(int)
        gomem.go(station, i, last, out)
        last = out
    first.send(0)
    log(f"got {last.recv()}")


ORDERS: dict[str, Callable[[Log], None]] = {
    "start": start,
    "gosched": gosched,
    "unbuffered": pipe(0),
    "buffered 1": pipe(1),
    "buffered 3": pipe(3),
    "close wakes": close_wakes,
    "waiters are first in first out": fifo,
    "senders queue on a full buffer": full_buffer,
    "select parks": select_parks,
    "ring": ring,
}


@pytest.mark.parametrize("name", GOLDEN["orders"])
def test_orders(name: str) -> None:
    events: list[str] = []
    gomem.run(ORDERS[name], events.append)
    assert events == GOLDEN["orders"][name]


def test_all_programs_are_here() -> None:
    for ours, theirs in ((PANICS, "panics"), (ASLEEP, "asleep"), (ORDERS, "orders")):
        assert ours.keys() == GOLDEN[theirs].keys()


def test_the_first_program_of_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", readme, re.S) if "gomem.run(" in b]
    exec(textwrap.dedent(block), {})
    assert capsys.readouterr().out == "0\n1\n2\n"
