"""fork with heaps open: both sides go on, each with its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

import gomem

# Seen in a debugger: the child waits for a lock of the sanitizer's allocator that a thread held when the
# process forked. Newer ones take their locks before a fork, as the C library's allocator does.
forks_while_threads_allocate = pytest.mark.skipif(
    gomem.build_info()["profile"] == "asan",
    reason="the allocator of the address sanitizer may be locked for ever in a child",
)


def in_child(f: Callable[[], None], seconds: float = 30) -> None:
    """Runs f in a fork, which must end well and in time."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            f()
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError("the child hangs")
        time.sleep(0.002)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("procs", [1, 3])
@pytest.mark.parametrize("limit", [None, "8MiB"])
def test_both_go_on(procs: int, limit: str | None) -> None:
    with gomem.Heap(procs=procs, memory_limit=limit) as heap, gomem.Heap(procs=1) as other:
        ref = heap.alloc(100)
        ref.view()[:] = b"p" * 100
        roots = heap.alloc_many([50] * 1000)
        other.alloc(10)
        before = heap.stats().heap_objects

        def child() -> None:
            assert bytes(ref.view()) == b"p" * 100
            ref.view()[:] = b"c" * 100
            assert heap.stats().heap_objects == before
            heap.free_many(roots)
            heap.free(ref)
            heap.alloc_many([5000] * 3000)
            heap.release_os_memory()
            heap.verify()
            other.verify()
            heap.memory_limit = 4 << 20
            with gomem.Heap(procs=2) as mine:
                mine.alloc(8)
            heap.close()
            other.close()

        in_child(child)
        assert bytes(ref.view()) == b"p" * 100
        assert heap.stats().heap_objects == before
        heap.free_many(roots)
        heap.verify()


def test_grandchildren_and_closed_heaps() -> None:
    closed = gomem.Heap(procs=1)
    closed.close()
    with gomem.Heap(procs=2) as heap:

        def child() -> None:
            heap.alloc(8)
            in_child(lambda: heap.close())
            heap.verify()

        in_child(child)
        heap.verify()


@forks_while_threads_allocate
def test_while_threads_work(python: Any) -> None:
    """Whatever they are in the middle of: the child verifies, and all its calls end."""
    out = python(
        """
        import os, sys, threading, time, random, signal
        import gomem
        import gomem._tables  # a module that is being imported stays so in the child: Python's affair
        sys.setswitchinterval(1e-4)
        heap = gomem.Heap(procs=3, memory_limit="24MiB")
        small = gomem.Heap(procs=2, max_memory="6MiB")
        stop = threading.Event()
        def work(seed):
            rng = random.Random(seed)
            while not stop.is_set():
                roots = heap.alloc_many([rng.randrange(1, 3000) for _ in range(2000)])
                heap.free_many(roots if seed % 2 else roots.addresses.copy())
                try:
                    small.alloc_many(100_000, count=100)
                except MemoryError:
                    pass
                heap.stats()
        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(3)]
        for t in threads: t.start()
        for i in range(40):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                heap.verify()
                heap.lookup(8)
                roots, ref = heap.alloc_many([100] * 100), heap.alloc(10)
                heap.free_many(roots.addresses.copy())
                heap.free(ref.address)
                small.verify()
                heap.flush()
                heap.verify()
                heap.close()
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            assert status == 0, (i, status)
            time.sleep(0.002)
        stop.set()
        for t in threads: t.join()
        heap.verify(); small.verify()
        print("done")
        """,
        timeout=120,
    )
    assert "done" in out


@forks_while_threads_allocate
def test_forks_from_threads(python: Any) -> None:
    """Two forks at a time prepared the same heaps, and waited for each other."""
    out = python(
        """
        import os, signal, sys, threading
        import gomem
        sys.setswitchinterval(1e-5)
        heaps = [gomem.Heap(procs=2) for _ in range(5)]
        bad = []
        def work():
            for _ in range(25):
                pid = os.fork()
                if pid == 0:
                    signal.alarm(20)
                    for heap in heaps:
                        heap.alloc(100)
                        heap.verify()
                    os._exit(0)
                _, status = os.waitpid(pid, 0)
                if status:
                    bad.append(status)
                with gomem.Heap(procs=1) as heap:
                    heap.alloc(8)
        threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert not bad, bad
        for heap in heaps: heap.verify()
        print("done")
        """,
        timeout=120,
    )
    assert "done" in out


def _square(n: int) -> int:
    with gomem.Heap(procs=1) as heap:
        roots = heap.alloc_many([n * n] * 3)
        heap.verify()
        return roots[0].size


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str) -> None:
    with gomem.Heap(procs=1) as heap:
        heap.alloc(100)
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(_square, range(10)) == [n * n for n in range(10)]
        heap.verify()


def test_a_heap_does_not_travel() -> None:
    pool = multiprocessing.get_context("fork").Pool(1)
    with gomem.Heap(procs=1) as heap, pool, pytest.raises(TypeError, match="cannot be pickled"):
        pool.apply(repr, (heap,))
