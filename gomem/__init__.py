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
    BusyError,
    CorruptHeapError,
    Error,
    FatalError,
    HeapClosedError,
    InvalidPointerError,
    Ref,
    Roots,
    TraceError,
    Type,
    Weak,
)
from gomem.finalizers import Cleanup, add_cleanup, keep_alive, set_finalizer
from gomem.heap import Arena, Fragmentation, Heap, Lookup
from gomem.sizeclasses import SizeClasses, SizeClassRules
from gomem.span import Span
from gomem.stats import Float64Histogram, MemStats
from gomem.types import array, pointer, struct, type_of

__version__ = "0.1.0"

__all__ = [
    "Arena",
    "BusyError",
    "Cleanup",
    "CorruptHeapError",
    "Error",
    "FatalError",
    "Float64Histogram",
    "Fragmentation",
    "Heap",
    "HeapClosedError",
    "InvalidPointerError",
    "Lookup",
    "MemStats",
    "Ref",
    "Roots",
    "SizeClassRules",
    "SizeClasses",
    "Span",
    "TraceError",
    "Type",
    "Weak",
    "add_cleanup",
    "array",
    "build_info",
    "keep_alive",
    "pointer",
    "set_finalizer",
    "struct",
    "type_of",
]


def build_info() -> dict[str, object]:
    """How the C library was built: ``profile`` (release, check, asan, ...) and ``check_level``."""
    profile, level = _core.build_info()
    return {"version": __version__, "profile": profile, "check_level": level}
