"""alloc, new and free: what comes back, and what is refused."""

from __future__ import annotations

import gc
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gomem
from gomem.testing import class_edges

PAGE = 8192


@pytest.mark.parametrize("noscan", [True, False])
def test_every_class_edge(heap: gomem.Heap, noscan: bool) -> None:
    seen = []
    for size in class_edges():
        ref = heap.alloc(size, noscan=noscan)
        assert ref.size == size
        if size == 0:
            continue
        assert ref.slot_size >= size
        if ref.size_class and (size >= 16 or not noscan):
            assert ref.slot_size == heap.size_class_table.round_up(size, noscan=noscan)
        assert bytes(ref.view()) == bytes(size)
        seen.append((ref.address, ref.address + size, ref))
    seen.sort(key=lambda s: s[0])
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(seen))
    for *_, ref in seen:
        heap.free(ref)
    heap.flush()
    assert heap.stats().heap_objects == 0


@pytest.mark.parametrize("size", [1, 16, 24, 100, 1024, 32768, 32769, 100_000])
def test_memory_is_zeroed_when_it_is_used_again(heap: gomem.Heap, size: int) -> None:
    for _ in range(3):
        refs = [heap.alloc(size) for _ in range(50)]
        for ref in refs:
            assert not any(ref.view())
            ref.view()[:] = b"\xff" * size
        for ref in refs:
            heap.free(ref)


def test_zero_sized_objects_are_one(heap: gomem.Heap) -> None:
    a, b = heap.alloc(0), heap.alloc(0)
    assert a is b
    assert a.size == 0 and a.size_class == 0 and a.span is None
    assert bytes(a.view()) == b""
    heap.free(a)
    assert not a.freed
    assert heap.lookup(a.address).kind == "zero"
    assert heap.lookup(a.address).ref is a
    assert heap.stats().heap_objects == 0


def test_zero_sized_types_keep_apart(heap: gomem.Heap) -> None:
    """They share the address, but not the type: the second one was typed as the first."""
    one, two = gomem.struct("One"), gomem.struct("Two")
    a, b = heap.new(one), heap.new(two)
    assert (a.type, b.type, heap.alloc(0).type) == (one, two, None)
    assert a == heap.new(one) and a != b
    holder = heap.new(gomem.struct("Holder", p=gomem.pointer(one)))
    holder.p = a
    assert holder.p == a
    with pytest.raises(TypeError, match=r"cannot point to an object of type Two"):
        holder.p = b


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (-1, ValueError, "must not be negative: -1"),
        (-(2**64), ValueError, "must not be negative"),
        (2**47 + 1, MemoryError, "cannot allocate 140737488355329 bytes"),
        (2**63, MemoryError, f"cannot allocate {2**63} bytes$"),
        (2**64 - 2, MemoryError, f"cannot allocate {2**64 - 2} bytes$"),
        (2**64 - 1, MemoryError, f"cannot allocate {2**64 - 1} bytes or more"),
        (2**64, MemoryError, "bytes or more"),
        (2**200, MemoryError, "bytes or more"),
        (1.5, TypeError, "must be an integer, not float"),
        ("10", TypeError, "must be an integer, not str"),
        (None, TypeError, "must be an integer, not NoneType"),
        (b"1", TypeError, "must be an integer, not bytes"),
    ],
)
@pytest.mark.parametrize("noscan", [True, False])
def test_sizes_that_cannot_be(
    heap: gomem.Heap, size: Any, error: type[Exception], message: str, noscan: bool
) -> None:
    before = heap.stats()
    with pytest.raises(error, match=message):
        heap.alloc(size, noscan=noscan)
    assert heap.stats() == before


@pytest.mark.parametrize("noscan", [True, False])
def test_a_size_that_overflows_when_rounded_up(heap: gomem.Heap, noscan: bool) -> None:
    """alloc_many of pointers rounded 2**64 - 1 up to 0, and returned an object of that size."""
    for size in (2**64 - 1, 2**64 - 8, 2**63 + 1):
        with pytest.raises(MemoryError):
            heap.alloc_many([8, size], noscan=noscan)
    heap.flush()  # a block of tiny objects is kept until it is full
    assert heap.stats().heap_objects == 0


def test_anything_with_index_is_a_size(heap: gomem.Heap) -> None:
    class Size:
        def __index__(self) -> int:
            return 48

    assert heap.alloc(Size()).size == 48
    assert heap.alloc(np.uint8(24)).size == 24
    assert heap.alloc(True).size == 1


def test_an_exception_in_index_comes_out(heap: gomem.Heap) -> None:
    """It was replaced by "must be an integer"."""

    class Bad:
        def __index__(self) -> int:
            raise ZeroDivisionError("mine")

    for call in (heap.alloc, heap.free, heap.lookup):
        with pytest.raises(ZeroDivisionError, match="mine"):
            call(Bad())  # type: ignore[arg-type]
    for many in (heap.alloc_many, heap.free_many):
        with pytest.raises(ZeroDivisionError, match="mine"):
            many([Bad()])  # type: ignore[list-item]


def test_wrong_arguments(heap: gomem.Heap) -> None:
    alloc: Any = heap.alloc
    with pytest.raises(TypeError, match="takes a size and the keyword noscan"):
        alloc()
    with pytest.raises(TypeError, match="takes a size and the keyword noscan"):
        alloc(1, False)
    with pytest.raises(TypeError, match="unexpected keyword argument 'scan'"):
        alloc(1, scan=True)
    with pytest.raises(TypeError, match=r"new\(\) takes a gomem.Type or .* not int"):
        heap.new(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"free\(\) takes a Ref or an address, not str"):
        heap.free("x")  # type: ignore[arg-type]


# --- Freeing what is none ---


@pytest.mark.parametrize("size", [24, 100, 2000, 40_000])
def test_addresses_that_are_no_objects(heap: gomem.Heap, size: int) -> None:
    ref = heap.alloc(size)
    other = heap.alloc(size)
    heap.free(other)
    ref.view()[:] = b"x" * size
    before = heap.stats()
    address = ref.address
    for offset in (1, 7, 8, size // 2, size - 1):
        with pytest.raises(gomem.InvalidPointerError, match="object that begins at"):
            heap.free(address + offset)
    foreign = (ctypes_address := np.zeros(64, dtype=np.uint8)).ctypes.data
    for bad in (0, 1, 8, foreign, 2**63, 2**64 - 1):
        with pytest.raises(gomem.InvalidPointerError, match="is not in this heap"):
            heap.free(bad)
    for bad in (-1, 2**64, 2**1000):
        with pytest.raises(gomem.InvalidPointerError, match="is no address"):
            heap.free(bad)
    with pytest.raises(gomem.InvalidPointerError, match="not a longer integer"):
        heap.free(10**5000)
    assert heap.stats() == before
    assert bytes(ref.view()) == b"x" * size
    assert not ctypes_address.any()
    heap.verify()


@pytest.mark.parametrize("size", [1, 24, 100, 2000, 40_000])
def test_double_free(heap: gomem.Heap, size: int) -> None:
    neighbour = heap.alloc(size)
    ref = heap.alloc(size)
    address = ref.address
    heap.free(ref)
    assert ref.freed
    with pytest.raises(gomem.InvalidPointerError, match="was freed"):
        heap.free(ref)
    with pytest.raises(gomem.InvalidPointerError, match="free"):
        heap.free(address)
    for attribute in ("address", "span", "size_class", "slot_size"):
        with pytest.raises(gomem.InvalidPointerError, match="the object was freed"):
            getattr(ref, attribute)
    with pytest.raises(gomem.InvalidPointerError):
        ref.view()
    assert repr(ref) == "<gomem.Ref bytes, freed>"
    assert not neighbour.freed
    heap.verify()


def test_null_is_shown_as_an_address(heap: gomem.Heap) -> None:
    with pytest.raises(gomem.InvalidPointerError, match="cannot free 0x0: it is not in this heap"):
        heap.free(0)


def test_the_address_frees_the_ref_too(heap: gomem.Heap) -> None:
    ref = heap.alloc(64)
    heap.free(ref.address)
    assert ref.freed
    numpy_address = np.uint64(heap.alloc(64).address)
    heap.free(numpy_address)  # type: ignore[arg-type]
    assert heap.stats().heap_objects == 0


def test_a_ref_of_another_heap(heap: gomem.Heap) -> None:
    with gomem.Heap(procs=1) as other:
        ref = other.alloc(8)
        with pytest.raises(gomem.InvalidPointerError, match="belongs to another heap"):
            heap.free(ref)
        with pytest.raises(gomem.InvalidPointerError, match="another heap"):
            heap.free_many(other.alloc_many([8]))
        with pytest.raises(gomem.InvalidPointerError, match="another heap"):
            heap.free_many([ref])
        assert not ref.freed


def test_a_dropped_ref_leaves_its_object(heap: gomem.Heap) -> None:
    address = heap.alloc(64).address
    gc.collect()
    assert heap.lookup(address).kind == "object"
    heap.free(address)


def test_memory_is_used_again_before_more_is_asked_for(heap: gomem.Heap) -> None:
    for size in (8, 100, 3000, 32768, 200_000):
        for ref in [heap.alloc(size) for _ in range(200)]:
            heap.free(ref)
        # What was handed out a first time fits twice: other Ps and caches hold little.
        peak = heap.stats().heap_sys
        for _ in range(20):
            for ref in [heap.alloc(size) for _ in range(200)]:
                heap.free(ref)
        assert heap.stats().heap_sys == peak, size


def test_max_memory(heap: gomem.Heap) -> None:
    with gomem.Heap(procs=1, max_memory="8MiB") as small:
        refs = []
        with pytest.raises(MemoryError, match="cannot allocate 65536 bytes"):
            while True:
                refs.append(small.alloc(65536))
        small.verify()
        assert small.stats().extra["mapped_ready"] <= 8 << 20
        count = len(refs)
        for ref in refs:
            small.free(ref)
        refs = [small.alloc(65536) for _ in range(count)]
        small.verify()


def test_no_p_is_held_while_an_exception_is_made(python: Any) -> None:
    """Making one can run the garbage collector, and that code that wants the only P."""
    python(
        """
        import gc, gomem
        heap = gomem.Heap(procs=1)
        ran = 0
        class Cycle:
            def __init__(self):
                self.me = self
            def __del__(self):
                global ran
                ran += 1
                heap.free(heap.alloc(32))
                heap.lookup(8)
        ref = heap.alloc(100)
        roots = heap.alloc_many([16] * 100)
        view = roots[50].view()
        gc.set_threshold(1)
        for _ in range(300):
            for bad in (ref.address + 1, 8):
                Cycle()
                try: heap.free(bad)
                except gomem.InvalidPointerError: pass
                Cycle()
                try: heap.free_many([bad])
                except gomem.InvalidPointerError: pass
            Cycle()
            try: heap.free_many(roots)
            except BufferError: pass
        gc.set_threshold(700)
        assert ran > 100, ran
        heap.verify()
        """
    )


@pytest.mark.skipif(
    Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "1",
    reason="the system promises any amount of memory",
)
def test_more_than_the_machine_has_is_refused_at_once() -> None:
    with gomem.Heap(procs=1) as heap:
        before = heap.stats()
        for size in (2**44, 2**46):
            with pytest.raises(MemoryError):
                heap.alloc(size)
        with pytest.raises(MemoryError):
            heap.make_slice("int", 2**42)
        # Nothing was written down for it: a TiB has 18 GiB of tables.
        after = heap.stats()
        assert after.sys - before.sys < 2**20
        heap.verify()
        assert heap.alloc(2**20).size == 2**20
