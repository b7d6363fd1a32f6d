"""MemStats: what a heap counts, with Go's fields in Go's meaning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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

    @classmethod
    def _from_raw(cls, raw: dict[str, Any], extra: dict[str, int]) -> MemStats:
        known = cls.__dataclass_fields__
        by_size = tuple(BySize(*row) for row in raw.pop("by_size"))
        rest = {k: v for k, v in raw.items() if k not in known}
        fields = {k: v for k, v in raw.items() if k in known}
        return cls(**fields, by_size=by_size, extra={**rest, **extra})

    def go(self) -> dict[str, Any]:
        """The same under Go's names: ``HeapAlloc``, ``TotalAlloc``, ``BySize`` ..."""
        out: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            if name == "extra":
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

    def _repr_html_(self) -> str:
        from gomem import viz

        return viz.memstats_html(self)
