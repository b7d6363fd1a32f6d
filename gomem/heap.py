"""The Heap: Go's allocator for Python programs."""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gomem import _core
from gomem.finalizers import Finalizers
from gomem.sizeclasses import SizeClasses, boolean, counted, integer, shown
from gomem.span import Span
from gomem.stats import Float64Histogram, MemStats, gc_metrics
from gomem.values import Values

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np

    from gomem._core import Ref
    from gomem.colors import Colors
    from gomem.replay import Replay
    from gomem.steps import StepCycle

_HUGE_PAGES = {"default": 0, "always": 1, "never": 2}
_BARRIERS = {"hybrid": 0, "dijkstra": 1}
_MARKERS = {"span": 0, "object": 1}
_PLACES = ("outside", "free page", "object", "free slot", "span tail", "stack", "zero")
_BYTES = re.compile(r"(\d+)(B|[KMGT]iB)?")
_UNITS = {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}


def parse_bytes(value: int | str | None, name: str) -> int | None:
    """A number of bytes: an integer, or Go's notation (``64MiB``); None and ``off``: no limit."""
    if value is None:
        return None
    if isinstance(value, str):
        if value == "off":
            return None
        match = _BYTES.fullmatch(value.strip())
        if match is None:
            raise ValueError(
                f"{name} must be a number of bytes like 67108864, '64MiB' or 'off', not {value!r}"
            )
        return int(match[1]) << _UNITS[match[2] or "B"]
    value = integer(value, name, "an integer or a string")
    if value < 0:
        raise ValueError(f"{name} must not be negative: {shown(value)}")
    return value


def parse_gogc(value: int | str | None) -> int:
    """A percentage; None, ``off`` and negative numbers: -1, which turns collections off."""
    if value is None or (isinstance(value, str) and value == "off"):
        return -1
    percent = integer(value, "gogc", "an integer or 'off'")
    if percent >= 2**31:
        raise ValueError(f"gogc must be at most 2**31 - 1 per cent, or 'off', not {shown(percent)}")
    return max(-1, percent)


@dataclass(frozen=True)
class Lookup:
    """What lies at an address (Go: ``findObject``); see :meth:`Heap.lookup`."""

    address: int
    kind: str
    """``object``, ``free slot``, ``free page``, ``span tail``, ``stack``, ``zero`` (the address of
    all objects of size 0) or ``outside``."""
    arena: int | None
    """Base address of the 64 MB arena."""
    span: int | None
    """Base address of the span."""
    span_pages: int
    size_class: int | None
    """0: large."""
    noscan: bool
    tiny: bool
    """A part of a 16-byte block of tiny objects."""
    index: int | None
    """Which slot of the span."""
    object: int | None
    """First byte of the object or slot that its user may use."""
    size: int
    """Bytes that its user may use, from there."""
    _heap: Heap

    @property
    def offset(self) -> int | None:
        """How far into the object the address points."""
        return None if self.object is None else self.address - self.object

    @property
    def ref(self) -> Ref | None:
        """The object's Ref, if there is an object."""
        return self._heap._ref_at(self.address) if self.kind in ("object", "zero") else None


@dataclass(frozen=True)
class Arena:
    """An arena of 64 MB: how many of its pages are in use, free, given back, not yet grown into."""

    base: int
    size: int
    used: int
    free: int
    released: int
    unmapped: int


@dataclass(frozen=True)
class Fragmentation:
    """Where a heap's memory is that no object uses; bytes unless said otherwise.

    ``internal`` is a table by size class and kind: ``objects``, ``object_bytes``, ``free_slots``
    and their ``free_bytes``, ``tail`` (behind the last slot, bitmaps included) and ``rounding``
    (slots larger than what was asked for, known for objects that Refs and tables hold).
    """

    internal: Any
    rounding: int
    tail: int
    free_slots: int
    free_pages: int
    """Pages in no span."""
    free_runs: int
    """Runs that those pages form."""
    largest_run: int
    """Pages of the longest run."""
    runs_by_length: dict[int, int]
    """Lower bound of the length (a power of two) -> number of runs."""
    in_use: int
    """Bytes of objects."""
    spans: int
    """Bytes of spans of objects and stacks."""
    mapped: int
    """Bytes mapped and not given back."""
    resident: int
    """Bytes of arenas in physical memory."""

    def _repr_html_(self) -> str:
        from gomem import viz

        return viz.fragmentation_html(self)


def _choice(value: str, name: str, choices: dict[str, int]) -> int:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return choices[value]


class Heap(Values, _core.Heap):
    """A heap of its own, with Go 1.26's allocator; many may exist.

    procs: number of Ps, each with a cache of its own; by default one a CPU this process may use
        (Go: GOMAXPROCS). That many threads can allocate at the same time.
    gogc: by how many per cent the live heap may grow until the collector runs, ``"off"`` to run it only
        by ``gc()`` and under a memory limit; by default what the variable GOGC says, else 100.
    memory_limit: soft limit in bytes, or as ``"64MiB"``, None for none: near it the collector runs more
        often, and free memory is given back before more is used; by default what the variable
        GOMEMLIMIT says, else none.
    max_memory: hard limit in bytes on what is mapped and not given back: beyond it MemoryError. Before
        that a collection is tried, but not with ``gogc="off"``: garbage then stays until ``gc()``.
    size_classes: a :class:`gomem.SizeClasses`; by default Go's.
    madvdontneed: give memory back with MADV_DONTNEED, as Go does; False: with MADV_FREE.
    huge_pages: ``"default"`` (as the system is set, like Go), ``"always"`` or ``"never"``.
    gc_workers: threads that mark in the background, up to 16; 0: as many as Go would have, for a quarter
        of the Ps, and more while Ps are idle.
    gctrace: above 0, a line in Go's format on standard error for each cycle; by default what the
        variable GODEBUG=gctrace=1 says, else none.
    barrier: what a pointer write greys while the collector marks: ``"hybrid"``, what it overwrites
        and what it writes, as Go since 1.8; ``"dijkstra"``, what it writes, as Go before: then
        frames of C programs are scanned once more in the stop that ends marking (``gc_cycles`` has
        the figures).
    marker: ``"span"`` marks small objects of a span together (Go's Green Tea, its default since 1.26),
        ``"object"`` one by one, as Go did before. With page sizes other than 8 KiB it is always
        ``"object"``.
    finalizer_thread: a thread calls finalizers and cleanups; False: only ``run_finalizers()`` does.

    The variables have Go's syntax. A GOGC that is no number is as 100; a malformed GOMEMLIMIT is a
    FatalError with Go's message. Raises ValueError or TypeError for arguments out of range, MemoryError
    if the system refuses the memory for the heap's own structures (about 2 MB). A heap is a context
    manager that closes it. A Ref keeps its heap, and Python's garbage collector does not look into
    Refs: a heap with one of its own Refs in an attribute goes when it is closed, not before.
    """

    size_class_table: SizeClasses
    barrier: str
    """The write barrier it was made with."""

    def __init__(
        self,
        *,
        procs: int | None = None,
        gogc: int | str | None = "env",
        memory_limit: int | str | None = "env",
        max_memory: int | str | None = None,
        size_classes: SizeClasses | None = None,
        madvdontneed: bool = True,
        huge_pages: str = "default",
        gc_workers: int = 0,
        gctrace: int | None = None,
        barrier: str = "hybrid",
        marker: str = "span",
        finalizer_thread: bool = True,
    ) -> None:
        if procs is None:
            procs = min(1024, len(os.sched_getaffinity(0)))
        choices = {
            "huge_pages": _choice(huge_pages, "huge_pages", _HUGE_PAGES),
            "barrier": _choice(barrier, "barrier", _BARRIERS),
            "marker": _choice(marker, "marker", _MARKERS),
        }
        procs = integer(procs, "procs")
        if not 1 <= procs <= 1024:
            raise ValueError(f"procs must be from 1 to 1024, not {shown(procs)}")
        gc_workers = integer(gc_workers, "gc_workers")
        if not 0 <= gc_workers <= 16:
            raise ValueError(f"gc_workers must be from 0 to 16, not {shown(gc_workers)}")
        finalizer_thread = boolean(finalizer_thread, "finalizer_thread")
        settings: dict[str, Any] = {}  # without these the environment decides
        if not (isinstance(gogc, str) and gogc == "env"):
            settings["gogc"] = parse_gogc(gogc)
        if not (isinstance(memory_limit, str) and memory_limit == "env"):
            settings["memory_limit"] = parse_bytes(memory_limit, "memory_limit")
        if gctrace is not None:
            settings["gctrace"] = max(0, min(integer(gctrace, "gctrace"), 2**31 - 1))
        super().__init__(
            procs=procs,
            gc_workers=gc_workers,
            max_memory=parse_bytes(max_memory, "max_memory"),
            size_classes=size_classes,
            madvdontneed=boolean(madvdontneed, "madvdontneed"),
            **choices,
            **settings,
        )
        self.barrier = barrier
        self._finalizers = Finalizers(finalizer_thread)
        self.size_class_table = size_classes if size_classes is not None else SizeClasses()
        _heaps.add(self)

    def __enter__(self) -> Heap:
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- Replaying ---

    def replay(
        self,
        events: Any,
        *,
        until: int | None = None,
        samples: int = 1000,
        progress: Callable[[int, int], object] | None = None,
    ) -> Replay:
        """Does what a Go program did: replays the events of a trace on this heap's Ps.

        events: a :class:`gomem.gotrace.Trace`, or an array of its event records.
        until: stop after that many events; the result's ``run()`` goes on.
        samples: how many samples of the heap to take on the way.
        progress: called with (events done, all events) after each sample.

        What dies, and when, is in the trace: a heap with ``gogc="off"`` spares collections that find
        nothing. Returns the :class:`gomem.replay.Replay`: its ``samples`` are the heap over time beside
        Go's own, and what is alive at the end is in the heap, to look at. Raises TypeError for what is
        no trace, ValueError for an event that makes no sense, MemoryError and HeapClosedError; what was
        replayed so far is then freed.
        """
        from gomem.replay import Replay

        replay = Replay(self, events)
        try:
            return replay.run(until, samples=samples, progress=progress)
        except BaseException:
            if not self.closed:
                replay.free()
            raise

    # --- Looking ---

    def lookup(self, address: int) -> Lookup:
        """What lies at an address: object, span and arena, for any address, interior ones too.

        Raises TypeError for what is no integer, HeapClosedError for a closed heap.
        """
        address = integer(address, "an address")
        if not 0 <= address < 2**64:
            self._gogc  # noqa: B018  # raises if the heap is closed
            return Lookup(
                address, "outside", None, None, 0, None, False, False, None, None, 0, self
            )
        (place, arena, span, pages, size_class, noscan, tiny, index, obj, size) = self._lookup(
            address
        )
        kind = _PLACES[place]
        in_slot = kind in ("object", "free slot")
        return Lookup(
            address=address,
            kind=kind,
            arena=arena or None,
            span=span or None,
            span_pages=pages,
            size_class=size_class if in_slot or kind == "span tail" else None,
            noscan=bool(noscan),
            tiny=bool(tiny),
            index=index if in_slot or kind == "stack" else None,
            object=obj or None,
            size=size,
            _heap=self,
        )

    def stats(self) -> MemStats:
        """Statistics, exact at one moment: the world is stopped for it (Go: ReadMemStats)."""
        limit = self._memory_limit
        extra = {
            "gogc": self._gogc % 2**64,  # off is all ones, as in Go
            "gomemlimit": 2**63 - 1 if limit is None else limit,
            "gomaxprocs": self.procs,
        }
        return MemStats._from_raw(self._memstats(), extra)

    def metrics(self) -> dict[str, int | float | Float64Histogram]:
        """All that is measured, under the names of Go's ``runtime/metrics`` (Go: ``metrics.Read``).

        ``stats().metrics()`` and ``stats().histograms()``, and what the collector counts: cycles, CPU
        time by class in seconds since the heap was made, as far as the last cycle, and histograms of the
        stops of the world in Go's buckets: for cycles (``gc``) and for anything else (``other``: to read
        statistics, to verify, settings, steps, fork). ``/sched/threads/total`` counts the heap's own
        threads. ``/gomem/gc/marking:seconds`` is ours: how long the cycles marked.

        Of Go's metrics those are missing that are of goroutines (``/sched/goroutines``,
        ``/sched/latencies``, ``/sync/mutex``, the stacks they start with), of cgo and of GODEBUG. So are
        ``/cpu/classes/idle`` and ``user``: a program has a P for the length of a call only, so that an
        idle P says nothing of what the program does, and to measure it would cost every call two looks
        at the clock, about as much as an allocation.
        """
        stats = self.stats()
        metrics: dict[str, int | float | Float64Histogram] = dict(stats.metrics())
        metrics.update(stats.histograms())
        metrics.update(gc_metrics(self._gc_stats(), self._finalizers.threads))
        return dict(sorted(metrics.items()))

    def spans(self) -> np.ndarray[Any, Any]:
        """All spans by address, as a structured array.

        Fields: base, npages, elem_size (bytes of a slot), nelems, live (objects), size_class
        (0: large), proc (P that owns it, -1: none), noscan, state (1: objects, 2: goroutine
        stacks), needzero, large.
        """
        from gomem import _tables

        return _tables.records(self._spans(), _tables.SPAN)

    def arenas(self) -> np.ndarray[Any, Any]:
        """All arenas by address: base, size in bytes; pages used, free, released, unmapped."""
        from gomem import _tables

        return _tables.records(self._arenas(), _tables.ARENA)

    def gc_cycles(self) -> Any:
        """The last 256 cycles of the collector, oldest first: a pandas DataFrame if pandas is there.

        Columns: number; start_ns (since the heap was made) and end_unix_ns (of the wall clock);
        pause_begin_ns and pause_end_ns, the stops of the world to begin and to end marking, with
        stop_*_ns, the parts until everybody had stopped; mark_ns, between them.

        CPU time of marking: assist_ns, by those who allocate; dedicated_ns, by threads that take a whole
        P's place; fractional_ns, by one that takes a share of it; idle_ns, beyond that share, as on idle
        Ps. cpu_fraction, of all CPU time of the Ps since the heap was made, in the collector.

        Bytes: trigger and heap_start, where it was to begin and where it did; heap_end, when marking
        ended; heap_marked, what was alive; goal, where it was to end; heap_scan, stack_scan and
        globals_scan, of objects with pointers, of frames and of root tables that were scanned, and their
        sum, scan_work. assist_ratio, bytes to scan for each byte allocated, when marking began.

        forced, by ``gc()``; periodic, as the last was two minutes ago; restarts, of marking that turned
        out not to be done; procs.

        barrier_writes, pointers written through the barrier, and barrier_shaded, objects that were white
        until then; with ``barrier="dijkstra"``, rescan_slots of frames, scanned once more in the stop,
        and rescan_ns for it and what it led to.
        """
        from gomem import _tables

        cycles = _tables.records(self._gc_cycles(), _tables.CYCLE)
        names = [n for n in _tables.CYCLE.names or () if not n.startswith("at_")]
        return _tables.columns({name: cycles[name] for name in names})

    def step_gc(self, *, assists: bool = False) -> StepCycle:
        """Begins a cycle of the collector that its caller drives, to look at: a :class:`StepCycle`.

        assists: who allocates marks as well, as it is otherwise; without, only steps do.

        ::

            with heap.step_gc() as cycle:
                cycle.next_phase()  # "mark"
                while cycle.phase == "mark":
                    cycle.step()
                    print(heap.colors())

        The collector's own thread rests meanwhile; it is the same code that runs. Waits for a cycle
        that is under way. Until the cycle is finished, ``gc()`` and another ``step_gc()`` raise
        BusyError, and an allocation for which memory is short raises MemoryError without a
        collection. Settings take effect as always: a new ``gogc`` or memory limit with the goal of
        the next cycle. After a fork parent and child each go on with theirs. Raises
        HeapClosedError.
        """
        from gomem.steps import StepCycle

        return StepCycle(self, assists=bool(assists))

    def colors(self) -> Colors:
        """Which objects are white, grey, black or garbage at this moment: a :class:`Colors`.

        The world is stopped for it, and the collector's threads stand still. It shows itself as a
        picture of the graph in a notebook. Raises HeapClosedError, and MemoryError if there is none
        for the answer.
        """
        from gomem.colors import Colors

        return Colors(self)

    def size_classes(self) -> Any:
        """The heap's size classes and what is in them: a pandas DataFrame if pandas is there.

        Columns of :class:`gomem.SizeClasses`, and: spans, live (objects), live_bytes, free_slots.
        """
        from gomem import _tables

        spans = self.spans()
        spans = spans[spans["state"] == 1]
        rows = []
        for row in self.size_class_table:
            of_class = spans[spans["size_class"] == row.index]
            live = int(of_class["live"].sum())
            rows.append(
                {
                    **row._asdict(),
                    "spans": len(of_class),
                    "live": live,
                    "live_bytes": int((of_class["live"] * of_class["elem_size"]).sum()),
                    "free_slots": int(of_class["nelems"].sum()) - live,
                }
            )
        return _tables.table(rows)

    def fragmentation(self) -> Fragmentation:
        """Where memory is that no object uses, inside spans and between them."""
        from gomem import _fragmentation

        return _fragmentation.measure(self)

    def resident(self) -> int:
        """Bytes of the heap's arenas that are in physical memory now."""
        result: int = self._resident()
        return result

    # --- Finalizers ---

    def run_finalizers(self) -> int:
        """Calls the finalizers and cleanups that are queued, in this thread; how many those were.

        They are called one at a time: if the heap's thread is at it, this waits until it is done, so
        that after ``gc()`` and this everything that had died has been called. From within a finalizer it
        does nothing. An exception goes to ``sys.unraisablehook``, and the next is called. Raises
        HeapClosedError, and what a function raises that is no Exception, as KeyboardInterrupt and
        SystemExit: what is left stays queued then.
        """
        self._gogc  # noqa: B018  # raises if the heap is closed
        return self._finalizers.run(self)

    # --- Settings ---

    @property
    def gogc(self) -> int | None:
        """Percentage for the collector; None: off (Go: debug.SetGCPercent)."""
        value: int = self._gogc
        return None if value < 0 else value

    @gogc.setter
    def gogc(self, value: int | str | None) -> None:
        self._set_gogc(parse_gogc(value))

    @property
    def marker(self) -> str:
        """How the collector marks small objects: ``"span"`` or ``"object"``."""
        return "object" if self._marker else "span"

    @property
    def memory_limit(self) -> int | None:
        """Soft limit in bytes; None: no limit (Go: debug.SetMemoryLimit)."""
        value: int | None = self._memory_limit
        return value

    @memory_limit.setter
    def memory_limit(self, value: int | str | None) -> None:
        self._set_memory_limit(parse_bytes(value, "memory_limit"))

    def set_gc_percent(self, percent: int | str | None) -> int:
        """Sets ``gogc`` and returns the old setting, -1 for off (Go: debug.SetGCPercent).

        A negative number, None and ``"off"`` turn collections by growth off, and wait until none marks.
        It applies at once, to a cycle that is under way, too. Raises TypeError, HeapClosedError.
        """
        return self._set_gogc(parse_gogc(percent))

    def set_memory_limit(self, limit: int | str | None) -> int | None:
        """Sets ``memory_limit`` and returns the old one, in bytes (Go: debug.SetMemoryLimit).

        None and ``"off"``: no limit. A negative number changes nothing, as in Go. It applies at once.
        Raises ValueError for what is no number of bytes, TypeError, HeapClosedError.
        """
        if not isinstance(limit, str) and limit is not None:
            limit = integer(limit, "memory_limit", "an integer or a string")
            if limit < 0:
                return self.memory_limit
        return self._set_memory_limit(parse_bytes(limit, "memory_limit"))

    # --- Showing ---

    def map(self, *, width: int = 128) -> Any:
        """A picture of the pages: an object that shows itself as SVG in a notebook.

        A cell is a page, ``width`` of them a row; its colour says which size class it belongs to,
        its strength how full the span is.
        """
        from gomem import viz

        return viz.HeapMap(self, width)

    def __repr__(self) -> str:
        if self.closed:
            return "<gomem.Heap, closed>"
        s = self.stats()
        return (
            f"<gomem.Heap: {counted(s.heap_objects, 'object')}, {s.heap_alloc} bytes in "
            f"{s.heap_inuse} bytes of spans, {counted(self.procs, 'P')}>"
        )

    def _repr_html_(self) -> str:
        from gomem import viz

        return viz.heap_html(self)

    def span(self, address: int) -> Span:
        """The span that covers an address, as it is now.

        Raises InvalidPointerError if no span does, TypeError for what is no integer.
        """
        from gomem import _tables

        record, slots = self._span_at(integer(address, "an address"))
        span = _tables.records(record, _tables.SPAN)[0]
        return Span._from_record(span, slots, self.size_class_table.page_size)


# --- The default heap ---

_default_lock = threading.Lock()
_default: list[Heap] = []


def default_heap() -> Heap:
    """The heap that is used where none is given, made when it is first asked for or was closed."""
    with _default_lock:
        if not _default or _default[0].closed:
            _default[:] = [Heap()]
        return _default[0]


# --- Fork: the child gets heaps that work, with no lock held by a thread that is not there. ---

_heaps: weakref.WeakSet[Heap] = weakref.WeakSet()
_fork_lock = threading.RLock()  # held from before a fork until after it: one at a time
_forking: list[Heap] = []  # under the lock: those whose world is stopped


def _open_heaps() -> list[Heap]:
    while True:
        try:
            return list(_heaps)
        except RuntimeError:  # another thread has made a heap meanwhile
            continue


def _before_fork() -> None:
    _fork_lock.acquire()
    for heap in _open_heaps():
        heap._fork(0)
        _forking.append(heap)


def _after_fork(stage: int) -> None:
    heaps = list(_forking)
    while _forking:
        _forking.pop()._fork(stage)
    _fork_lock.release()
    for heap in heaps:
        if stage == 2 and not heap.closed:
            heap._finalizers.after_fork(heap)


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(1),
    after_in_child=lambda: _after_fork(2),
)
