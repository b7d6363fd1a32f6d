"""alloc_many, Roots and free_many."""

from __future__ import annotations

import array
import gc
from typing import Any

import numpy as np
import pytest

import gomem

SIZES = [1, 8, 16, 100, 1000, 40_000, 24]


@pytest.mark.parametrize(
    "make",
    [
        list, tuple, iter, dict.fromkeys, np.array, np.uint16, np.int32, np.uint64,
        lambda s: np.array(s, dtype=">i8").astype("=i8"),
        lambda s: array.array("I", s),
        lambda s: memoryview(array.array("q", s)),
        lambda s: np.repeat(np.array(s), 3)[::3],
        lambda s: np.array(s)[::-1][::-1],
    ],
)  # fmt: skip
def test_what_sizes_can_be(heap: gomem.Heap, make: Any) -> None:
    roots = heap.alloc_many(make(SIZES))
    assert len(roots) == roots.live == len(SIZES)
    assert roots.sizes.tolist() == SIZES
    assert roots.addresses.dtype == roots.sizes.dtype == np.uint64
    assert [ref.size for ref in roots] == SIZES
    assert [ref.address for ref in roots] == roots.addresses.tolist()
    assert all(not any(ref.view()) for ref in roots)
    heap.free_many(roots)
    assert roots.live == 0 and not roots.addresses.any()


def test_more_of_what_sizes_can_be(heap: gomem.Heap) -> None:
    assert heap.alloc_many(range(10)).sizes.tolist() == list(range(10))
    assert heap.alloc_many(bytes([5, 6])).sizes.tolist() == [5, 6]
    assert heap.alloc_many(memoryview(bytes([5, 6]))).sizes.tolist() == [5, 6]
    assert len(heap.alloc_many([])) == 0
    same = heap.alloc_many(48, count=1000)
    assert same.sizes.tolist() == [48] * 1000
    assert len(heap.alloc_many(48, count=0)) == 0
    assert heap.alloc_many(np.uint8(48), count=np.int64(3)).live == 3  # type: ignore[arg-type]
    scan = heap.alloc_many([10, 24], noscan=False)
    assert scan[0].view().readonly and scan.sizes.tolist() == [10, 24]


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        (5, TypeError, "sizes must be a sequence or array of integers, not int"),
        (None, TypeError, "sizes must be a sequence or array of integers, not NoneType"),
        ("abc", TypeError, "must be an integer, not str"),
        ([1, 2.0], TypeError, "must be an integer, not float"),
        ([1, None], TypeError, "must be an integer, not NoneType"),
        ([[1]], TypeError, "must be an integer, not list"),
        ([1, -1], ValueError, "must not be negative: -1"),
        (np.array([5, -7]), ValueError, "must not be negative: -7 at index 1"),
        (np.array([-1], dtype=np.int8), ValueError, "must not be negative: -1 at index 0"),
        (np.array([1.0]), TypeError, "of 1 dimensions and format d"),
        (np.array([[1]]), TypeError, "of 2 dimensions"),
        (np.array(1), TypeError, "of 0 dimensions"),
        (np.array([1], dtype=">u8"), TypeError, "format >"),
        (np.array([True]), TypeError, r"format \?"),
        (np.zeros(2, dtype=[("a", "u4"), ("b", "u4")]), TypeError, "format T"),
        (memoryview(b"x").cast("c"), TypeError, "format c"),
        ([1, 2**47 + 1], MemoryError, "cannot allocate 140737488355329 bytes"),
        ([1, 2**200], MemoryError, "cannot allocate"),
    ],
)
def test_sizes_that_cannot_be(
    heap: gomem.Heap, sizes: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        heap.alloc_many(sizes)
    heap.flush()
    assert heap.stats().heap_objects == 0
    assert heap.stats().heap_inuse == 0


def test_counts_that_cannot_be(heap: gomem.Heap) -> None:
    for count, error in ((-1, ValueError), (-(2**70), ValueError), (2**70, MemoryError),
                         (2**61, MemoryError), (1.0, TypeError), ("1", TypeError)):  # fmt: skip
        with pytest.raises(error):
            heap.alloc_many(8, count=count)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be an integer, not list"):
        heap.alloc_many([8], count=1)
    with pytest.raises(ValueError, match="must not be negative: -8"):
        heap.alloc_many(-8, count=1)


@pytest.mark.parametrize("n", [2**60, 2**61 - 1, 2**61, 2**62])
def test_arrays_longer_than_memory(heap: gomem.Heap, n: int) -> None:
    """The bytes of a copy wrapped around, and it was written far behind its end."""
    huge = np.broadcast_to(np.uint8(8), (n,))
    with pytest.raises(MemoryError, match=f"no memory for a table of {n} objects"):
        heap.alloc_many(huge)
    with pytest.raises(MemoryError, match=f"no memory for a table of {n} objects"):
        heap.free_many(huge)


def test_a_ref_is_no_table(heap: gomem.Heap) -> None:
    """It has a buffer, so that its bytes were taken for sizes and addresses: zeros, which do
    nothing."""
    ref = heap.alloc(64)
    with pytest.raises(TypeError, match="addresses must be a sequence or array.*not a Ref"):
        heap.free_many(ref)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="sizes must be a sequence or array.*not a Ref"):
        heap.alloc_many(ref)


def test_nothing_stays_when_memory_runs_out() -> None:
    with gomem.Heap(procs=1, max_memory="16MiB") as heap:
        for sizes in ([100] * 1_000_000, [40_000] * 10_000, [8] * 10 + [2**40]):
            with pytest.raises(MemoryError):
                heap.alloc_many(sizes)
            heap.flush()
            heap.verify()
            stats = heap.stats()
            assert stats.heap_objects == stats.heap_inuse == 0


def test_elements_that_change_their_list(heap: gomem.Heap) -> None:
    """The list dropped the element that was just being converted."""

    class Clears:
        def __init__(self, owner: list[Any], error: type[Exception] | None) -> None:
            self.owner, self.error = owner, error

        def __index__(self) -> int:
            self.owner.clear()
            gc.collect()
            if self.error:
                raise self.error("from __index__")
            return 8

    for many in (heap.alloc_many, heap.free_many):
        for error in (None, TypeError, KeyError):
            sizes: list[Any] = [8]
            sizes += [Clears(sizes, error), 8, 8]
            with pytest.raises(error or RuntimeError, match=None if error else "changed while"):
                many(sizes)
    heap.flush()
    assert heap.stats().heap_objects == 0


def test_index_closes_the_heap() -> None:
    class Closer:
        def __index__(self) -> int:
            heap.close()
            return 8

    for use in ("alloc_many", "free_many", "alloc", "free", "lookup"):
        heap = gomem.Heap(procs=1)
        with pytest.raises(gomem.HeapClosedError):
            getattr(heap, use)([Closer()] if use.endswith("many") else Closer())


# --- The table ---


def test_a_table_knows_what_was_freed(heap: gomem.Heap) -> None:
    roots = heap.alloc_many([64] * 10)
    addresses = roots.addresses.copy()
    heap.free(roots[3])
    heap.free(int(addresses[4]))
    heap.free_many([roots[5], roots[6]])
    heap.free_many(addresses[7:9])
    assert roots.live == 4 and len(roots) == 10
    assert np.flatnonzero(roots.addresses).tolist() == [0, 1, 2, 9]
    assert repr(roots) == "<gomem.Roots of 10 objects, 4 live>"
    with pytest.raises(gomem.InvalidPointerError, match="object 3 of the table was freed"):
        roots[3]
    heap.free_many(roots)
    heap.free_many(roots)  # nothing is left: nothing to do
    assert heap.stats().heap_objects == 0


def test_indexing(heap: gomem.Heap) -> None:
    roots = heap.alloc_many([8, 16, 24])
    assert roots[-1].size == 24 and roots[0] is roots[0]
    for index in (3, -4, 2**70):
        with pytest.raises(IndexError):
            roots[index]
    for key in (1.0, "x", None, slice(0, 1)):
        with pytest.raises(TypeError):
            roots[key]  # type: ignore[index]
    with pytest.raises(TypeError):
        roots[0] = 5  # type: ignore[index]
    assert roots.heap is heap


def test_the_arrays_are_live_and_read_only(heap: gomem.Heap) -> None:
    roots = heap.alloc_many([64] * 4)
    addresses, sizes = roots.addresses, roots.sizes
    for a in (addresses, heap.alloc_many(64, count=4).sizes):
        with pytest.raises(ValueError, match="read-only"):
            a[0] = 5
    heap.free(roots[2])
    assert addresses[2] == 0
    view = memoryview(roots)
    assert (view.format, view.itemsize, view.shape, view.readonly) == ("Q", 8, (4,), True)
    del roots
    gc.collect()
    assert addresses[0] != 0 and sizes.tolist() == [64] * 4


def test_views_keep_a_table(heap: gomem.Heap) -> None:
    roots = heap.alloc_many([64] * 10)
    view = roots[7].view()
    with pytest.raises(BufferError, match="cannot free object 7: views"):
        heap.free_many(roots)
    assert roots.live == 10
    with pytest.raises(BufferError, match="object 7"):
        heap.free_many(roots.addresses)
    assert roots.live == 10
    view.release()
    heap.free_many(roots)


def test_free_many_stops_at_the_first_that_is_none(heap: gomem.Heap) -> None:
    roots = heap.alloc_many([64] * 6)
    refs = list(roots)
    a = roots.addresses.tolist()
    with pytest.raises(gomem.InvalidPointerError, match=f"{a[2] + 1:#x} at index 2"):
        heap.free_many([a[0], a[1], a[2] + 1, a[3]])
    assert [r.freed for r in refs] == [True, True, False, False, False, False]
    assert roots.live == 4
    with pytest.raises(gomem.InvalidPointerError, match="at index 1"):
        heap.free_many([a[2], a[2]])
    assert refs[2].freed and roots.live == 3
    for bad, message in (([a[3], -1], "-1 is no address"), ([2**64], "is no address"),
                         (np.array([-5]), "-5 at index 0")):  # fmt: skip
        with pytest.raises(gomem.InvalidPointerError, match=message):
            heap.free_many(bad)
    assert not refs[3].freed
    heap.free_many([0, a[3], 0])  # what was struck from a table is skipped
    assert refs[3].freed
    with pytest.raises(TypeError, match="element 1 must be a Ref like the first, not int"):
        heap.free_many([refs[4], a[5]])  # type: ignore[list-item]
    heap.verify()


def test_free_many_of_nonsense(heap: gomem.Heap) -> None:
    for wrong in (5, None, 1.5, "abc", [None], np.array([1.0]), object()):
        with pytest.raises(TypeError):
            heap.free_many(wrong)  # type: ignore[arg-type]
    heap.free_many([])
    heap.free_many(())


def test_a_tables_size_wins_over_its_slots(heap: gomem.Heap) -> None:
    """Looked up, an object seemed to be as large as its slot, and counted twice."""
    roots = heap.alloc_many([100] * 50)
    refs = [heap.lookup(int(a)).ref for a in roots.addresses]
    assert heap.fragmentation().rounding == 50 * 12
    del refs
