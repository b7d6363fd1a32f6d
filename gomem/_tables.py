"""Turning raw bytes of the core into NumPy arrays, and rows into tables. Imports NumPy lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gomem._core import Roots

# struct gomem_span and struct gomem_arena of csrc/gomem.h.
SPAN = np.dtype(
    {
        "names": ["base", "npages", "elem_size", "nelems", "live", "size_class", "proc", "noscan",
                  "state", "needzero", "large"],
        "formats": ["u8", "u8", "u8", "u8", "u8", "u4", "i4", "?", "u1", "?", "?"],
        "offsets": [0, 8, 16, 24, 32, 40, 44, 48, 49, 50, 51],
        "itemsize": 56,
    }
)  # fmt: skip
ARENA = np.dtype(
    [(name, "u8") for name in ("base", "size", "used", "free", "released", "unmapped")]
)

# struct gomem_gc_cycle.
CYCLE = np.dtype(
    [
        ("number", "u8"),
        ("start_ns", "i8"),
        ("pause_begin_ns", "i8"),
        ("pause_end_ns", "i8"),
        ("stop_begin_ns", "i8"),
        ("stop_end_ns", "i8"),
        ("at_begin_ns", "i8"),
        ("at_end_ns", "i8"),
        ("mark_ns", "i8"),
        ("assist_ns", "i8"),
        ("dedicated_ns", "i8"),
        ("fractional_ns", "i8"),
        ("idle_ns", "i8"),
        ("end_unix_ns", "i8"),
        ("heap_start", "u8"),
        ("heap_end", "u8"),
        ("heap_marked", "u8"),
        ("goal", "u8"),
        ("trigger", "u8"),
        ("heap_scan", "u8"),
        ("stack_scan", "u8"),
        ("globals_scan", "u8"),
        ("scan_work", "u8"),
        ("assist_ratio", "f8"),
        ("cpu_fraction", "f8"),
        ("forced", "u4"),
        ("restarts", "u4"),
        ("periodic", "u4"),
        ("procs", "u4"),
        ("barrier_writes", "u8"),
        ("barrier_shaded", "u8"),
        ("rescan_slots", "u8"),
        ("rescan_ns", "i8"),
    ]
)

# struct gomem_object, gomem_pointer and gomem_shade.
OBJECT = np.dtype(
    {
        "names": ["address", "size", "size_class", "color", "noscan", "shaded"],
        "formats": ["u8", "u8", "u4", "u1", "?", "?"],
        "offsets": [0, 8, 16, 20, 21, 22],
        "itemsize": 24,
    }
)
POINTER = np.dtype([(name, "u8") for name in ("source", "slot", "target")])
SHADE = np.dtype(
    {
        "names": ["slot", "old", "new", "old_shaded", "new_shaded"],
        "formats": ["u8", "u8", "u8", "?", "?"],
        "offsets": [0, 8, 16, 24, 25],
        "itemsize": 32,
    }
)


def records(raw: bytes, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Bytes of structs as a structured array with plain, packed fields."""
    packed = np.dtype([(name, dtype[name]) for name in dtype.names or ()])
    return np.frombuffer(raw, dtype=dtype).astype(packed)


def table(rows: list[dict[str, Any]]) -> Any:
    """Rows as a pandas DataFrame, or as a NumPy structured array where there is no pandas."""
    if not rows:
        return np.zeros(0)
    return columns({name: np.array([row[name] for row in rows]) for name in rows[0]})


class Table(np.ndarray[Any, Any]):
    """A structured array that shows itself as a table in a notebook."""

    shown = 100
    """Rows shown at most."""

    def _repr_html_(self) -> str | None:
        from gomem import viz

        if self.dtype.names is None or self.ndim != 1:
            return None  # a column
        rows = [[_shown(value) for value in row] for row in self[: self.shown].tolist()]
        more = f"the first {self.shown} of {len(self):,} rows" if len(self) > self.shown else ""
        return viz.table_html(self.dtype.names, rows, more)


def _shown(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def columns(data: dict[str, np.ndarray[Any, Any]]) -> Any:
    """Columns as a pandas DataFrame, or as a NumPy structured array where there is no pandas."""
    try:
        import pandas
    except ImportError:
        n = len(next(iter(data.values())))
        dtype = [(name, column.dtype) for name, column in data.items()]
        out = np.zeros(n, dtype=dtype).view(Table)
        for name, column in data.items():
            out[name] = column
        return out
    return pandas.DataFrame(data)


def roots_addresses(roots: Roots) -> np.ndarray[Any, Any]:
    return np.asarray(memoryview(roots))


def roots_sizes(roots: Roots) -> np.ndarray[Any, Any]:
    raw, stride = roots._sizes()
    sizes = np.frombuffer(raw, dtype=np.uint64)
    return sizes if stride else np.broadcast_to(sizes, (len(roots),))
