"""gomem: Go's memory system as a C library with a Python face.

A :class:`Heap` is Go 1.26's allocator with its own memory: size classes, spans, per-P caches, the
page allocator, arenas. Objects live at real addresses outside Python's heap::

    >>> import gomem
    >>> heap = gomem.Heap()
    >>> ref = heap.alloc(100)
    >>> ref.size_class, ref.slot_size
    (9, 112)
    >>> heap.stats().heap_objects
    1
    >>> heap.free(ref)
    >>> heap.close()
"""

from __future__ import annotations

import importlib
import typing

try:
    from gomem import _core
except ImportError as error:  # pragma: no cover
    if error.name == "gomem._core" or "cannot import name '_core'" in str(error):
        raise ImportError(
            "gomem's C extension is not built here. You are probably in a source tree: install it "
            "with 'pip install -e .', or change to another folder if it is installed elsewhere."
        ) from error
    raise

from gomem._core import (
    BoundsError,
    Buffer,
    Builder,
    BusyError,
    Chan,
    CorruptHeapError,
    Error,
    FatalError,
    HeapClosedError,
    InvalidPointerError,
    Map,
    PanicError,
    RecvChan,
    Ref,
    Roots,
    SendChan,
    Slice,
    String,
    TraceError,
    Type,
    UnhashableError,
    Weak,
    go,
    gosched,
    num_goroutine,
    run,
    select,
)
from gomem.benchmem import B, BenchmarkResult, allocs_per_run, benchmem
from gomem.finalizers import Cleanup, add_cleanup, keep_alive, set_finalizer
from gomem.heap import Arena, Fragmentation, Heap, Lookup, default_heap
from gomem.sizeclasses import SizeClasses, SizeClassRules
from gomem.span import Span
from gomem.stats import Float64Histogram, MemStats
from gomem.types import array, map_of, pointer, slice_of, struct, type_of
from gomem.values import Pool

if typing.TYPE_CHECKING:
    from gomem.colors import Colors
    from gomem.steps import Shade, Step, StepCycle

__version__ = "0.1.0"

__all__ = [
    "Arena",
    "B",
    "BenchmarkResult",
    "BoundsError",
    "Buffer",
    "Builder",
    "BusyError",
    "Chan",
    "Cleanup",
    "Colors",
    "CorruptHeapError",
    "Error",
    "FatalError",
    "Float64Histogram",
    "Fragmentation",
    "Heap",
    "HeapClosedError",
    "InvalidPointerError",
    "Lookup",
    "Map",
    "MemStats",
    "PanicError",
    "Pool",
    "RecvChan",
    "Ref",
    "Roots",
    "SendChan",
    "Shade",
    "SizeClassRules",
    "SizeClasses",
    "Slice",
    "Span",
    "Step",
    "StepCycle",
    "String",
    "TraceError",
    "Type",
    "Weak",
    "add_cleanup",
    "UnhashableError",
    "allocs_per_run",
    "array",
    "benchmem",
    "build_info",
    "default_heap",
    "go",
    "gosched",
    "keep_alive",
    "map_of",
    "num_goroutine",
    "pointer",
    "run",
    "select",
    "set_finalizer",
    "slice_of",
    "struct",
    "type_of",
]


_LAZY = {"Colors": "colors", "Shade": "steps", "Step": "steps", "StepCycle": "steps"}


def __getattr__(name: str) -> typing.Any:
    """What needs NumPy, which is not imported before somebody asks for it."""
    if name not in _LAZY:
        raise AttributeError(f"module 'gomem' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"gomem.{_LAZY[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def build_info() -> dict[str, object]:
    """How the C library was built: ``profile`` (release, check, asan, ...) and ``check_level``."""
    profile, level = _core.build_info()
    return {"version": __version__, "profile": profile, "check_level": level}
