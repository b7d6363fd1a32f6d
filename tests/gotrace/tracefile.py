"""Writes small execution traces by hand, byte by byte, in the formats of Go 1.23 to 1.26."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

MIN_HEAP = 0xC000000000
PAGE = 8192
NO_M = 2**64 - 1


class Ev(IntEnum):
    """Events the reader looks into, and what else it must be able to skip."""

    PROCS_CHANGE = 9
    PROC_START = 10
    PROC_STOP = 11
    PROC_STEAL = 12
    PROC_STATUS = 13
    GO_START = 16
    GO_STOP = 19
    GO_BLOCK = 20
    SYSCALL_BEGIN = 22
    SYSCALL_END_BLOCKED = 24
    GO_STATUS = 25
    STW_BEGIN = 26
    STW_END = 27
    GC_ACTIVE = 28
    GC_BEGIN = 29
    GC_END = 30
    SWEEP_BEGIN = 32
    SWEEP_END = 33
    ASSIST_BEGIN = 35
    ASSIST_END = 36
    HEAP_ALLOC = 37
    HEAP_GOAL = 38
    GO_LABEL = 39
    SPAN = 128
    SPAN_ALLOC = 129
    SPAN_FREE = 130
    OBJECT = 131
    OBJECT_ALLOC = 132
    OBJECT_FREE = 133
    STACK = 134
    STACK_ALLOC = 135
    STACK_FREE = 136


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
    """A trace with an event of nearly every kind, in two generations."""
    heap = MIN_HEAP
    a = Thread(1).at(0, Ev.PROC_STATUS, 0, 1).at(0, Ev.GO_STATUS, 1, 1, 2)
    a.at(1, Ev.STW_BEGIN, 2, 0).at(2, Ev.PROCS_CHANGE, 2, 0)
    a.span(3, heap, 1, 3, Ev.SPAN).alloc(4, heap, 1, Ev.OBJECT).at(5, Ev.STACK, 64, 12)
    a.at(6, Ev.STW_END).span(7, heap + PAGE, 1, 5).alloc(8, heap + PAGE, 2)
    a.alloc(9, heap + PAGE, 2).alloc(10, heap + PAGE + 8, 3).alloc(11, heap + PAGE + 8)
    a.span(12, heap + 2 * PAGE, 1, 54).alloc(13, heap + 2 * PAGE + 8, 4)
    a.span(14, heap + 8 * PAGE, 5, 0).alloc(15, heap + 8 * PAGE, 4)
    a.span(16, heap + 32 * PAGE, 4, None).at(17, Ev.STACK_ALLOC, 128, 13)
    a.at(18, Ev.HEAP_ALLOC, 70000).at(19, Ev.HEAP_GOAL, 4 << 20).at(20, Ev.GC_BEGIN, 1, 0)
    a.at(21, Ev.ASSIST_BEGIN, 0).at(30, Ev.ASSIST_END).at(40, Ev.SYSCALL_BEGIN, 1, 0)
    b = Thread(2).at(3, Ev.PROC_START, 1, 1).at(20, Ev.GO_START, 5, 1)
    b.at(21, Ev.GO_LABEL, 1).at(40, Ev.GO_BLOCK, 3, 0).at(41, Ev.GC_END, 2)
    b.at(42, Ev.SWEEP_BEGIN, 0).free(43, heap + PAGE).free(44, heap + 8 * PAGE)
    b.span_free(45, heap + 8 * PAGE).at(46, Ev.SWEEP_END, 49152, 40960)
    b.free(47, heap + 2 * PAGE).free(48, heap).at(49, Ev.STACK_FREE, 128).at(50, Ev.PROC_STOP)
    types = [(1, "T", 24), (2, "uint16", 2), (3, "uint32", 4), (4, "[]struct { X string }", 2000)]
    strings = [(1, "GC (dedicated)"), (2, "start trace")]
    trace = Trace(minor).add(1000, [a, b], types, strings)
    c = Thread(1).at(0, Ev.SYSCALL_END_BLOCKED).at(1, Ev.PROC_START, 0, 2)
    c.at(2, Ev.GC_ACTIVE, 3).span(3, heap + 64 * PAGE, 1, 3).alloc(4, heap + 64 * PAGE, 1)
    d = Thread(2).at(5, Ev.PROC_STATUS, 1, 2).at(6, Ev.GC_END, 4)
    trace.add(2000, [c, d], [(1, "T", 24)], [])
    return bytes(trace.data)
