"""How much a function allocates: ``testing.AllocsPerRun``, and ``go test -bench -benchmem``.

>>> import gomem
>>> heap = gomem.default_heap()
>>> gomem.allocs_per_run(lambda: heap.make_slice("int", 10))
1

What is counted is what the heap gives out, as Go counts it (MemStats.Mallocs, TotalAlloc), to whichever
thread it does. Times are those of Python calling: compare them with one another, not with Go's.
"""

from __future__ import annotations

import inspect
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gomem.heap import Heap, default_heap
from gomem.sizeclasses import integer, shown

_MOST = 1_000_000_000


def allocs_per_run(fn: Callable[[], object], *, runs: int = 100, heap: Heap | None = None) -> int:
    """The average number of objects that a call of fn allocates (Go: ``testing.AllocsPerRun``).

    fn is called once more before the runs that count. The average is rounded down, as in Go. heap: by
    default :func:`gomem.default_heap`. Raises ValueError for less than one run, TypeError for what is no
    function, and what fn raises.
    """
    _check_function(fn)
    runs = integer(runs, "runs")
    if runs < 1:
        raise ValueError(f"runs must be at least 1, not {shown(runs)}")
    heap = _check_heap(heap)
    fn()
    before = heap.stats().mallocs
    for _ in range(runs):
        fn()
    return (heap.stats().mallocs - before) // runs


def _check_function(fn: object) -> None:
    if not callable(fn):
        raise TypeError(f"fn must be a function, not {type(fn).__name__}")


def _check_heap(heap: Heap | None) -> Heap:
    if heap is None:
        return default_heap()
    if not isinstance(heap, Heap):
        raise TypeError(f"heap must be a gomem.Heap, not {type(heap).__name__}")
    return heap


def _pretty(x: float, unit: str) -> str:
    """Ten places before the decimal point, and about four digits of small numbers."""
    limits = (999.95, 99.995, 9.9995, 0.99995, 0.099995, 0.0099995, 0.00099995)
    places = 0 if x == 0 else next((i for i, limit in enumerate(limits) if abs(x) >= limit), 7)
    width = 10 if places == 0 else 11 + places
    return f"{x:{width}.{places}f} {unit}"


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark has measured (Go: ``testing.BenchmarkResult``); str() is Go's line of text."""

    n: int
    """Iterations."""
    ns: int
    """Nanoseconds that all took."""
    mem_allocs: int
    """Objects allocated."""
    mem_bytes: int
    """Bytes allocated."""
    bytes: int = 0
    """Bytes that one iteration processes, as ``set_bytes`` was told."""
    name: str = ""

    @property
    def ns_per_op(self) -> int:
        """Nanoseconds of an iteration, rounded down."""
        return self.ns // self.n if self.n > 0 else 0

    @property
    def allocs_per_op(self) -> int:
        """Objects that an iteration allocates, rounded down."""
        return self.mem_allocs // self.n if self.n > 0 else 0

    @property
    def bytes_per_op(self) -> int:
        """Bytes that an iteration allocates, rounded down."""
        return self.mem_bytes // self.n if self.n > 0 else 0

    def __str__(self) -> str:
        text = f"{self.n:8d}"
        ns = self.ns / self.n if self.n > 0 else 0.0
        if ns != 0:
            text += "\t" + _pretty(ns, "ns/op")
        if self.bytes > 0 and self.ns > 0 and self.n > 0:
            rate = self.bytes * self.n / 1e6 / (self.ns / 1e9)
            if rate != 0:
                text += f"\t{rate:7.2f} MB/s"
        text += f"\t{self.bytes_per_op:8d} B/op\t{self.allocs_per_op:8d} allocs/op"
        return f"{self.name}\t{text}" if self.name else text


class B:
    """What a benchmark is given (Go: ``testing.B``): ``N``, a timer, ``loop()``."""

    def __init__(self, heap: Heap, benchtime: float, times: int | None = None) -> None:
        self.N = 0
        """How often to do what is measured."""
        self._heap = heap
        self._benchtime = round(benchtime * 1e9)
        self._times = times
        self._bytes = 0
        self._loop_n = 0
        self._loop_done = False
        self._clear()

    def _clear(self) -> None:
        self._ns = self._allocs = self._allocated = 0
        self._running = False

    def start_timer(self) -> None:
        """Goes on measuring, if the timer was stopped."""
        if not self._running:
            stats = self._heap.stats()
            self._start_allocs, self._start_bytes = stats.mallocs, stats.total_alloc
            self._running = True
            self._start = time.perf_counter_ns()

    def stop_timer(self) -> None:
        """What is done until ``start_timer()`` is not measured."""
        if self._running:
            self._ns += time.perf_counter_ns() - self._start
            stats = self._heap.stats()
            self._allocs += stats.mallocs - self._start_allocs
            self._allocated += stats.total_alloc - self._start_bytes
            self._running = False

    def reset_timer(self) -> None:
        """What was measured so far does not count."""
        running = self._running
        self.stop_timer()
        self._clear()
        if running:
            self.start_timer()

    def set_bytes(self, n: int) -> None:
        """An iteration processes so many bytes: the result tells MB/s."""
        self._bytes = integer(n, "n")

    def loop(self) -> bool:
        """``while b.loop():`` runs the body as often as the time allows; only that is measured."""
        if self._loop_n == 0:
            self.reset_timer()
            self.start_timer()
            self.N = 1 if self._times is None else self._times
        elif self._loop_n >= self.N:
            ns = self._ns + time.perf_counter_ns() - self._start
            if self._times is not None or ns >= self._benchtime or self.N >= _MOST:
                self.stop_timer()
                self._loop_done = True
                return False
            self.N = self._predict(self.N, ns)
        self._loop_n += 1
        return True

    def _predict(self, last: int, ns: int) -> int:
        """How many more than last could take the time that is wanted."""
        n = self._benchtime * last // max(ns, 1)
        n += n // 5
        return min(max(min(n, 100 * last), last + 1), _MOST)

    def _run(self, fn: Callable[[B], object], n: int) -> None:
        self._heap.gc()
        self.N = n
        self._clear()
        self.start_timer()
        fn(self)
        self.stop_timer()

    def _launch(self, fn: Callable[[B], object]) -> None:
        self._run(fn, 1)
        if self._loop_n > 0:
            if not self._loop_done:
                raise RuntimeError(
                    "benchmark function returned without B.Loop() == false (break or return in loop?)"
                )
            return
        if self._times is not None:
            if self._times > 1:
                self._run(fn, self._times)
            return
        n = 1
        while self._ns < self._benchtime and n < _MOST:
            n = self._predict(n, self._ns)
            self._run(fn, n)


def _takes_b(fn: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(p.kind in kinds and p.default is inspect.Parameter.empty for p in parameters)


_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


def _parse_duration(text: str) -> float:
    """Seconds of Go's notation: 1s, 50ms, 1m30s."""
    parts = _PART.findall(text[:100])
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not parts or "".join(map("".join, parts)) != text or not 0 < seconds <= 1e6:
        raise ValueError(
            f"benchtime must be seconds, or like '1s', '50ms' or '100x', not {text[:100]!r}"
        )
    return seconds


def _parse_benchtime(benchtime: float | str) -> tuple[float, int | None]:
    """Seconds, and a number of iterations if that is given."""
    if isinstance(benchtime, str):
        if benchtime.endswith("x") and benchtime[:-1].isdecimal() and int(benchtime[:-1]) > 0:
            return 0.0, min(int(benchtime[:-1]), _MOST)
        return _parse_duration(benchtime), None
    if not isinstance(benchtime, (int, float)):
        raise TypeError(
            f"benchtime must be a number, or like '1s' or '100x', not {type(benchtime).__name__}"
        )
    if not 0 <= benchtime <= 1e6:
        raise ValueError(f"benchtime must be from 0 to a million seconds, not {benchtime!r}")
    return float(benchtime), None


def benchmem(
    fn: Callable[..., object],
    *,
    heap: Heap | None = None,
    name: str | None = None,
    benchtime: float | str = 1.0,
    show: bool = True,
) -> BenchmarkResult:
    """Runs fn as ``go test -bench -benchmem`` runs a benchmark, and prints the line that it prints.

    fn: called without arguments as often as it takes; or, if it has a parameter, with a :class:`B`, to
        repeat what is measured ``b.N`` times itself, or ``while b.loop():``.
    heap: whose allocations count; by default :func:`gomem.default_heap`.
    name: in front of the line, by default the function's; the number of Ps is added, as in Go.
    benchtime: what the last round is to take: seconds, Go's notation (``"50ms"``), or a number of
        iterations (``"100x"``).
    show: print the line.

    Returns the result, whose str() is that line. Raises what fn raises, ValueError and TypeError, and
    RuntimeError, with Go's message, if fn leaves the loop of ``b.loop()`` before that is False.
    """
    heap = _check_heap(heap)
    seconds, times = _parse_benchtime(benchtime)
    _check_function(fn)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a string, not {type(name).__name__}")

    def repeat(b: B) -> None:
        call: Any = fn
        for _ in range(b.N):
            call()

    b = B(heap, seconds, times)
    b._launch(fn if _takes_b(fn) else repeat)
    if name is None:
        name = getattr(fn, "__name__", type(fn).__name__)
    result = BenchmarkResult(
        n=b.N,
        ns=b._ns,
        mem_allocs=b._allocs,
        mem_bytes=b._allocated,
        bytes=b._bytes,
        name=name if heap.procs == 1 else f"{name}-{heap.procs}",
    )
    if show:
        sys.stdout.write(f"{result}\n")
    return result
