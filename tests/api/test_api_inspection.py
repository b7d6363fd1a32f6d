"""spans, arenas, size_classes, fragmentation, verify, and how things show themselves."""

from __future__ import annotations

import random
import threading
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import gomem
import gomem.gotrace
from gomem.testing import in_threads

PAGE = 8192


@pytest.fixture
def busy() -> Any:
    """A heap with something of everything in it."""
    rng = random.Random(3)
    node = gomem.struct("Node", left="*Node", value="int64")
    with gomem.Heap(procs=2, gogc="off") as heap:
        refs = [heap.alloc(rng.choice([1, 5, 12, 24, 100, 700, 5000, 30_000, 100_000]),
                           noscan=rng.random() < 0.5) for _ in range(800)]  # fmt: skip
        refs += [heap.new(node) for _ in range(100)]
        roots = heap.alloc_many([50] * 1000)
        for ref in rng.sample(refs, 400):
            heap.free(ref)
        live = [r for r in refs if not r.freed]
        yield heap, live, roots


def test_spans(busy: Any) -> None:
    heap, live, _ = busy
    spans = heap.spans()
    assert spans.dtype.names == ("base", "npages", "elem_size", "nelems", "live", "size_class",
                                 "proc", "noscan", "state", "needzero", "large")  # fmt: skip
    ends = spans["base"] + spans["npages"] * np.uint64(PAGE)
    assert (ends[:-1] <= spans["base"][1:]).all()
    assert (spans["live"] <= spans["nelems"]).all()
    assert (spans["nelems"] * spans["elem_size"] <= spans["npages"] * np.uint64(PAGE)).all()
    assert ((spans["size_class"] == 0) == spans["large"]).all()
    assert ((spans["proc"] >= -1) & (spans["proc"] < 2)).all()
    stats = heap.stats()
    assert int((spans["npages"] * np.uint64(PAGE)).sum()) == stats.heap_inuse
    assert int((spans["live"] * spans["elem_size"]).sum()) == stats.heap_alloc
    assert int(spans["live"].sum()) == stats.heap_objects
    for ref in random.Random(5).sample(live, 50):
        row = spans[np.searchsorted(spans["base"], ref.address, side="right") - 1]
        assert row["base"] <= ref.address and row["elem_size"] >= ref.size
        span = ref.span
        assert span is not None and span.base == row["base"] and span.live == row["live"]
        assert sum(slot == 1 for slot in span.slots) == row["live"]


def test_span(busy: Any) -> None:
    heap, *_ = busy
    for row in heap.spans():
        for address in (row["base"], row["base"] + row["npages"] * np.uint64(PAGE) - np.uint64(1)):
            span = heap.span(int(address))
            for name in ("base", "npages", "size_class", "noscan", "elem_size", "nelems", "live"):
                assert getattr(span, name) == row[name]
            assert (span.proc, span.large) == (
                None if row["proc"] < 0 else row["proc"],
                row["large"],
            )
            assert len(span.slots) == span.nelems and span.slots.count(1) == span.live
    large = heap.alloc(1 << 20)
    assert heap.span(large.address + 5000).slots == b"\1"


def test_a_span_of_stacks_has_no_slots(heap: gomem.Heap) -> None:
    stack = np.zeros(1, dtype=gomem.gotrace.EVENT)
    stack["kind"], stack["size"] = gomem.gotrace.KINDS.index("STACK_ALLOC"), 2048
    stack["link"] = gomem.gotrace.NO_LINK
    replay = heap.replay(stack)
    (row,) = heap.spans()
    span = heap.span(int(row["base"]))
    assert (span.kind, span.live, span.slots) == ("stacks", row["live"], b"")
    replay.free()


def test_addresses_that_no_span_covers(heap: gomem.Heap) -> None:
    ref = heap.alloc(40_000)
    address = ref.address
    heap.free(ref)
    heap.flush()
    for wrong, reason in ((address, "its page is free"), (8, "not in this heap"), (0, "0x0"),
                          (-1, "no address"), (2**64, "no address"), (10**5000, "longer")):  # fmt: skip
        with pytest.raises(gomem.InvalidPointerError, match=reason):
            heap.span(wrong)
    for thing in (None, "8", 8.0, ref):
        with pytest.raises(TypeError, match="an address must be an integer"):
            heap.span(thing)  # type: ignore[arg-type]


def test_span_of_an_object_while_others_come_and_go() -> None:
    """The span and its slots are those of one moment."""
    with gomem.Heap(procs=2) as heap:
        done = threading.Event()
        kept = [heap.alloc(48) for _ in range(100)]

        def churn() -> None:
            while not done.is_set():
                heap.free_many(heap.alloc_many([48] * 3000))

        def look() -> None:
            try:
                for i in range(300):
                    span = heap.span(kept[i % 100].address)
                    assert span.slots.count(1) == span.live
            finally:
                done.set()

        in_threads(churn, look)


def test_arenas(busy: Any) -> None:
    heap, *_ = busy
    arenas = heap.arenas()
    assert (arenas["size"] == 64 << 20).all() and (arenas["base"] % (64 << 20) == 0).all()
    pages = sum(arenas[f].astype(int) for f in ("used", "free", "released", "unmapped"))
    assert (pages == (64 << 20) // PAGE).all()
    stats = heap.stats()
    assert int(arenas["used"].sum()) * PAGE == stats.heap_inuse + stats.stack_inuse
    assert int(arenas["released"].sum()) * PAGE == stats.heap_released
    assert int(arenas["free"].sum()) * PAGE == stats.heap_idle - stats.heap_released


def test_inspection_of_an_empty_heap(heap: gomem.Heap) -> None:
    assert len(heap.spans()) == 0 and heap.spans().dtype.names is not None
    assert heap.resident() == 0
    f = heap.fragmentation()
    assert f.in_use == f.spans == f.rounding == f.tail == f.free_slots == 0
    heap.map()._repr_svg_()
    heap._repr_html_()
    f._repr_html_()
    heap.size_classes()


def test_size_classes_in_use(busy: Any) -> None:
    heap, *_ = busy
    table = heap.size_classes()
    spans = heap.spans()
    assert len(table) == len(heap.size_class_table) == 68
    for row in table.to_dict("records"):
        mine = spans[spans["size_class"] == row["index"]]
        assert row["spans"] == len(mine)
        assert row["live"] == mine["live"].sum()
        assert row["free_slots"] == (mine["nelems"] - mine["live"]).sum()
    assert table["live_bytes"].sum() == heap.stats().heap_alloc


def test_without_pandas(python: Any) -> None:
    python(
        """
        import sys
        sys.modules["pandas"] = None
        import gomem
        heap = gomem.Heap(procs=1)
        heap.fragmentation()
        refs = [heap.alloc(n) for n in (5, 100, 70000)]
        assert heap.size_classes()["live"].sum() == 3
        assert heap.fragmentation().internal["objects"].sum() == 3
        assert gomem.SizeClasses().table().dtype.names[:2] == ("index", "size")
        assert "<svg" in heap._repr_html_()
        table = heap.size_classes()
        html = table._repr_html_()
        assert html.count("<tr>") == 69 and ">32,768</td>" in html and "rows" not in html
        type(table).shown = 10
        assert "the first 10 of 68 rows" in table._repr_html_()
        assert "rows" not in table[:3]._repr_html_() and table["live"]._repr_html_() is None
        """
    )


def test_without_numpy(python: Any) -> None:
    """What needs none does not import it."""
    python(
        """
        import sys
        sys.modules["numpy"] = None
        import gomem
        with gomem.Heap(procs=1) as heap:
            heap.free(heap.alloc(100))
            heap.free_many(heap.alloc_many([8] * 100))
            heap.stats(); heap.verify(); heap.lookup(8)
        """
    )


def test_fragmentation_adds_up(busy: Any) -> None:
    heap, live, roots = busy
    f = heap.fragmentation()
    stats = heap.stats()
    assert f.in_use == stats.heap_alloc and f.spans == stats.heap_inuse + stats.stack_inuse
    assert f.in_use + f.free_slots + f.tail == f.spans
    assert f.mapped == stats.extra["mapped_ready"]
    assert f.free_pages * PAGE == stats.heap_idle
    assert f.largest_run <= f.free_pages and sum(f.runs_by_length.values()) == f.free_runs
    assert 0 < f.resident <= stats.heap_sys - stats.heap_released
    assert int(f.internal["objects"].sum()) == stats.heap_objects
    assert int(f.internal["rounding"].sum()) == f.rounding
    tiny = sum(r.size for r in live if heap.lookup(r.address).tiny)
    rest = sum(r.span.elem_size - r.size for r in live if not heap.lookup(r.address).tiny)
    blocks = {r.address // 16 for r in live if heap.lookup(r.address).tiny}
    assert f.rounding == int(rest) + len(blocks) * 16 - tiny + len(roots) * (64 - 50)
    assert (np.asarray(f.internal["rounding"]) >= 0).all()


def test_one_is_not_many() -> None:
    with gomem.Heap(procs=1) as heap:
        ref = heap.alloc(40)
        span = ref.span
        assert repr(heap) == "<gomem.Heap: 1 object, 48 bytes in 8192 bytes of spans, 1 P>"
        assert ": 1 page of objects, class 5 noscan, 1 of " in repr(span)
        assert repr(heap.alloc_many([8])) == "<gomem.Roots of 1 object, 1 live>"
    with gomem.Heap(procs=2) as heap:
        assert repr(heap) == "<gomem.Heap: 0 objects, 0 bytes in 0 bytes of spans, 2 Ps>"


def test_verify_says_nothing_of_a_sound_heap(busy: Any) -> None:
    heap, *_ = busy
    assert heap.verify() is None
    assert "objects" in repr(heap)


# --- HTML and SVG ---

VOID = {"br", "hr", "img", "rect", "path", "meta", "link"}


class Balanced(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_everything_shows_itself(busy: Any) -> None:
    heap, live, roots = busy
    freed = heap.alloc(8)
    heap.free(freed)
    node = gomem.struct("Node", left="*Node", value="int64")
    typed = heap.new(node)
    things = [heap, heap.map(), live[0], typed, freed, roots, heap.stats(), heap.size_class_table,
              heap.fragmentation(), heap.alloc_many([8] * 3), heap.alloc_many([])]  # fmt: skip
    for thing in things:
        html = thing._repr_html_()
        Balanced(html)
        assert "script" not in html and "http://" not in html.replace("http://www.w3.org", "")
    assert {"table", "svg", "td"} <= Balanced(heap._repr_html_()).seen
    assert ".value" in typed._repr_html_()
    assert "freed" in freed._repr_html_()


def test_names_are_escaped(heap: gomem.Heap) -> None:
    from gomem import viz

    assert "<b>" not in viz.table_html(("<b>",), [("<b>",)], "<b>")
    text = heap.new(gomem.struct("T", p="*int8"))._repr_html_()
    assert "<gomem" not in text


@pytest.mark.parametrize("width", [8, 100, 128, 1024])
def test_the_map_is_xml(busy: Any, width: int) -> None:
    heap, *_ = busy
    picture = heap.map(width=width)
    root = ET.fromstring(picture._repr_svg_())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(root)) > 5
    assert "pages" in repr(picture)


def test_the_map_refuses_nonsense(heap: gomem.Heap) -> None:
    for width in (0, -1, 7, 1025, 2**70, None, "8", 8.0):
        with pytest.raises((ValueError, TypeError), match="width must be from 8 to 1024"):
            heap.map(width=width)  # type: ignore[arg-type]


def test_a_huge_map_is_cut() -> None:
    with gomem.Heap(procs=1) as heap:
        ref = heap.alloc(1 << 30)
        svg = heap.map().svg
        assert "more pages not shown" in svg and len(svg) < 2_000_000
        ET.fromstring(svg)
        heap.free(ref)
