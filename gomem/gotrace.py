"""Go execution traces: what a Go program did with its memory, event by event.

A trace is what ``go test -trace``, ``runtime/trace`` and ``net/http/pprof`` write. With
``GODEBUG=traceallocfree=1`` in the traced program's environment (Go 1.23 and later) it has every
span, heap object and goroutine stack::

    GODEBUG=traceallocfree=1 go test -run=NONE -bench=. -trace=my.trace

Reading needs no Go toolchain::

    >>> import gomem.gotrace
    >>> trace = gomem.gotrace.read(gomem.gotrace.EXAMPLE)
    >>> trace.go_version
    'go1.26'
    >>> trace.count("OBJECT_ALLOC") > 10_000
    True

Events of different threads have the order and the times that Go's own reader gives them: a goroutine
starts after it was made ready, a P is taken after it was given up, whatever the threads' clocks say. A
trace in which no such order is possible raises TraceError; Go's reader refuses it, too (Go 1.26 writes
one now and then on a busy machine).

What two threads do with the same memory need not be ordered so: a thread that sweeps writes events so
fast that its clock gets ahead, by up to 100 microseconds. Where another one has put something into
memory before the event of its release, ``facts`` counts ``overlaps``; the free is matched when it comes.
``orphans`` and ``unmatched_frees`` could not be matched: a trace has few or none.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gomem import _core
from gomem._core import TraceError

__all__ = ["EVENT", "EXAMPLE", "KINDS", "NO_LINK", "NOT_OBJECTS", "Trace", "TraceType", "read"]

EXAMPLE = Path(__file__).parent / "data" / "json_unmarshal.trace.gz"
"""A trace that comes with gomem: encoding/json decoding a large document (Go 1.26)."""

KINDS = (
    "SPAN_EXISTS", "SPAN_ALLOC", "SPAN_FREE",
    "OBJECT_EXISTS", "OBJECT_ALLOC", "OBJECT_FREE",
    "STACK_EXISTS", "STACK_ALLOC", "STACK_FREE",
    "GC_ACTIVE", "GC_BEGIN", "GC_END",
    "SWEEP_ACTIVE", "SWEEP_BEGIN", "SWEEP_END",
    "ASSIST_ACTIVE", "ASSIST_BEGIN", "ASSIST_END",
    "WORKER_BEGIN", "WORKER_END", "STW_BEGIN", "STW_END",
    "HEAP_ALLOC", "HEAP_GOAL", "PROCS",
)  # fmt: skip
"""Names of the kinds of events; an event's ``kind`` is an index into it. EXISTS and ACTIVE tell of
what there was when tracing began."""

NO_LINK = 2**32 - 1
"""An event's ``link`` that leads nowhere."""
NOT_OBJECTS = 255
"""A span's ``type`` if it holds no objects, but goroutine stacks or the collector's work buffers."""

EVENT = np.dtype(
    [
        ("time", "i8"),
        ("address", "u8"),
        ("size", "u8"),
        ("type", "u4"),
        ("link", "u4"),
        ("next_part", "u4"),
        ("proc", "i2"),
        ("kind", "u1"),
        ("noscan", "?"),
    ]
)
"""The record of an event.

``time``: ns since the first event of the trace. ``proc``: P it happened on, -1 unknown.
``kind``: index into :data:`KINDS`. What the others mean depends on it:

SPAN_*: ``address`` and ``size`` in bytes of the span; ``type``: its span class (size class * 2 +
noscan) or :data:`NOT_OBJECTS`. A FREE's ``link`` is the index of the event that announced the span.

OBJECT_*: ``address`` of the object; ``size`` in bytes of its slot, malloc header included; ``type``:
index into ``Trace.types``; ``link``: of its span's event, of a FREE: of the event that announced the
object. Tiny objects (no pointers, less than 16 bytes) share blocks of 16 bytes: ``next_part`` leads
from one to the next of its block (0: no more), their sizes are inferred, and one FREE, whose
link is the first of them, frees them all.

STACK_*: ``address`` and ``size`` of a goroutine's stack. GC_*: ``size`` is the cycle's number.
SWEEP_END: ``size`` bytes swept, ``address`` bytes reclaimed. ASSIST_*: ``address`` is the goroutine.
WORKER_*, STW_*: ``type`` is an index into ``Trace.labels``. An END's ``link`` is its BEGIN or ACTIVE.
HEAP_*: ``size`` in bytes. PROCS: ``size`` is GOMAXPROCS.
"""
assert EVENT.itemsize == 40


class TraceType(NamedTuple):
    """A Go type that objects of a trace have."""

    id: int
    """Number in the trace."""
    address: int
    """Of the type's descriptor in the traced program."""
    size: int
    """Bytes of one value."""
    pointer_bytes: int
    """Bytes of the prefix that can hold pointers; 0: none."""
    name: str


class Trace(_core.Trace):
    """A trace in memory; made by :func:`read`, or from the bytes of one.

    Raises TraceError (a ValueError) if the bytes are no trace of Go 1.23 to 1.26: it names the version,
    or the byte offset and what was expected there; so does one whose events can not have happened in any
    order. A trace that ends too early is no error: it gives what there is, and ``truncated`` says so.
    """

    path: str | None = None
    """The file it was read from."""

    def __init__(self, data: Any) -> None:
        events = np.frombuffer(memoryview(self), dtype=EVENT)
        self.events: np.ndarray[Any, Any] = events
        """All events in their order, as a read-only structured array (:data:`EVENT`)."""
        self.types: tuple[TraceType, ...] = tuple(TraceType(*row) for row in self._types())
        """Types that objects have; index 0 stands for unknown ones."""
        self.labels: tuple[str, ...] = tuple(self._labels())
        """Names of workers' modes and of reasons to stop the world; 0 is empty."""
        self.facts: dict[str, Any] = self._facts()
        """Everything else the reader found, as a flat dict."""

    # --- What kind of trace it is ---

    @property
    def go_version(self) -> str:
        """Go version of the format: ``"go1.26"``. Go 1.24 writes the format of 1.23."""
        return f"go1.{self.facts['go_minor']}"

    @property
    def has_allocations(self) -> bool:
        """Was it recorded with GODEBUG=traceallocfree=1, so that it has objects and spans?"""
        return bool(self.facts["has_allocations"])

    @property
    def truncated(self) -> bool:
        """Does the file end too early? ``facts["truncated_at"]`` is the byte offset. Before Go 1.26 that
        is seen only in the middle of a batch, or if events wait for others that are not there."""
        return bool(self.facts["truncated"])

    @property
    def duration(self) -> float:
        """Seconds from the first event to the last."""
        return float(self.facts["duration"]) / 1e9

    @property
    def procs(self) -> int:
        """Ps that the program had: one more than the highest number of a P, at least 1."""
        return max(1, int(self.facts["max_proc"]) + 1)

    @property
    def peak(self) -> int:
        """Number of events up to the moment at which the program's spans took most memory."""
        return int(np.searchsorted(self.events["time"], self.facts["peak_time"], side="right"))

    def count(self, kind: str) -> int:
        """How many events there are of a kind, by its name in :data:`KINDS`."""
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        return int(self.facts["counts"][KINDS.index(kind)])

    # --- Tables ---

    def table(self, start: int = 0, stop: int | None = None) -> Any:
        """Events [start, stop) with names in place of indices, as a pandas DataFrame.

        Columns: time (ns), p, kind, address, size (bytes), type (of objects: its name), pointer_bytes
        (of the type), noscan. Without pandas: a structured array.
        """
        from gomem import _tables

        events = self.events[start:stop]
        kinds = np.array(KINDS)
        is_object = np.isin(events["kind"], [KINDS.index(f"OBJECT_{k}") for k in _LIFE])
        type_index = np.where(is_object, events["type"], 0)
        names = np.array([t.name for t in self.types], dtype=object)
        names[0] = ""
        pointer_bytes = np.array([t.pointer_bytes for t in self.types], dtype=np.uint64)
        return _tables.columns(
            {
                "time": events["time"],
                "p": events["proc"],
                "kind": kinds[events["kind"]],
                "address": events["address"],
                "size": events["size"],
                "type": names[type_index],
                "pointer_bytes": pointer_bytes[type_index],
                "noscan": events["noscan"],
            }
        )

    def top_types(self, n: int = 20) -> Any:
        """The n types with most bytes allocated: type, objects, bytes (of slots), share of all bytes.

        Objects that were there before the trace began do not count.
        """
        from gomem import _tables

        names = ("type", "objects", "bytes", "share")
        return _tables.table([dict(zip(names, row)) for row in self._top_types(n)])

    def _top_types(self, n: int) -> list[tuple[str, int, int, float]]:
        """The rows of :meth:`top_types`."""
        allocs = self.events[self.events["kind"] == KINDS.index("OBJECT_ALLOC")]
        counts = np.bincount(allocs["type"], minlength=len(self.types))
        sums = np.bincount(allocs["type"], weights=allocs["size"], minlength=len(self.types))
        order = [int(i) for i in np.argsort(-sums, kind="stable")[:n] if counts[i] > 0]
        total = max(1.0, float(sums.sum()))
        return [
            (self.types[i].name, int(counts[i]), int(sums[i]), float(sums[i]) / total)
            for i in order
        ]

    def spans_at(self, position: int) -> np.ndarray[Any, Any]:
        """Events of the spans that were there when ``position`` events had happened."""
        events = self.events[:position]
        kind = events["kind"]
        begun = np.flatnonzero(kind <= KINDS.index("SPAN_ALLOC"))
        freed = events["link"][kind == KINDS.index("SPAN_FREE")]
        alive: np.ndarray[Any, Any] = events[np.setdiff1d(begun, freed)]
        return alive

    def bytes_ever_used(self) -> int:
        """Bytes of all pages that some span covered while the program was traced.

        That much of its heap the program had mapped, and had not given back but for what its
        scavenger gave back, which a trace does not tell.
        """
        events = self.events
        spans = events[events["kind"] <= KINDS.index("SPAN_ALLOC")]
        spans = spans[np.argsort(spans["address"], kind="stable")]
        ends = np.maximum.accumulate(spans["address"] + spans["size"])
        starts = np.maximum(spans["address"][1:], ends[:-1])
        first = int(ends[0] - spans["address"][0]) if len(spans) else 0
        return first + int((ends[1:] - np.minimum(starts, ends[1:])).sum())

    def __repr__(self) -> str:
        name = "" if self.path is None else f" {self.path}:"
        return (
            f"<gomem.gotrace.Trace{name} {self.go_version}, {len(self.events)} events in "
            f"{self.duration:.3f} s{', truncated' if self.truncated else ''}>"
        )

    def _repr_html_(self) -> str:
        from gomem import viz

        return viz.trace_html(self)


_LIFE = ("EXISTS", "ALLOC", "FREE")


def read(path: str | os.PathLike[str]) -> Trace:
    """Reads a Go execution trace (Go 1.23 to 1.26) from a file, gzipped or not.

    Raises OSError if the file cannot be read, :class:`gomem.TraceError` if it is no trace, or of
    another version, or broken: the message names the version, or the byte offset. A file that ends
    too early gives what there is (``trace.truncated``).
    """
    data = Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise TraceError(f"{os.fspath(path)}: broken gzip file: {error}") from None
    try:
        trace = Trace(data)
    except TraceError as error:
        raise TraceError(f"{os.fspath(path)}: {error}") from None
    trace.path = os.fspath(path)
    return trace
