"""A Go program beside its replay: what ``python -m gomem replay`` prints, and writes as a page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gomem import _chart, viz
from gomem.gotrace import KINDS, NOT_OBJECTS, Trace
from gomem.replay import Replay
from gomem.sizeclasses import counted

if TYPE_CHECKING:
    from gomem.heap import Fragmentation, Heap
    from gomem.stats import MemStats

__all__ = ["Comparison", "compare", "html", "text"]


@dataclass(frozen=True)
class ClassRow:
    """A size class at the peak: spans and their bytes, in Go and in the replay. Class 0: large."""

    size_class: int
    size: int
    go_spans: int
    go_bytes: int
    spans: int
    bytes: int


@dataclass
class Comparison:
    """Everything a report shows; made by :func:`compare`."""

    trace: Trace
    procs: int
    samples: np.ndarray[Any, Any]
    peak: Any
    """The sample at the moment when Go's spans took most memory."""
    peak_stats: MemStats
    peak_spans: int
    go_peak_spans: int
    classes: list[ClassRow]
    fragmentation: Fragmentation
    heap_map: str
    alloc_bytes: int = 0
    """Of slots, that the replay allocated for what the program did while it was traced."""
    seconds: float = 0.0
    """Time the replay took, looking at the peak not included."""
    top_types: list[tuple[str, int, int, float]] = field(default_factory=list)

    @property
    def peak_ratio(self) -> float:
        """Most memory of the replay's heap (spans of objects and stacks, and free pages not given back)
        over that of Go's, as far as the trace tells (:meth:`Trace.bytes_ever_used`)."""
        s = self.samples
        ours = (s["heap_inuse"] + s["stacks_inuse"] + s["heap_free"]).max()
        return float(ours / max(1, self.trace.bytes_ever_used()))

    def rows(self) -> list[tuple[str, int | None, int | None, bool]]:
        """(what, Go's, the replay's, is in bytes); None: the trace does not tell."""
        facts, last, peak, s = self.trace.facts, self.samples[-1], self.peak, self.samples
        stats = self.peak_stats
        return [
            ("objects allocated", self.trace.count("OBJECT_ALLOC"), _new(last, self.trace), False),
            ("bytes of them, by slots", facts["total_alloc_bytes"], self.alloc_bytes, True),
            ("objects at the peak", int(peak["go_objects"]), stats.heap_objects, False),
            ("bytes of objects", int(peak["go_live_bytes"]), stats.heap_alloc, True),
            ("spans of objects", self.go_peak_spans, self.peak_spans, False),
            ("bytes of spans", int(peak["go_heap_inuse"]), stats.heap_inuse, True),
            ("stacks, work buffers", int(peak["go_other_inuse"]), stats.stack_inuse, True),
            (
                "most bytes of spans",
                int((s["go_heap_inuse"] + s["go_other_inuse"]).max()),
                int((s["heap_inuse"] + s["stacks_inuse"]).max()),
                True,
            ),
            (
                "and free, not given back",
                self.trace.bytes_ever_used(),
                int((s["heap_inuse"] + s["stacks_inuse"] + s["heap_free"]).max()),
                True,
            ),
            ("and its own structures", None, int(s["mapped_ready"].max()), True),
        ]


def _new(last: Any, trace: Trace) -> int:
    """Objects the replay allocated for ALLOC events, not for EXISTS."""
    return int(last["allocs"]) - trace.count("OBJECT_EXISTS")


def _existing(trace: Trace) -> int:
    """Bytes of slots of the objects that were there when the trace began."""
    events = trace.events
    return int(events["size"][events["kind"] == KINDS.index("OBJECT_EXISTS")].sum())


def _classes(heap: Heap, spans: np.ndarray[Any, Any], go: np.ndarray[Any, Any]) -> list[ClassRow]:
    """By size class: the heap's spans of objects beside Go's."""
    page = heap.size_class_table.page_size
    rows = []
    for c in range(len(heap.size_class_table)):
        theirs, ours = go[go["type"] >> 1 == c], spans[spans["size_class"] == c]
        if len(theirs) or len(ours):
            rows.append(
                ClassRow(
                    size_class=c,
                    size=heap.size_class_table[c].size,
                    go_spans=len(theirs),
                    go_bytes=int(theirs["size"].sum()),
                    spans=len(ours),
                    bytes=int(ours["npages"].sum()) * page,
                )
            )
    return rows


def compare(
    trace: Trace,
    heap: Heap,
    *,
    samples: int = 1000,
    progress: Callable[[int, int], object] | None = None,
) -> Comparison:
    """Replays a trace on a heap and looks at both: when Go's spans took most memory, and all along.

    Raises ValueError if the trace has no allocations, and what :meth:`gomem.Heap.replay` raises.
    """
    if not trace.has_allocations:
        raise ValueError(
            "the trace has no allocations to replay: record it with GODEBUG=traceallocfree=1 in the "
            "environment of the traced program (Go 1.23 or later)"
        )
    replay = Replay(heap, trace)
    peak = trace.peak
    share = max(1, min(samples - 1, samples * peak // max(1, replay.total)))
    before = heap.stats().total_alloc
    start = time.perf_counter()
    replay.run(peak, samples=share, progress=progress)
    seconds = time.perf_counter() - start
    go_spans = trace.spans_at(peak)
    go_spans = go_spans[go_spans["type"] != NOT_OBJECTS]
    stats, spans = heap.stats(), heap.spans()
    spans = spans[spans["state"] == 1]
    result = Comparison(
        trace=trace,
        procs=heap.procs,
        samples=replay.samples,
        peak=replay.sample(),
        peak_stats=stats,
        peak_spans=len(spans),
        go_peak_spans=len(go_spans),
        classes=_classes(heap, spans, go_spans),
        fragmentation=heap.fragmentation(),
        heap_map=heap.map().svg,
        top_types=trace._top_types(15),
    )
    start = time.perf_counter()
    replay.run(samples=samples - share, progress=progress)
    result.seconds = seconds + time.perf_counter() - start
    result.samples = replay.samples
    result.alloc_bytes = heap.stats().total_alloc - before - _existing(trace)
    return result


# --- As text ---


def headline(c: Comparison) -> str:
    """What the trace is, in a line."""
    t = c.trace
    name = "trace" if t.path is None else Path(t.path).name
    cut = ", truncated: only what was complete counts" if t.truncated else ""
    return (
        f"{name}: {t.go_version}, {len(t.events):,} events in {t.duration:.2f} s, "
        f"{counted(t.facts['gc_count'], 'collection')}, {counted(t.procs, 'P')}{cut}"
    )


def _number(value: int | None, is_bytes: bool) -> str:
    if value is None:
        return "-"
    return viz.human(value) if is_bytes else f"{value:,}"


def _ratio(go: int | None, ours: int | None) -> str:
    return f"{ours / go:.3f}" if go and ours is not None else ""


def text(c: Comparison, classes: int = 12, types: int = 8) -> str:
    """The comparison as a page of text; so many classes and types, those with most bytes."""
    out = [headline(c), "", f"{'':26}{'Go':>14}{'gomem':>14}{'ratio':>9}"]
    for name, go, ours, is_bytes in c.rows():
        numbers = f"{_number(go, is_bytes):>14}{_number(ours, is_bytes):>14}{_ratio(go, ours):>9}"
        out.append(f"{name:26}{numbers}".rstrip())
    out += [
        "",
        f"Spans by size class, at Go's peak ({1e-9 * int(c.peak['time']):.3f} s):",
        f"{'class':>8}{'slot':>9}{'Go spans':>11}{'gomem':>9}{'Go bytes':>13}{'gomem':>13}",
    ]
    ordered = sorted(c.classes, key=lambda r: -max(r.go_bytes, r.bytes))
    for r in sorted(ordered[:classes], key=lambda r: r.size_class):
        name = "large" if r.size_class == 0 else str(r.size_class)
        size = "" if r.size_class == 0 else f"{r.size:,}"
        out.append(
            f"{name:>8}{size:>9}{r.go_spans:>11,}{r.spans:>9,}"
            f"{viz.human(r.go_bytes):>13}{viz.human(r.bytes):>13}"
        )
    rest = ordered[classes:]
    if rest:
        out.append(
            f"{'others':>8}{'':>9}{sum(r.go_spans for r in rest):>11,}{sum(r.spans for r in rest):>9,}"
            f"{viz.human(sum(r.go_bytes for r in rest)):>13}{viz.human(sum(r.bytes for r in rest)):>13}"
        )
    out += ["", "Types by bytes allocated:"]
    for type_name, count, total, share in c.top_types[:types]:
        out.append(f"{100 * share:7.1f} %{viz.human(total):>12}{count:>11,}  {type_name}")
    ns = 1e9 * c.seconds / max(1, len(c.trace.events))
    out += [
        "",
        f"Replayed in {c.seconds:.2f} s, {ns:.0f} ns an event, on {counted(c.procs, 'P')}. Most memory "
        f"of the heap: {c.peak_ratio:.3f} times Go's.",
    ]
    return "\n".join(out)


# --- As a page ---

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#223;max-width:940px;margin:32px auto;padding:0 16px}
h1{font-size:24px;margin-bottom:4px}h2{font-size:18px;margin-top:36px}p{max-width:75ch}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:3px 12px 3px 0;border-bottom:1px solid #e6e8ee;vertical-align:top}
th{color:#556;font-weight:600}td:first-child{max-width:420px;overflow-wrap:anywhere}
td.n,th.n{text-align:right}svg{max-width:100%;height:auto}.note{color:#556;font-size:13px}
"""


def _table(header: list[str], rows: list[list[str]], text_columns: int = 1) -> str:
    def line(tag: str, cells: list[str]) -> str:
        return "".join(
            f"<{tag}{'' if i < text_columns else ' class=n'}>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{line('th', header)}</tr></thead><tbody>{body}</tbody></table>"


def _chart_of(c: Comparison) -> str:
    s = c.samples
    lines = [
        _chart.Line("Go: spans", s["go_heap_inuse"], "#7d8796"),
        _chart.Line("gomem: spans", s["heap_inuse"], "#2b6cb0"),
        _chart.Line("objects alive", s["live_bytes"], "#2f855a"),
        _chart.Line("Go: heap goal", s["go_heap_goal"], "#b7791f", "4 3"),
    ]
    return _chart.line_chart(
        s["time"] / 1e9,
        lines,
        x_label="seconds since the trace began",
        y_text=viz.human,
        mark=(int(c.peak["time"]) / 1e9, "Go's peak"),
    )


def _class_table(c: Comparison) -> str:
    table = [
        [
            "large" if r.size_class == 0 else str(r.size_class),
            "" if r.size_class == 0 else f"{r.size:,}",
            f"{r.go_spans:,}",
            f"{r.spans:,}",
            viz.human(r.go_bytes),
            viz.human(r.bytes),
        ]
        for r in c.classes
    ]
    return _table(["class", "slot", "Go: spans", "gomem", "Go: bytes", "gomem"], table)


def _fragmentation(c: Comparison) -> str:
    f = c.fragmentation
    runs = ", ".join(f"{n} of {length}+" for length, n in f.runs_by_length.items()) or "none"
    table = [
        ["objects", viz.human(f.in_use), ""],
        [
            "free slots in spans",
            viz.human(f.free_slots),
            "internal: a later object of the class fits",
        ],
        ["tails of spans", viz.human(f.tail), "internal: too short for a slot, bitmaps included"],
        ["free pages", f"{f.free_pages:,}", f"external: runs by pages: {runs}"],
        ["longest free run", f"{f.largest_run:,}", "pages"],
        ["mapped, not given back", viz.human(f.mapped), "with the heap's own structures"],
        ["resident", viz.human(f.resident), "a replay writes nothing into its objects"],
    ]
    return _table(["", "", ""], table, text_columns=0).replace("<td class=n>", "<td>")


def html(c: Comparison) -> str:
    """The comparison as one self-contained page: no scripts, nothing from elsewhere."""
    rows = [
        [name, _number(go, is_bytes), _number(ours, is_bytes), _ratio(go, ours)]
        for name, go, ours, is_bytes in c.rows()
    ]
    types = [
        [name, f"{count:,}", viz.human(size), f"{100 * share:.1f} %"]
        for name, count, size, share in c.top_types
    ]
    title = "trace" if c.trace.path is None else Path(c.trace.path).name
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)} - gomem replay</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><p>{escape(headline(c))}.</p>"
        "<p>The allocations and frees of this Go program, replayed on gomem's heap. Bytes of objects "
        "are those of their slots; tiny objects count by blocks, as in Go. A dash: the trace does not "
        "tell.</p>"
        + _table(["", "Go", "gomem", "ratio"], rows)
        + "<h2>Heap over time</h2>"
        + _chart_of(c)
        + "<h2>Pages at the peak</h2>"
        '<p class="note">A cell is a page. Its colour says which size class it belongs to, its '
        "strength how full the span is.</p>"
        + c.heap_map
        + "<h2>Spans by size class at the peak</h2>"
        + _class_table(c)
        + "<h2>Fragmentation at the peak</h2>"
        + _fragmentation(c)
        + "<h2>Types by bytes allocated</h2>"
        + _table(["type", "objects", "bytes", "share"], types)
        + f'<p class="note">Replayed in {c.seconds:.2f} s on {counted(c.procs, "P")}.</p>'
        "</body></html>\n"
    )
