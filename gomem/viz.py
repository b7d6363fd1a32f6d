"""How things show themselves in a notebook, and the parts that reports are made of: HTML and SVG.

Everything here takes data and returns text; nothing is drawn with the help of scripts or fonts from
elsewhere, so that a saved notebook or report looks the same everywhere.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from gomem.sizeclasses import counted

if TYPE_CHECKING:
    from gomem._core import Ref, Roots
    from gomem.gotrace import Trace
    from gomem.heap import Fragmentation, Heap
    from gomem.sizeclasses import SizeClasses
    from gomem.span import Span
    from gomem.stats import MemStats

CELL = 7  # pixels of a page in the map, gap included
FREE, RELEASED, UNMAPPED, STACK, LARGE = "#e4e7eb", "#f6f7f9", "none", "#5b6573", "#8a5a9e"


def human(n: float) -> str:
    """Bytes with a binary unit: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(n) < 1024 or unit == "GiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    raise AssertionError


def table_html(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A plain table; numbers are aligned right and grouped by thousands."""

    def cell(value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            return f'<td style="text-align:left">{escape(str(value))}</td>'
        return f'<td style="text-align:right">{int(value):,}</td>'

    head = "".join(f'<th style="text-align:left">{escape(h)}</th>' for h in header)
    body = "".join("<tr>" + "".join(cell(v) for v in row) + "</tr>" for row in rows)
    top = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{top}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


# --- The heap map ---


def class_colour(size_class: int, nclasses: int, fullness: float) -> str:
    """Small classes are blue, large ones red; a full span is strong, an empty one pale."""
    hue = 0.60 - 0.58 * (size_class - 1) / max(1, nclasses - 2)
    lightness = 0.86 - 0.44 * fullness
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, lightness, 0.62)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


class HeapMap:
    """The pages of a heap at one moment, as a picture: see :meth:`gomem.Heap.map`.

    ``svg`` is the picture as text. A page is a cell; runs of pages that the heap has not grown into
    are left out, and a heap of more than ``max_pages`` pages is shown from its beginning only.
    """

    max_pages = 65536

    def __init__(self, heap: Heap, width: int = 128) -> None:
        if not isinstance(width, int) or not 8 <= width <= 1024:
            raise ValueError(f"width must be from 8 to 1024 pages, not {width!r}")
        self.width = width
        self.spans = heap.spans()
        self.page = heap.size_class_table.page_size
        self.nclasses = len(heap.size_class_table)
        self.regions: list[tuple[int, np.ndarray[Any, Any]]] = []
        self.hidden = 0
        budget = self.max_pages
        for arena in heap.arenas():
            npages = int(arena["size"]) // self.page
            states = np.frombuffer(heap._page_states(int(arena["base"]), npages), dtype=np.uint8)
            mapped = np.flatnonzero(states)
            if len(mapped) == 0:
                continue
            first = int(mapped[0]) // width * width
            states = states[first : int(mapped[-1]) + 1]
            self.hidden += max(0, len(states) - budget)
            states = states[:budget]
            budget -= len(states)
            if len(states):
                self.regions.append((int(arena["base"]) + first * self.page, states))

    def _colours(self, base: int, states: np.ndarray[Any, Any]) -> list[str]:
        colours = [(UNMAPPED, FREE, RELEASED, FREE)[s] for s in states.tolist()]
        limit = base + len(states) * self.page
        spans = self.spans[(self.spans["base"] >= base) & (self.spans["base"] < limit)]
        for span in spans:
            start = (int(span["base"]) - base) // self.page
            if span["state"] == 2:
                colour = STACK
            elif span["large"]:
                colour = LARGE
            else:
                fullness = int(span["live"]) / max(1, int(span["nelems"]))
                colour = class_colour(int(span["size_class"]), self.nclasses, fullness)
            end = min(len(colours), start + int(span["npages"]))
            colours[start:end] = [colour] * (end - start)
        return colours

    @property
    def svg(self) -> str:
        parts: list[str] = []
        y = 0
        for base, states in self.regions:
            parts.append(f'<text x="0" y="{y + 12}" class="l">0x{base:x}</text>')
            y += 18
            parts.append(self._cells(self._colours(base, states), y))
            y += -(-len(states) // self.width) * CELL + 8
        parts.append(self._legend(y))
        width = max(self.width * CELL, 640)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 40}" '
            f'viewBox="0 0 {width} {y + 40}" role="img" aria-label="heap map">'
            "<style>.l{font:11px monospace;fill:#667}</style>" + "".join(parts) + "</svg>"
        )

    def _cells(self, colours: list[str], y: int) -> str:
        """One path a colour: a heap map has thousands of cells, but few colours."""
        paths: dict[str, list[str]] = {}
        start = 0
        for i in range(1, len(colours) + 1):
            same = i < len(colours) and colours[i] == colours[start] and i % self.width
            if same:
                continue
            row, column = divmod(start, self.width)
            if colours[start] != "none":
                paths.setdefault(colours[start], []).append(
                    f"M{column * CELL} {y + row * CELL}h{(i - start) * CELL - 1}v{CELL - 1}"
                    f"h-{(i - start) * CELL - 1}z"
                )
            start = i
        return "".join(f'<path fill="{c}" d="{"".join(d)}"/>' for c, d in paths.items())

    def _legend(self, y: int) -> str:
        classes = range(1, self.nclasses, max(1, self.nclasses // 12))
        x, out = 52, [f'<text x="0" y="{y + 26}" class="l">class 1</text>']
        for c in classes:
            colour = class_colour(c, self.nclasses, 0.8)
            out.append(f'<rect x="{x}" y="{y + 17}" width="10" height="10" fill="{colour}"/>')
            x += 12
        out.append(f'<text x="{x + 2}" y="{y + 26}" class="l">{self.nclasses - 1}</text>')
        x += 40
        named = [(LARGE, "large"), (STACK, "stack"), (FREE, "free"), (RELEASED, "given back")]
        for colour, name in named:
            out.append(
                f'<rect x="{x}" y="{y + 17}" width="10" height="10" fill="{colour}" '
                f'stroke="#ccd"/><text x="{x + 14}" y="{y + 26}" class="l">{name}</text>'
            )
            x += 24 + 7 * len(name)
        if self.hidden:
            out.append(
                f'<text x="{x}" y="{y + 26}" class="l">{self.hidden:,} more pages not shown</text>'
            )
        return "".join(out)

    def _repr_svg_(self) -> str:
        return self.svg

    _repr_html_ = _repr_svg_  # for what shows HTML only

    def __repr__(self) -> str:
        pages = sum(len(states) for _, states in self.regions)
        return f"<gomem heap map of {counted(pages, 'page')}>"


# --- A span ---


def span_svg(span: Span) -> str:
    """Its slots as cells: full ones hold an object, outlined ones are in their P's window."""
    columns = 64
    colour = class_colour(max(1, span.size_class), 68, 0.75)
    out = []
    for i, slot in enumerate(span.slots):
        x, y = i % columns * (CELL + 3), i // columns * (CELL + 3)
        style = (
            f'fill="{FREE}"',
            f'fill="{colour}"',
            f'fill="#fff" stroke="{colour}"',
        )[slot]
        out.append(f'<rect x="{x + 0.5}" y="{y + 0.5}" width="{CELL}" height="{CELL}" {style}/>')
    width, height = columns * (CELL + 3), -(-len(span.slots) // columns) * (CELL + 3) + 1
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="slots of a span">{"".join(out)}</svg>'
    )


def span_html(span: Span) -> str:
    if span.kind == "stacks":
        what = "goroutine stacks"
    elif span.large:
        what = "a large object"
    else:
        pointers = "without pointers" if span.noscan else "with pointers"
        what = f"class {span.size_class}, objects of {span.elem_size} bytes {pointers}"
    owner = "no P" if span.proc is None else f"P {span.proc}"
    rows = [
        ("base", hex(span.base)),
        ("pages", f"{span.npages} ({human(span.size)})"),
        ("live", f"{span.live} of {span.nelems}"),
        ("owner", owner),
    ]
    picture = span_svg(span) if span.slots and not span.large else ""
    return f"<b>span</b>: {escape(what)}" + table_html(("", ""), rows) + picture


# --- Things that show themselves ---


def heap_html(heap: Heap) -> str:
    if heap.closed:
        return "<b>gomem.Heap</b>, closed"
    s = heap.stats()
    rows = [
        ("objects", f"{s.heap_objects:,}", human(s.heap_alloc)),
        ("spans", f"{len(heap.spans()):,}", human(s.heap_inuse)),
        ("stacks", "", human(s.stack_inuse)),
        ("free, backed", "", human(s.heap_idle - s.heap_released)),
        ("free, given back", "", human(s.heap_released)),
        ("structures", "", human(s.sys - s.heap_sys - s.stack_sys)),
    ]
    svg: str = heap.map().svg
    return (
        f"<b>gomem.Heap</b>, {counted(heap.procs, 'P')}"
        + table_html(("", "number", "bytes"), rows)
        + svg
    )


_COUNTS = ("Mallocs", "Frees", "HeapObjects", "Num", "Pause", "Last", "Lookups")


def memstats_html(stats: MemStats) -> str:
    rows = [
        (name, value, human(value) if value >= 1024 and not name.startswith(_COUNTS) else "")
        for name, value in stats.go().items()
        if isinstance(value, int) and not isinstance(value, bool)
    ]
    return table_html(("MemStats", "value", ""), rows)


def size_classes_html(table: SizeClasses) -> str:
    header = ("class", "bytes/obj", "bytes/span", "objects", "tail waste", "max waste", "min align")
    rows = [
        (c.index, c.size, c.span_bytes, c.objects, c.tail_waste, f"{100 * c.max_waste:.2f} %",
         c.min_align)
        for c in list(table)[1:]
    ]  # fmt: skip
    return table_html(header, rows, f"{len(table)} size classes")


def fragmentation_html(f: Fragmentation) -> str:
    rows = [
        ("objects", f.in_use, "in use"),
        ("rounding", f.rounding, "of those: slot larger than asked for, where known"),
        ("free slots", f.free_slots, "inside spans"),
        ("tails", f.tail, "inside spans: behind the last slot, bitmaps"),
        (
            "free pages",
            f.free_pages,
            f"pages, in {counted(f.free_runs, 'run')}; longest {f.largest_run}",
        ),
        ("mapped", f.mapped, "and not given back"),
        ("resident", f.resident, "in physical memory"),
    ]
    return table_html(("fragmentation", "bytes", ""), rows)


def trace_html(trace: Trace) -> str:
    from gomem.gotrace import KINDS

    rows = [(kind, trace.count(kind)) for kind in KINDS if trace.count(kind)]
    return escape(repr(trace)) + table_html(("events", ""), rows)


def ref_html(ref: Ref) -> str:
    if ref.freed:
        return escape(repr(ref))
    rows: list[tuple[object, ...]] = [
        ("address", hex(ref.address)),
        ("size", f"{ref.size} bytes in a slot of {ref.slot_size}"),
        ("size class", "large" if ref.size_class == 0 else str(ref.size_class)),
    ]
    if ref.type is not None and ref.type.kind == "struct":
        rows += [(f".{name}", _short(ref[name])) for name in ref.type.fields]
    name = "bytes" if ref.type is None else ref.type.name
    return f"<b>{escape(name)}</b>" + table_html(("", ""), rows)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def roots_html(roots: Roots) -> str:
    rows = [
        (i, hex(int(address)) if address else "freed", int(size))
        for i, (address, size) in enumerate(zip(roots.addresses[:10], roots.sizes[:10]))
    ]
    more = f"<p>... and {len(roots) - 10:,} more</p>" if len(roots) > 10 else ""
    return escape(repr(roots)) + table_html(("", "address", "size"), rows) + more
