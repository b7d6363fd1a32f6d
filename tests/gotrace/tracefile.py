"""Writes small execution traces by hand, byte by byte, in the formats of Go 1.23 to 1.26."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

MIN_HEAP = 0xC000000000
PAGE = 8192
NO_M = 2**64 - 1


class Ev(IntEnum):
    """Events that stand in batches, by their numbers in the format."""

    PROCS_CHANGE = 9
    PROC_START = 10
    PROC_STOP = 11
    PROC_STEAL = 12
    PROC_STATUS = 13
    GO_CREATE = 14
    GO_CREATE_SYSCALL = 15
    GO_START = 16
    GO_DESTROY = 17
    GO_DESTROY_SYSCALL = 18
    GO_STOP = 19
    GO_BLOCK = 20
    GO_UNBLOCK = 21
    GO_SYSCALL_BEGIN = 22
    GO_SYSCALL_END = 23
    GO_SYSCALL_END_BLOCKED = 24
    GO_STATUS = 25
    STW_BEGIN = 26
    STW_END = 27
    GC_ACTIVE = 28
    GC_BEGIN = 29
    GC_END = 30
    GC_SWEEP_ACTIVE = 31
    GC_SWEEP_BEGIN = 32
    GC_SWEEP_END = 33
    GC_MARK_ASSIST_ACTIVE = 34
    GC_MARK_ASSIST_BEGIN = 35
    GC_MARK_ASSIST_END = 36
    HEAP_ALLOC = 37
    HEAP_GOAL = 38
    GO_LABEL = 39
    USER_TASK_BEGIN = 40
    USER_TASK_END = 41
    USER_REGION_BEGIN = 42
    USER_REGION_END = 43
    USER_LOG = 44
    GO_SWITCH = 45
    GO_SWITCH_DESTROY = 46
    GO_CREATE_BLOCKED = 47
    GO_STATUS_STACK = 48
    SPAN = 128
    SPAN_ALLOC = 129
    SPAN_FREE = 130
    OBJECT = 131
    OBJECT_ALLOC = 132
    OBJECT_FREE = 133
    STACK = 134
    STACK_ALLOC = 135
    STACK_FREE = 136


class P(IntEnum):
    """States of Ps in PROC_STATUS."""

    RUNNING = 1
    IDLE = 2
    SYSCALL = 3
    ABANDONED = 4


class G(IntEnum):
    """States of goroutines in GO_STATUS."""

    RUNNABLE = 1
    RUNNING = 2
    SYSCALL = 3
    WAITING = 4


def varint(n: int) -> bytes:
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def numbers(*values: int) -> bytes:
    return b"".join(map(varint, values))


@dataclass
class Thread:
    """Events of an M in a generation, with times counted from the generation's."""

    m: int
    data: bytearray = field(default_factory=bytearray)
    time: int = 0

    def at(self, time: int, event: Ev, *args: int) -> Thread:
        assert time >= self.time
        self.data += bytes([event]) + numbers(time - self.time, *args)
        self.time = time
        return self

    def proc(self, time: int, proc: int, state: P = P.RUNNING) -> Thread:
        return self.at(time, Ev.PROC_STATUS, proc, state)

    def goroutine(self, time: int, goroutine: int, state: G = G.RUNNING,
                  m: int | None = None) -> Thread:  # fmt: skip
        """On this thread, or on another, or (NO_M) on none."""
        return self.at(time, Ev.GO_STATUS, goroutine, self.m if m is None else m, state)

    # Objects and spans by address; classes as in Go: size class << 1 | noscan.
    def span(self, time: int, address: int, pages: int, span_class: int | None,
             event: Ev = Ev.SPAN_ALLOC) -> Thread:  # fmt: skip
        what = 1 if span_class is None else span_class << 1
        return self.at(time, event, (address - MIN_HEAP) // PAGE, pages, what)

    def span_free(self, time: int, address: int) -> Thread:
        return self.at(time, Ev.SPAN_FREE, (address - MIN_HEAP) // PAGE)

    def alloc(self, time: int, address: int, type_id: int = 0,
              event: Ev = Ev.OBJECT_ALLOC) -> Thread:  # fmt: skip
        return self.at(time, event, (address - MIN_HEAP) // 8, type_id)

    def free(self, time: int, address: int) -> Thread:
        return self.at(time, Ev.OBJECT_FREE, (address - MIN_HEAP) // 8)


@dataclass
class Trace:
    """A trace of one generation after the other."""

    minor: int = 26
    frequency: int = 15625000
    data: bytearray = field(default_factory=bytearray)
    generation: int = 0

    def __post_init__(self) -> None:
        self.data += f"go 1.{self.minor} trace".encode() + b"\0\0\0"

    def batch(self, m: int, time: int, payload: bytes, experiment: int | None = None) -> None:
        kind = bytes([1]) if experiment is None else bytes([49, experiment])
        self.data += kind + numbers(self.generation, m, time, len(payload)) + payload

    def sync(self, time: int) -> None:
        frequency = bytes([8]) + varint(self.frequency)
        if self.minor >= 25:
            clock = bytes([51]) + numbers(0, time * 64, 1_700_000_000, 500)
            frequency = bytes([50]) + frequency + clock
        self.batch(NO_M, time, frequency)

    def add(self, time: int, threads: Iterable[Thread], types: Iterable[tuple[int, str, int]] = (),
            strings: Iterable[tuple[int, str]] = (), ended: bool = True) -> Trace:  # fmt: skip
        """A generation; types are id, name, size."""
        self.generation += 1
        self.sync(time)
        self.batch(NO_M, time, bytes([1]) + numbers(MIN_HEAP, PAGE, 8, 2048), experiment=1)
        for thread in threads:
            self.batch(thread.m, time, bytes(thread.data))
        table = b"".join(
            numbers(i, 0x400000 + 64 * i, size, 0, len(name)) + name.encode()
            for i, name, size in types
        )
        self.batch(NO_M, time, bytes([0]) + table, experiment=1)
        texts = b"".join(bytes([5]) + numbers(i, len(s)) + s.encode() for i, s in strings)
        self.batch(NO_M, time, bytes([4]) + texts)
        if self.minor >= 26 and ended:
            self.data.append(52)
        return self


def everything(minor: int) -> bytes:
    """A trace with an event of nearly every kind that means something for memory, in two generations."""
    heap = MIN_HEAP
    a = Thread(1).proc(0, 0).goroutine(0, 1).proc(0, 1, P.IDLE).goroutine(0, 5, G.RUNNABLE, NO_M)
    a.at(1, Ev.STW_BEGIN, 2, 0).at(2, Ev.PROCS_CHANGE, 2, 0)
    a.span(3, heap, 1, 3, Ev.SPAN).alloc(4, heap, 1, Ev.OBJECT).at(5, Ev.STACK, 64, 12)
    a.at(6, Ev.STW_END).span(7, heap + PAGE, 1, 5).alloc(8, heap + PAGE, 2)
    a.alloc(9, heap + PAGE, 2).alloc(10, heap + PAGE + 8, 3).alloc(11, heap + PAGE + 8)
    a.span(12, heap + 2 * PAGE, 1, 54).alloc(13, heap + 2 * PAGE + 8, 4)
    a.span(14, heap + 8 * PAGE, 5, 0).alloc(15, heap + 8 * PAGE, 4)
    a.span(16, heap + 32 * PAGE, 4, None).at(17, Ev.STACK_ALLOC, 128, 13)
    a.at(18, Ev.HEAP_ALLOC, 70000).at(19, Ev.HEAP_GOAL, 4 << 20).at(20, Ev.GC_BEGIN, 1, 0)
    a.at(21, Ev.GC_MARK_ASSIST_BEGIN, 0).at(30, Ev.GC_MARK_ASSIST_END)
    a.at(40, Ev.GO_SYSCALL_BEGIN, 1, 0)
    b = Thread(2).at(3, Ev.PROC_START, 1, 1).at(20, Ev.GO_START, 5, 1)
    b.at(21, Ev.GO_LABEL, 1).at(39, Ev.GC_END, 2).at(40, Ev.GO_BLOCK, 3, 0)
    b.at(42, Ev.GC_SWEEP_BEGIN, 0).free(43, heap + PAGE).free(44, heap + 8 * PAGE)
    b.span_free(45, heap + 8 * PAGE).at(46, Ev.GC_SWEEP_END, 49152, 40960)
    b.free(47, heap + 2 * PAGE).free(48, heap).at(49, Ev.STACK_FREE, 128)
    b.at(50, Ev.GO_UNBLOCK, 5, 2, 0).at(51, Ev.GO_START, 5, 3).at(52, Ev.GC_BEGIN, 3, 0)
    b.at(53, Ev.GO_STOP, 0, 0).at(54, Ev.PROC_STEAL, 0, 2, 1).at(55, Ev.PROC_STOP)
    types = [(1, "T", 24), (2, "uint16", 2), (3, "uint32", 4), (4, "[]struct { X string }", 2000)]
    strings = [(1, "GC (dedicated)"), (2, "start trace"), (3, "sync")]
    trace = Trace(minor).add(1000, [a, b], types, strings)
    c = Thread(1).proc(0, 0, P.IDLE).goroutine(0, 1, G.SYSCALL).goroutine(0, 5, G.RUNNABLE, NO_M)
    c.at(1, Ev.GO_SYSCALL_END_BLOCKED).at(2, Ev.PROC_START, 0, 1).at(3, Ev.GO_START, 1, 1)
    c.at(4, Ev.GC_ACTIVE, 4).span(5, heap + 64 * PAGE, 1, 3).alloc(6, heap + 64 * PAGE, 1)
    d = Thread(2).proc(5, 1, P.IDLE).at(6, Ev.PROC_START, 1, 1).at(7, Ev.GO_START, 5, 1)
    d.at(8, Ev.GC_END, 5)
    trace.add(2000, [c, d], [(1, "T", 24)], [])
    return bytes(trace.data)


STRUCTURE = {
    "Stacks": 2, "Stack": 3, "Strings": 4, "String": 5, "CPUSamples": 6, "CPUSample": 7,
    "Frequency": 8, "Sync": 50, "ClockSnapshot": 51, "EndOfGeneration": 52,
}  # fmt: skip


def _number(name: str) -> int:
    """Of an event, from its name in Go: STWBegin is STW_BEGIN."""
    if name in STRUCTURE:
        return STRUCTURE[name]
    return Ev[re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper()]


def from_text(text: str) -> bytes:
    """A trace from the text that Go's test traces are kept in: an event or a line of one a line."""
    lines = text.splitlines()
    match = re.fullmatch(r"Trace Go1\.(\d+)", lines[0])
    assert match is not None
    trace = Trace(max(int(match[1]), 23))  # 1.22 has fewer events, and is else the same
    header: list[int] = []
    payload = bytearray()
    for line in [*lines[1:], "EventBatch gen=0 m=0 time=0 size=0"]:
        name, _, rest = line.partition(" ") if line[0] != "\t" else ("", "", line)
        values = [int(v) for v in re.findall(r"\w=(\d+)", rest)]
        if name == "EventBatch":
            if header:
                trace.generation = header[0]
                trace.batch(header[1], header[2], bytes(payload))
            header, payload = values, bytearray()
        elif name:
            payload += bytes([_number(name)]) + numbers(*values)
        elif rest.startswith("\tdata="):
            data = str(ast.literal_eval(rest.removeprefix("\tdata="))).encode()
            payload += numbers(len(data)) + data
        else:
            payload += numbers(*values)
    return bytes(trace.data)
