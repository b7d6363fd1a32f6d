"""lookup: what lies at any address."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import gomem


@pytest.mark.parametrize("noscan", [True, False])
@pytest.mark.parametrize("size", [16, 24, 100, 500, 520, 2000, 32768, 100_000])
def test_every_byte_of_an_object(heap: gomem.Heap, size: int, noscan: bool) -> None:
    refs = [heap.alloc(size, noscan=noscan) for _ in range(20)]
    for ref in refs:
        for offset in {0, 1, 7, 8, size // 2, size - 1, ref.slot_size - 1}:
            found = heap.lookup(ref.address + offset)
            assert found.kind == "object"
            assert found.ref is ref
            assert (found.object, found.offset, found.size) == (ref.address, offset, ref.slot_size)
            assert (found.size_class, found.noscan, found.tiny) == (ref.size_class, noscan, False)
            assert found.span == ref.span.base
            assert found.arena is not None and found.arena <= ref.address < found.arena + (64 << 20)
    for ref in refs:
        address = ref.address
        heap.free(ref)
        assert heap.lookup(address).kind in ("free slot", "free page")
        assert heap.lookup(address).ref is None


def test_tiny_objects_one_by_one(heap: gomem.Heap) -> None:
    refs = [heap.alloc(size) for size in (1, 3, 8, 2, 15, 4, 4, 4)]
    for ref in refs:
        found = heap.lookup(ref.address)
        assert found.tiny and found.ref is ref and found.noscan
        assert heap.lookup(ref.address + ref.size - 1).ref is ref


def test_against_the_spans(heap: gomem.Heap) -> None:
    """Every page of the heap, and addresses in between, tell the same as the lists."""
    rng = random.Random(1)
    refs = [heap.alloc(rng.choice([8, 40, 640, 9000, 70_000]), noscan=rng.random() < 0.5)
            for _ in range(300)]  # fmt: skip
    for ref in rng.sample(refs, 150):
        heap.free(ref)
    live = [(r.address, r.address + r.slot_size) for r in refs if not r.freed]
    spans = heap.spans()
    for arena in heap.arenas():
        base = int(arena["base"])
        pages = range(0, int(arena["size"]), 8192)
        for page in [*pages[:400], *rng.sample(pages, 100)]:
            address = base + page + rng.randrange(8192)
            found = heap.lookup(address)
            covering = [s for s in spans if s["base"] <= address < s["base"] + s["npages"] * 8192]
            if covering:
                assert found.span == covering[0]["base"]
                assert found.span_pages == covering[0]["npages"]
                if found.kind != "span tail":
                    assert found.index is not None and found.index < covering[0]["nelems"]
            else:
                assert found.kind in ("free page", "outside")
                assert found.span is None and found.index is None
            if any(a <= address < b for a, b in live):
                assert found.kind == "object"
            assert found.address == address


@pytest.mark.parametrize("address", [0, 1, 4096, 2**47, 2**63, 2**64 - 1, 2**64, 2**500, -1])
def test_foreign_addresses(heap: gomem.Heap, address: int) -> None:
    found = heap.lookup(address)
    assert found.kind == "outside" and found.ref is None and found.offset is None
    assert (found.arena, found.span, found.object, found.size_class) == (None,) * 4


def test_all_integers_but_nothing_else(heap: gomem.Heap) -> None:
    roots = heap.alloc_many([64])
    assert heap.lookup(roots.addresses[0]).ref is roots[0]  # a NumPy integer: was refused
    for wrong in (1.5, "5", None, b"5", roots[0]):
        with pytest.raises(TypeError, match="an address must be an integer, not"):
            heap.lookup(wrong)  # type: ignore[arg-type]


def test_a_ref_of_what_is_gone(heap: gomem.Heap) -> None:
    ref = heap.alloc(64)
    found = heap.lookup(ref.address)
    heap.free(ref)
    with pytest.raises(gomem.InvalidPointerError, match="there is no object at"):
        found.ref  # noqa: B018


def test_other_heaps_are_foreign(heap: gomem.Heap) -> None:
    with gomem.Heap(procs=1) as other:
        ref = other.alloc(64)
        ours = heap.lookup(ref.address)
        assert ours.kind in ("outside", "free page") and ours.ref is None


def test_lookup_is_plain_data(heap: gomem.Heap) -> None:
    found: Any = heap.lookup(heap.alloc(64).address)
    with pytest.raises(AttributeError):
        found.kind = "x"
    assert found == heap.lookup(found.address)
    assert np.uint64(found.address) == found.object
