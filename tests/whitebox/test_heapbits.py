"""Which words of an object hold pointers: what was written at allocation against the type."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gomem
from gomem import _testing as door

GO = gomem.SizeClasses()


@st.composite
def layouts(draw: st.DrawFn) -> tuple[str, int]:
    """The words of an element, and how many elements; often just around the borders of 512 bytes."""
    pattern = draw(st.text("p.", min_size=1, max_size=12))
    kind = draw(st.integers(0, 9))
    if kind <= 5:
        words, count = pattern, draw(st.integers(1, 64 // len(pattern)))
    elif kind == 6:
        words = (pattern * 66)[: draw(st.integers(60, 66))]
        count = 1
    elif kind == 7:
        words, count = pattern, draw(st.integers(1, 600))
    elif kind == 8:
        words = (pattern * 512)[: draw(st.integers(1, 512))]
        count = draw(st.integers(1, 4))
    else:
        words, count = pattern, draw(st.integers(4000 // len(pattern), 9000 // len(pattern)))
    return words, count


class Model:
    """Objects by address with the pointers they have."""

    def __init__(self, page_size: int) -> None:
        self.heap = door.TestHeap(procs=2, page_size=page_size)
        self.objects: dict[int, str] = {}

    def alloc(self, p: int, words: str, count: int) -> int:
        address = self.heap.malloc_typed(p, words, count)
        assert address is not None
        assert not any(self.heap.read(address))
        self.objects[address] = words * count
        # Old contents must not shine through where the next object's pointers are.
        self.heap.write(address, b"\xff" * (8 * len(words) * count))
        return address

    def check(self) -> None:
        for address, words in self.objects.items():
            got = self.heap.pointer_words(address)
            assert got[: len(words)] == words
            if self.heap.span(address)["heap_bits"]:
                assert "p" not in got[len(words) :]
        assert self.heap.verify() is None


@pytest.mark.parametrize("page_size", [8192, 4096, 65536])
@given(data=st.data())
def test_model(page_size: int, data: st.DataObject) -> None:
    model = Model(page_size)
    # A few layouts many times: neighbours of one span share words of its bitmap.
    few = data.draw(st.lists(layouts(), min_size=1, max_size=4), label="layouts")
    steps = st.integers(0, len(few) - 1) | st.just("free") | st.just("many")
    for step in data.draw(st.lists(steps, max_size=40), label="steps"):
        if step == "free":
            if model.objects:
                address = data.draw(st.sampled_from(sorted(model.objects)), label="object")
                assert model.heap.free(data.draw(st.integers(0, 1)), address)
                assert not model.heap.free(0, address)
                del model.objects[address]
        elif step == "many":
            for words, count in few:
                if len(words) * count <= 64:
                    for _ in range(20):
                        model.alloc(0, words, count)
        else:
            words, count = few[int(step)]
            model.alloc(data.draw(st.integers(0, 1)), words, count)
    model.check()


@given(st.integers(1, 64), st.data())
def test_neighbours_and_reuse(nwords: int, data: st.DataObject) -> None:
    """A span of objects side by side, then others in the slots of those that were freed: every object
    has its own pointers, whatever was there and wherever its bits cross words of the bitmap."""
    words = st.text("p.", min_size=nwords, max_size=nwords).filter(lambda w: "p" in w)
    first, second = data.draw(words), data.draw(words)
    model = Model(8192)
    span = model.heap.span(model.alloc(0, first, 1))
    for _ in range(span["nelems"] - 1):
        model.alloc(0, first, 1)
    model.check()
    gone = sorted(model.objects)[:: data.draw(st.integers(2, 3))]
    for address in gone:
        assert model.heap.free(0, address)
        del model.objects[address]
    for _ in gone:
        model.alloc(0, second, 1)
    assert set(gone) <= set(model.objects)
    model.check()


@given(layouts())
def test_where_it_is_written(layout: tuple[str, int]) -> None:
    """Bitmap, header, or span: which, and that no object lies where the bitmap is."""
    words, count = layout
    size = 8 * len(words) * count
    model = Model(8192)
    address = model.alloc(0, words, count)
    span = model.heap.span(address)
    span_bytes = span["npages"] * 8192
    slot = (address - span["first_object"]) % span["elem_size"]
    if "p" not in words:
        assert span["span_class"] & 1 and not span["heap_bits"]
        return
    assert span["span_class"] & 1 == 0
    if size > 32768 - 8:
        assert span["large"] and address == span["base"] and span["limit"] == address + size
        return
    assert slot == 0
    if size <= 512:
        assert span["heap_bits"] and span["first_object"] == span["base"]
        assert span["elem_size"] == GO.round_up(size)
        marks = 128 if span["elem_size"] >= 16 else 0
        assert span["limit"] <= span["base"] + span_bytes - span_bytes // 64 - marks
        assert span["nelems"] == (span_bytes - span_bytes // 64 - marks) // span["elem_size"]
    else:
        assert not span["heap_bits"] and span["first_object"] == span["base"] + 8
        assert span["elem_size"] == GO[GO.class_of(size, noscan=False)].size
        assert span["elem_size"] == GO.round_up(size + 8)


def test_what_is_written_to_a_free_object_is_seen() -> None:
    """Those of a window are cleared before they are asked for; nobody may write to them meanwhile."""
    for words in ("pp", "pp..", "........"):
        heap = door.TestHeap()
        first = heap.malloc_typed(0, words, 1)
        assert first is not None and heap.verify() is None
        free = ctypes.c_uint64.from_address(first + heap.span(first)["elem_size"])
        free.value = 1
        assert f"object {ctypes.addressof(free):#x} is free, but somebody wrote to it" in str(
            heap.verify()
        )
        free.value = 0
        assert heap.verify() is None


def test_wrong_arguments() -> None:
    heap = door.TestHeap()
    address = heap.malloc_typed(0, "p.p", 3)
    assert address is not None
    for call in (
        lambda: heap.malloc_typed(0, "", 1),
        lambda: heap.malloc_typed(1, "p", 1),
        lambda: heap.malloc_typed(0, "p", 0),
        lambda: heap.pointer_words(address + 8),
        lambda: heap.pointer_words(1 << 62),
        lambda: heap.write(address, b"x" * 100),
        lambda: door.TestHeap(page_size=5000),
        lambda: door.TestHeap(procs=0),
    ):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(MemoryError):
        door.TestHeap(max_memory=10_000)
    assert not heap.free(0, address + 8) and not heap.free(0, 0) and not heap.free(0, (1 << 64) - 1)
    assert heap.pointer_words(address)[:9] == "p.p" * 3
