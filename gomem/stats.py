"""MemStats: what a heap counts, with Go's fields in Go's meaning."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, fields
from typing import Any

from gomem import _core

# Go's spelling where it is not simply the words joined.
_GO_NAMES = {
    "next_gc": "NextGC",
    "last_gc": "LastGC",
    "num_gc": "NumGC",
    "num_forced_gc": "NumForcedGC",
    "gc_cpu_fraction": "GCCPUFraction",
    "enable_gc": "EnableGC",
    "debug_gc": "DebugGC",
    "gc_sys": "GCSys",
    "mspan_inuse": "MSpanInuse",
    "mspan_sys": "MSpanSys",
    "mcache_inuse": "MCacheInuse",
    "mcache_sys": "MCacheSys",
}


def go_name(name: str) -> str:
    """The name Go's ``runtime.MemStats`` has for a field: ``heap_alloc`` is ``HeapAlloc``."""
    return _GO_NAMES.get(name) or "".join(word.capitalize() for word in name.split("_"))


@dataclass(frozen=True)
class BySize:
    """One size class of ``MemStats.by_size``: ``size`` in bytes, cumulative counts of objects."""

    size: int
    mallocs: int
    frees: int


@dataclass(frozen=True)
class Float64Histogram:
    """A distribution (Go: ``metrics.Float64Histogram``): ``counts[i]`` values from ``buckets[i]`` on and
    below ``buckets[i + 1]``."""

    counts: tuple[int, ...]
    buckets: tuple[float, ...]

    @property
    def total(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def quantile(self, q: float) -> float:
        """The upper bound of the bucket in which the value lies that a share q of all do not exceed; nan
        if there is none. Raises TypeError for a q that is no number, ValueError for one that is no
        share."""
        if not hasattr(type(q), "__float__"):
            raise TypeError(f"q must be a number, not {type(q).__name__}")
        if not 0 <= q <= 1:
            raise ValueError(f"q must be from 0 to 1, not {q!r}")
        below = 0
        for i, count in enumerate(self.counts):
            below += count
            if count and below >= q * self.total:
                return self.buckets[i + 1]
        return math.nan


def _time_buckets() -> tuple[float, ...]:
    """Bounds of the buckets of durations, in seconds."""
    return (-math.inf, *(ns / 1e9 for ns in _core.time_buckets()[1:]), math.inf)


_GC_STATS = struct.Struct("<8q8Q" + 5 * "162Q")


def gc_metrics(raw: bytes, threads_of_python: int) -> dict[str, int | float | Float64Histogram]:
    """What the collector counts (struct gomem_gc_stats), as runtime/metrics calls it."""
    values = _GC_STATS.unpack(raw)
    assist, dedicated, idle, pause, gc_total, scav_assist, scav_background, total = values[:8]
    cycles, forced, live, scan, stacks, roots, limited, threads = values[8:16]
    bounds = _time_buckets()
    pauses, stopping, marking, other, other_stopping = (
        Float64Histogram(values[16 + 162 * i : 16 + 162 * (i + 1)], bounds) for i in range(5)
    )
    scavenging = scav_assist + scav_background
    return {
        "/cpu/classes/gc/mark/assist:cpu-seconds": assist / 1e9,
        "/cpu/classes/gc/mark/dedicated:cpu-seconds": dedicated / 1e9,
        "/cpu/classes/gc/mark/idle:cpu-seconds": idle / 1e9,
        "/cpu/classes/gc/pause:cpu-seconds": pause / 1e9,
        "/cpu/classes/gc/total:cpu-seconds": gc_total / 1e9,
        "/cpu/classes/scavenge/assist:cpu-seconds": scav_assist / 1e9,
        "/cpu/classes/scavenge/background:cpu-seconds": scav_background / 1e9,
        "/cpu/classes/scavenge/total:cpu-seconds": scavenging / 1e9,
        "/cpu/classes/total:cpu-seconds": total / 1e9,
        "/gc/cycles/automatic:gc-cycles": cycles - forced,
        "/gc/cycles/forced:gc-cycles": forced,
        "/gc/cycles/total:gc-cycles": cycles,
        "/gc/heap/live:bytes": live,
        "/gc/limiter/last-enabled:gc-cycle": limited,
        "/gc/pauses:seconds": pauses,
        "/gc/scan/globals:bytes": roots,
        "/gc/scan/heap:bytes": scan,
        "/gc/scan/stack:bytes": stacks,
        "/gc/scan/total:bytes": roots + scan + stacks,
        "/gomem/gc/marking:seconds": marking,
        "/sched/pauses/stopping/gc:seconds": stopping,
        "/sched/pauses/stopping/other:seconds": other_stopping,
        "/sched/pauses/total/gc:seconds": pauses,
        "/sched/pauses/total/other:seconds": other,
        "/sched/threads/total:threads": threads + threads_of_python,
    }


@dataclass(frozen=True, repr=False)
class MemStats:
    """Statistics of a heap (Go: ``runtime.MemStats``); bytes unless said otherwise.

    At all times ``sys`` is the sum of the other ``*_sys``, ``heap_sys = heap_idle + heap_inuse``,
    ``heap_released <= heap_idle`` and ``heap_objects = mallocs - frees``. ``mallocs`` and ``frees``
    are counts of objects; tiny objects (below 16 bytes, without pointers) count in both at once,
    their blocks count as objects.
    """

    alloc: int
    total_alloc: int
    sys: int
    lookups: int
    mallocs: int
    frees: int
    heap_alloc: int
    heap_sys: int
    heap_idle: int
    heap_inuse: int
    heap_released: int
    heap_objects: int
    stack_inuse: int
    stack_sys: int
    mspan_inuse: int
    mspan_sys: int
    mcache_inuse: int
    mcache_sys: int
    buck_hash_sys: int
    gc_sys: int
    other_sys: int
    next_gc: int
    last_gc: int = 0
    pause_total_ns: int = 0
    pause_ns: tuple[int, ...] = (0,) * 256
    pause_end: tuple[int, ...] = (0,) * 256
    num_gc: int = 0
    num_forced_gc: int = 0
    gc_cpu_fraction: float = 0.0
    enable_gc: bool = True
    debug_gc: bool = False
    by_size: tuple[BySize, ...] = ()
    extra: dict[str, int] = field(default_factory=dict, repr=False)
    """Beyond Go's struct: tiny_allocs, mapped_ready (sys - heap_released), peak_mapped_ready,
    large_allocs, large_frees, scavenged_background, scavenged_eager, scavenged_forced,
    finalizers_queued, finalizers_executed, cleanups_queued, cleanups_executed."""

    _classes: bytes = field(default=b"", repr=False)

    @classmethod
    def _from_raw(cls, raw: dict[str, Any], extra: dict[str, int]) -> MemStats:
        known = cls.__dataclass_fields__
        by_size = tuple(BySize(*row) for row in raw.pop("by_size"))
        for ring in ("pause_ns", "pause_end"):
            raw[ring] = struct.unpack("256Q", raw[ring])
        raw["_classes"] = raw.pop("classes")
        rest = {k: v for k, v in raw.items() if k not in known}
        fields = {k: v for k, v in raw.items() if k in known}
        return cls(**fields, by_size=by_size, extra={**rest, **extra})

    def go(self) -> dict[str, Any]:
        """The same under Go's names: ``HeapAlloc``, ``TotalAlloc``, ``BySize`` ..."""
        out: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            if name in ("extra", "_classes"):
                continue
            value = getattr(self, name)
            if name == "by_size":
                value = [{"Size": b.size, "Mallocs": b.mallocs, "Frees": b.frees} for b in value]
            out[go_name(name)] = value
        return out

    def metrics(self) -> dict[str, int]:
        """What ``runtime/metrics`` calls these things, for those of its metrics that exist here."""
        tiny = self.extra["tiny_allocs"]
        metrics = {
            "/gc/cleanups/executed:cleanups": self.extra["cleanups_executed"],
            "/gc/cleanups/queued:cleanups": self.extra["cleanups_queued"],
            "/gc/finalizers/executed:finalizers": self.extra["finalizers_executed"],
            "/gc/finalizers/queued:finalizers": self.extra["finalizers_queued"],
            "/gc/heap/allocs:bytes": self.total_alloc,
            "/gc/heap/allocs:objects": self.mallocs - tiny,
            "/gc/heap/frees:bytes": self.total_alloc - self.alloc,
            "/gc/heap/frees:objects": self.frees - tiny,
            "/gc/heap/goal:bytes": self.next_gc,
            "/gc/heap/objects:objects": self.heap_objects,
            "/gc/heap/tiny/allocs:objects": tiny,
            "/memory/classes/heap/free:bytes": self.heap_idle - self.heap_released,
            "/memory/classes/heap/objects:bytes": self.heap_alloc,
            "/memory/classes/heap/released:bytes": self.heap_released,
            "/memory/classes/heap/stacks:bytes": self.stack_inuse,
            "/memory/classes/heap/unused:bytes": self.heap_inuse - self.heap_alloc,
            "/memory/classes/metadata/mcache/free:bytes": self.mcache_sys - self.mcache_inuse,
            "/memory/classes/metadata/mcache/inuse:bytes": self.mcache_inuse,
            "/memory/classes/metadata/mspan/free:bytes": self.mspan_sys - self.mspan_inuse,
            "/memory/classes/metadata/mspan/inuse:bytes": self.mspan_inuse,
            "/memory/classes/metadata/other:bytes": self.gc_sys,
            "/memory/classes/os-stacks:bytes": self.stack_sys - self.stack_inuse,
            "/memory/classes/other:bytes": self.other_sys,
            "/memory/classes/profiling/buckets:bytes": self.buck_hash_sys,
            "/memory/classes/total:bytes": self.sys,
        }
        for name in ("gogc", "gomemlimit", "gomaxprocs"):
            unit = {"gogc": "percent", "gomemlimit": "bytes", "gomaxprocs": "threads"}[name]
            room = "sched" if name == "gomaxprocs" else "gc"
            metrics[f"/{room}/{name}:{unit}"] = self.extra[name]
        return dict(sorted(metrics.items()))

    def histograms(self) -> dict[str, Float64Histogram]:
        """Objects that were allocated and freed, by size, under the names of ``runtime/metrics``.

        A bucket is a size class of the heap: sizes in bytes from one above the class before; the last is
        for large objects. Tiny objects are counted by their blocks.
        """
        rows = [row for row in struct.iter_unpack("<3Q", self._classes) if row[0]]
        bounds = (1.0, *(float(size + 1) for size, _, _ in rows), math.inf)
        large = {"mallocs": self.extra["large_allocs"], "frees": self.extra["large_frees"]}
        return {
            f"/gc/heap/{name}-by-size:bytes": Float64Histogram(
                (*(row[i] for row in rows), large[column]), bounds
            )
            for i, name, column in ((1, "allocs", "mallocs"), (2, "frees", "frees"))
        }

    def __repr__(self) -> str:
        parts = []
        for f in fields(self):
            if f.repr:
                value = getattr(self, f.name)
                shown = f"<{len(value)} of them>" if isinstance(value, tuple) else repr(value)
                parts.append(f"{f.name}={shown}")
        return f"MemStats({', '.join(parts)})"

    def _repr_html_(self) -> str:
        from gomem import viz

        return viz.memstats_html(self)
