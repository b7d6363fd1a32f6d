"""The system refuses memory: at every single call, of everything that makes calls.

For k = 0, 1, 2 ... the k-th call is refused (alone, or with all that follow), until nothing is refused
any more. Each time the operation works or raises MemoryError; the heap verifies; and afterwards nothing
is leaked: the same objects, and the same memory once it is all given back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gomem
from gomem.testing import os_refuses

ALL = 1 << 62
CALLS_AT_MOST = 400

Work = Callable[[gomem.Heap], Any]


def big_type() -> gomem.Type:
    return gomem.struct("Big", p="*int8", raw="[300000]uint8")


OPERATIONS: dict[str, Work] = {
    "tiny": lambda h: [h.alloc(3) for _ in range(10)],
    "small": lambda h: h.alloc(100),
    "small scan": lambda h: h.alloc(100, noscan=False),
    "with header": lambda h: h.alloc(2000, noscan=False),
    "largest small": lambda h: h.alloc(32_768 - 8),
    "large": lambda h: h.alloc(100_000),
    "large scan": lambda h: h.alloc(100_000, noscan=False),
    "huge": lambda h: h.alloc(80 << 20),
    "typed": lambda h: h.new(big_type()),
    "many tiny": lambda h: h.alloc_many(5, count=30_000),
    "many": lambda h: h.alloc_many(64, count=30_000),
    "many scan": lambda h: h.alloc_many(24, count=30_000, noscan=False),
    "many mixed": lambda h: h.alloc_many([10, 1000, 100_000, 30_000, 400] * 20),
    "many large": lambda h: h.alloc_many([3000] * 300 + [50_000] * 40),
}


def free_all(heap: gomem.Heap, made: Any) -> None:
    if isinstance(made, list):
        for each in made:
            free_all(heap, each)
    elif isinstance(made, gomem.Roots):
        heap.free_many(made)
    elif made is not None:
        heap.free(made)


def everything(heap: gomem.Heap) -> tuple[int, ...]:
    """What must be as before: objects, spans, and memory that is not given back."""
    heap.gc()  # one that is under way gives spans back at its end
    heap.release_os_memory()
    heap.verify()
    s = heap.stats()
    assert s.heap_idle == s.heap_released
    return (s.heap_objects, s.heap_alloc, s.heap_inuse, s.mspan_inuse, s.mcache_inuse)


@pytest.mark.parametrize("count", [1, ALL], ids=["one", "all from there on"])
@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_call(name: str, warm: bool, count: int) -> None:
    work = OPERATIONS[name]
    refused = 0
    for k in range(CALLS_AT_MOST):
        with gomem.Heap(procs=1, gogc="off") as heap:
            if warm:
                free_all(heap, [heap.alloc_many([8, 24, 5000, 70_000] * 300), heap.alloc(3 << 20)])
            before = everything(heap)
            made: Any = None
            with os_refuses(heap, k, count):
                try:
                    made = work(heap)
                except MemoryError as error:
                    assert "cannot allocate" in str(error)
                    refused += 1
                heap.verify()
                calls = heap._fail_os_calls(0, 0)
            if made is None:
                # After the failure everything works, and needs no more than ever.
                assert everything(heap)[:3] == before[:3]
                made = work(heap)
            free_all(heap, made)
            assert everything(heap)[:3] == before[:3]
            mapped = heap.stats().extra["mapped_ready"]
        if calls <= k:
            break
    else:
        raise AssertionError(f"more than {CALLS_AT_MOST} calls")
    if not warm and count == ALL:  # one refusal alone is tried again
        assert refused > 0
    # A heap that was never refused anything has about as much mapped at the end.
    with gomem.Heap(procs=1, gogc="off") as heap:
        free_all(heap, work(heap))
        everything(heap)
        assert abs(heap.stats().extra["mapped_ready"] - mapped) <= 4 << 20


@pytest.mark.parametrize("count", [1, ALL], ids=["one", "all from there on"])
def test_refused_while_giving_back(count: int) -> None:
    """Memory that the system does not take stays usable."""
    for k in range(CALLS_AT_MOST):
        with gomem.Heap(procs=1, gogc="off") as heap:
            keep = heap.alloc_many(8192, count=100)
            heap.free_many(heap.alloc_many([8192, 100_000] * 100))
            with os_refuses(heap, k, count):
                heap.release_os_memory()
                heap.verify()
                s = heap.stats()
                assert s.heap_released <= s.heap_idle
                calls = heap._fail_os_calls(0, 0)
            heap.free_many(heap.alloc_many([8192, 100_000] * 100))
            heap.free_many(keep)
            assert everything(heap)[:3] == (0, 0, 0)
        if calls <= k:
            return
    raise AssertionError("never ended")


@pytest.mark.parametrize("count", [1, ALL], ids=["one", "all from there on"])
def test_refused_in_the_middle_of_use(count: int) -> None:
    """A longer life, each of its calls refused once; what was written stays."""
    for k in range(CALLS_AT_MOST):
        with gomem.Heap(procs=2, memory_limit="6MiB") as heap:
            refs: list[tuple[gomem.Ref, int]] = []
            with os_refuses(heap, k, count):
                for step, size in enumerate([100, 40_000, 8, 200_000, 2000, 9, 1_000_000] * 4):
                    try:
                        ref = heap.alloc(size, noscan=True)
                    except MemoryError:
                        continue
                    ref.view()[:] = bytes([step]) * size
                    refs.append((ref, step))
                    if step % 3 == 2:
                        old, byte = refs.pop(0)
                        assert bytes(old.view()) == bytes([byte]) * old.size
                        heap.free(old)
                    if step % 10 == 9:
                        heap.release_os_memory()
                calls = heap._fail_os_calls(0, 0)
            heap.verify()
            for ref, byte in refs:
                assert bytes(ref.view()) == bytes([byte]) * ref.size
                heap.free(ref)
            assert everything(heap)[:2] == (0, 0)
            heap.gc()  # spans emptied while one is under way are given back at its end
            assert everything(heap)[2] == 0
        if calls <= k:
            return


def test_max_memory_at_every_size(python: Any) -> None:
    """A heap that is created with too little says so, and leaves nothing behind."""
    out = python(
        """
        import gomem
        def mapped():
            with open("/proc/self/maps") as f:
                return f.read().count("gomem") , sum(1 for _ in open("/proc/self/maps"))
        refused = 0
        for limit in list(range(0, 4 << 20, 12_288)):
            try:
                heap = gomem.Heap(procs=3, max_memory=limit)
            except MemoryError as error:
                assert str(error), limit
                refused += 1
                if refused == 5: after_five = mapped()
                continue
            try:
                heap.alloc(100); heap.alloc(100_000)
            except MemoryError:
                pass
            heap.verify()
            heap.close()
        end = mapped()
        assert end[0] <= after_five[0] and end[1] <= after_five[1] + 20, (after_five, end)
        print(refused)
        """
    )
    assert int(out) > 20


def test_the_system_refuses_for_real(python: Any) -> None:
    """With RLIMIT_AS: creation at every limit, then allocation until nothing is left."""
    out = python(
        """
        import gc, resource, gomem
        def vsize():
            with open("/proc/self/statm") as f: return int(f.read().split()[0]) * 4096
        gomem.Heap(procs=2).close()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        made = refused = 0
        step = 1 << 20
        extra = 0
        while made < 3:
            extra += step
            if refused > 60: step = 16 << 20
            if extra > 4 << 30: step = 1 << 36
            resource.setrlimit(resource.RLIMIT_AS, (vsize() + extra, hard))
            try:
                heap = gomem.Heap(procs=2)
                made += 1
                try:
                    refs = [heap.alloc(100)]
                    while True: refs.append(heap.alloc(1 << 26))
                except MemoryError: pass
                heap.verify()
                heap.close()
            except MemoryError:
                refused += 1
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        print(refused)
        """,
        timeout=100,
    )
    assert int(out) > 3


def test_os_refuses_is_undone(heap: gomem.Heap) -> None:
    with pytest.raises(MemoryError), os_refuses(heap):
        heap.alloc(80 << 20)
    heap.free(heap.alloc(80 << 20))
    inner = gomem.Heap(procs=1)
    with os_refuses(inner):
        inner.close()
