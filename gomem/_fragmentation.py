"""Measuring fragmentation from the spans, the free runs and what Python holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gomem import _tables
from gomem.heap import Fragmentation

if TYPE_CHECKING:
    from gomem.heap import Heap


def _rounding(heap: Heap, spans: np.ndarray[Any, Any]) -> dict[tuple[int, bool], int]:
    """By class and kind: bytes of slots beyond what was asked for, for held objects.

    Tiny objects share their block; it is the block that is compared with what was asked for in it.
    """
    held = np.frombuffer(heap._held(), dtype=np.uint64).reshape(-1, 2)
    out: dict[tuple[int, bool], int] = {}
    if len(held) == 0 or len(spans) == 0:
        return out
    # An object may have a Ref and be in a table; one that was looked up seems to fill its slot.
    held = held[np.lexsort((held[:, 1], held[:, 0]))]
    held = held[np.append(True, held[1:, 0] != held[:-1, 0])]
    at = np.searchsorted(spans["base"], held[:, 0], side="right").astype(np.int64) - 1
    inside = at >= 0
    page = np.uint64(heap.size_class_table.page_size)
    ends = spans["base"] + spans["npages"] * page
    inside[inside] &= held[inside, 0] < ends[at[inside]]
    held, at = held[inside], at[inside]
    slot = (held[:, 0] - spans["base"][at]) // spans["elem_size"][at]
    # One row a slot: several tiny objects add up.
    keys = at.astype(np.uint64) << np.uint64(32) | slot
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    asked = np.bincount(inverse.ravel(), weights=held[:, 1].astype(np.float64))
    lost = spans["elem_size"][at[first]].astype(np.float64) - asked
    for i, value in zip(at[first].tolist(), lost.tolist()):
        key = (int(spans["size_class"][i]), bool(spans["noscan"][i]))
        out[key] = out.get(key, 0) + int(value)
    return out


def measure(heap: Heap) -> Fragmentation:
    all_spans = heap.spans()
    page = heap.size_class_table.page_size
    spans = all_spans[all_spans["state"] == 1]
    rounding = _rounding(heap, spans)
    rows = []
    for size_class in np.unique(spans["size_class"]).tolist():
        for noscan in (False, True):
            s = spans[(spans["size_class"] == size_class) & (spans["noscan"] == noscan)]
            if len(s) == 0:
                continue
            live, slots = int(s["live"].sum()), int(s["nelems"].sum())
            elem = s["elem_size"]
            rows.append(
                {
                    "size_class": size_class,
                    "noscan": noscan,
                    "size": int(elem[0]) if size_class else 0,
                    "spans": len(s),
                    "objects": live,
                    "object_bytes": int((s["live"] * elem).sum()),
                    "free_slots": slots - live,
                    "free_bytes": int(((s["nelems"] - s["live"]) * elem).sum()),
                    "tail": int((s["npages"] * np.uint64(page) - s["nelems"] * elem).sum()),
                    "rounding": rounding.get((size_class, noscan), 0),
                }
            )
    pages, runs, largest, cached, by_log2 = heap._free_runs()
    stats = heap.stats()
    return Fragmentation(
        internal=_tables.table(rows),
        rounding=sum(r["rounding"] for r in rows),
        tail=sum(r["tail"] for r in rows),
        free_slots=sum(r["free_bytes"] for r in rows),
        free_pages=pages + cached,
        free_runs=runs,
        largest_run=largest,
        runs_by_length={1 << i: n for i, n in enumerate(by_log2) if n},
        in_use=stats.heap_alloc,
        spans=stats.heap_inuse + stats.stack_inuse,
        mapped=stats.extra["mapped_ready"],
        resident=heap.resident(),
    )
