"""Finalizers and cleanups as Python programs use them. What is called when: tests/golden."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gomem
from gomem.testing import os_refuses

NODE = gomem.struct("FinalNode", a="*FinalNode", b="*FinalNode", number="int64")
BIG = gomem.struct("BigFinalNode", a=gomem.pointer(NODE), pad="[200]int64", b=gomem.pointer(NODE))


@pytest.fixture
def manual() -> Iterator[gomem.Heap]:
    """A heap in which only run_finalizers() calls anything, and only gc() collects."""
    with gomem.Heap(procs=1, gogc="off", finalizer_thread=False) as h:
        yield h
        if not h.closed:
            h.verify()


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda a: seen.append((a.exc_value, a.object)))
    return seen


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


# --- Who calls ---


def test_a_thread_calls_them() -> None:
    heap = gomem.Heap(procs=1)
    log: list[Any] = []
    for i in range(100):
        ref = heap.new(NODE)
        ref.number = i
        gomem.set_finalizer(ref, lambda r: log.append((r.number, threading.current_thread().name)))
    del ref
    heap.gc()
    wait_for(lambda: len(log) == 100)
    assert sorted(n for n, _ in log) == list(range(100))
    assert {name for _, name in log} == {"gomem-finalizers"}
    threads = [t for t in threading.enumerate() if t.name == "gomem-finalizers"]
    assert len(threads) == 1 and threads[0].daemon
    heap.close()
    threads[0].join(10)
    assert not threads[0].is_alive()


def test_the_thread_does_not_keep_the_heap() -> None:
    heap = gomem.Heap(procs=1)
    gomem.set_finalizer(heap.new(NODE), print)
    (thread,) = [t for t in threading.enumerate() if t.name == "gomem-finalizers"]
    alive = weakref.ref(heap)
    del heap
    wait_for(lambda: gc.collect() >= 0 and alive() is None)
    thread.join(10)
    assert not thread.is_alive()


def test_a_heap_in_a_cycle_with_its_finalizers_is_collected() -> None:
    heap = gomem.Heap(procs=1, finalizer_thread=False)
    alive = weakref.ref(heap)
    gomem.add_cleanup(heap.new(NODE), lambda h: None, heap)
    gomem.set_finalizer(heap.new(NODE), heap.free)
    del heap
    gc.collect()
    assert alive() is None


def test_run_finalizers_waits_for_the_thread(heap: gomem.Heap) -> None:
    done: list[int] = []
    for i in range(20):
        gomem.add_cleanup(heap.new(NODE), lambda i: (time.sleep(0.002), done.append(i)), i)
    heap.gc()
    heap.run_finalizers()
    assert sorted(done) == list(range(20))


def test_manual_heaps_have_no_thread(manual: gomem.Heap) -> None:
    log: list[str] = []
    gomem.add_cleanup(manual.new(NODE), log.append, "cleanup")
    assert manual._finalizers.thread is None
    manual.gc()
    time.sleep(0.01)
    assert log == []
    assert manual.run_finalizers() == 1
    assert log == ["cleanup"]
    assert manual.run_finalizers() == 0


def test_order_of_the_queue_and_of_cleanups(manual: gomem.Heap) -> None:
    """The queue is in the order of sweeping; cleanups of an object in that of adding them."""
    log: list[Any] = []
    refs = [manual.new(NODE) for _ in range(50)]
    for i, ref in enumerate(refs):
        for k in range(3):
            gomem.add_cleanup(ref, log.append, (i, k))
    refs.clear()
    del ref
    manual.gc()
    assert manual.run_finalizers() == 150
    assert log == [(i, k) for i in range(50) for k in range(3)]


# --- What they get ---


@pytest.mark.parametrize("make", [
    lambda h: h.new(NODE), lambda h: h.new(BIG), lambda h: h.new(gomem.array(BIG, 90)),
    lambda h: h.alloc(24), lambda h: h.alloc(1000, noscan=False), lambda h: h.alloc(100_000),
])  # fmt: skip
def test_the_object_as_it_was(manual: gomem.Heap, make: Callable[[gomem.Heap], gomem.Ref]) -> None:
    ref = make(manual)
    address, size, kind = ref.address, ref.size, ref.type
    seen: list[gomem.Ref] = []
    gomem.set_finalizer(ref, seen.append)
    del ref
    manual.gc()
    manual.verify()
    objects = manual.stats().heap_objects
    assert manual.run_finalizers() == 1
    assert (seen[0].address, seen[0].size, seen[0].type) == (address, size, kind)
    manual.gc()
    assert manual.stats().heap_objects == objects and not seen[0].freed
    seen.clear()
    manual.gc()
    assert manual.stats().heap_objects == objects - 1


def test_a_queued_object_and_what_it_leads_to_stay(manual: gomem.Heap) -> None:
    numbers: list[int] = []
    ref = manual.new(BIG)
    ref.b = manual.new(NODE)
    ref.b.a = manual.new(NODE)
    ref.b.a.number = 7
    gomem.set_finalizer(ref, lambda r: numbers.append(r.b.a.number))
    del ref
    for _ in range(3):
        manual.gc()
        for n in (8, 16, 24, 32, 2048):
            manual.alloc_many([n] * 500, noscan=False)
    assert manual.stats().heap_objects >= 3
    manual.run_finalizers()
    assert numbers == [7]


def test_a_finalizer_in_place_of_another(manual: gomem.Heap) -> None:
    log: list[str] = []
    ref = manual.new(NODE)
    gomem.set_finalizer(ref, lambda r: log.append("first"))
    with pytest.raises(ValueError, match="already set"):
        gomem.set_finalizer(ref, lambda r: log.append("second"))
    gomem.set_finalizer(ref, None)
    gomem.set_finalizer(ref, None)
    gomem.set_finalizer(ref, lambda r: log.append("second"))
    del ref
    manual.gc()
    manual.run_finalizers()
    assert log == ["second"]


def test_functions_are_let_go(manual: gomem.Heap) -> None:
    """Called, cleared, stopped, freed by hand, closed: none is kept."""

    class Function:
        def __call__(self, *args: Any) -> None:
            pass

    functions = [Function() for _ in range(6)]
    alive = [weakref.ref(f) for f in functions]
    refs = [manual.new(NODE) for _ in range(6)]
    for ref, f in zip(refs[:4], functions):
        gomem.set_finalizer(ref, f)
    stop = gomem.add_cleanup(refs[4], functions[4])
    gomem.add_cleanup(refs[5], int, functions[5])
    del f, ref
    functions.clear()
    refs[0] = refs[1]
    manual.gc()
    manual.run_finalizers()
    assert [f() is None for f in alive] == [True] + 5 * [False]
    gomem.set_finalizer(refs[1], None)
    manual.free(refs[2])
    stop.stop()
    manual.run_finalizers()
    assert [f() is None for f in alive] == [True, True, True, False, True, False]
    manual.close()
    assert all(f() is None for f in alive)


# --- Tiny objects, objects of size 0 ---


def test_tiny_objects_die_with_their_block(manual: gomem.Heap) -> None:
    """As Go documents it: the collector sees the block of 16 bytes."""
    log: list[int] = []
    refs = [manual.alloc(4) for _ in range(4)]
    assert len({r.address // 16 for r in refs}) == 1
    for i, ref in enumerate(refs):
        gomem.set_finalizer(ref, lambda r, i=i: log.append((i, r.address % 16, r.size)))
    keep = refs[3]
    refs.clear()
    del ref
    manual.gc()
    assert manual.run_finalizers() == 0
    del keep
    manual.gc()
    manual.verify()
    assert manual.run_finalizers() == 4
    assert log == [(i, 4 * i, 4) for i in range(4)]


def test_tiny_objects_are_freed_one_by_one(manual: gomem.Heap) -> None:
    log: list[int] = []
    refs = [manual.alloc(4) for _ in range(4)]
    weak = [gomem.Weak(r) for r in refs]
    assert len(set(weak)) == 4
    for i, ref in enumerate(refs):
        gomem.add_cleanup(ref, log.append, i)
    del ref
    manual.free(refs[1])
    assert [w.value() is None for w in weak] == [False, True, False, False]
    manual.verify()
    assert manual.run_finalizers() == 1 and log == [1]
    manual.flush()
    manual.verify()
    manual.free(refs[2])
    manual.free(refs[0])
    manual.free(refs[3])
    manual.verify()
    assert manual.run_finalizers() == 3 and log == [1, 2, 0, 3]
    assert all(w.value() is None for w in weak)


def test_objects_of_size_zero_never_die(manual: gomem.Heap) -> None:
    log: list[str] = []
    zero = manual.alloc(0)
    gomem.set_finalizer(zero, lambda r: log.append("finalizer"))
    gomem.set_finalizer(zero, lambda r: log.append("finalizer"))
    assert not gomem.add_cleanup(zero, log.append, "cleanup").stop()
    weak = gomem.Weak(zero)
    del zero
    manual.gc()
    manual.run_finalizers()
    assert log == [] and weak.value() == manual.alloc(0)


# --- Mistakes, and what is done in the middle of others ---


def test_one_that_raises(manual: gomem.Heap, unraisable: list[Any]) -> None:
    log: list[int] = []

    def bad(*args: Any) -> None:
        raise LookupError("mine")

    for i in range(3):
        gomem.set_finalizer(manual.new(NODE), bad)
        gomem.add_cleanup(manual.new(NODE), log.append, i)
        gomem.add_cleanup(manual.new(NODE), bad, i)
    gomem.add_cleanup(manual.new(NODE), log.append, 1, 2, 3)
    manual.gc()
    assert manual.run_finalizers() == 10
    assert log == [0, 1, 2]
    assert sum(isinstance(e, LookupError) and f is bad for e, f in unraisable) == 6
    assert sum(isinstance(e, TypeError) for e, _ in unraisable) == 1
    unraisable.clear()  # with its tracebacks, which hold Refs
    manual.gc()
    manual.verify()
    assert manual.stats().heap_objects == 0


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_one_that_ends_it(
    manual: gomem.Heap, unraisable: list[Any], kind: type[BaseException]
) -> None:
    """Ctrl-C, and the like, is for who called run_finalizers(); what is left stays in the queue."""
    log: list[int] = []

    def end() -> None:
        raise kind("mine")

    for fn, *args in ((log.append, 0), (end,), (log.append, 1), (log.append, 2)):
        gomem.add_cleanup(manual.new(NODE), fn, *args)
    manual.gc()
    with pytest.raises(kind, match="mine"):
        manual.run_finalizers()
    before, after = len(log), 3 - len(log)
    assert unraisable == [] and manual.run_finalizers() == after > 0
    assert sorted(log) == [0, 1, 2] and before + after == 3


def test_one_that_would_end_the_thread(heap: gomem.Heap, unraisable: list[Any]) -> None:
    log: list[int] = []

    def end() -> None:
        raise SystemExit

    gomem.add_cleanup(heap.new(NODE), end)
    heap.gc()
    wait_for(lambda: len(unraisable) == 1)
    gomem.add_cleanup(heap.new(NODE), log.append, 1)
    heap.gc()
    wait_for(lambda: log == [1])


def test_a_thread_survives_one_that_raises(heap: gomem.Heap, unraisable: list[Any]) -> None:
    log: list[int] = []
    gomem.add_cleanup(heap.new(NODE), int, "x")
    heap.gc()
    wait_for(lambda: len(unraisable) == 1)
    gomem.add_cleanup(heap.new(NODE), log.append, 1)
    heap.gc()
    wait_for(lambda: log == [1])


@pytest.mark.parametrize("thread", [True, False])
def test_a_collection_inside_a_finalizer(thread: bool) -> None:
    """gc() there is a whole cycle; run_finalizers() there does nothing."""
    log: list[Any] = []
    with gomem.Heap(procs=1, gogc="off", finalizer_thread=thread) as heap:

        def collect(r: gomem.Ref) -> None:
            before = heap.stats().num_gc
            a = heap.new(NODE)
            gomem.add_cleanup(a, log.append, "inner")
            del a
            heap.gc()
            assert heap.stats().num_gc == before + 1
            log.append(heap.run_finalizers())
            log.append("outer")

        gomem.set_finalizer(heap.new(NODE), collect)
        heap.gc()
        heap.run_finalizers()
        wait_for(lambda: len(log) == 3)
        assert log == [0, "outer", "inner"]
        heap.verify()


@pytest.mark.parametrize("thread", [True, False])
def test_closing_the_heap_inside_a_finalizer(thread: bool) -> None:
    log: list[str] = []
    heap = gomem.Heap(procs=1, gogc="off", finalizer_thread=thread)

    def close(r: gomem.Ref) -> None:
        heap.close()
        log.append(repr(r))

    for _ in range(5):
        gomem.set_finalizer(heap.new(NODE), close)
    with contextlib.suppress(gomem.HeapClosedError):
        heap.gc()
    if not thread:
        assert heap.run_finalizers() == 1
    wait_for(lambda: log == ["<gomem.Ref FinalNode, freed>"])
    with pytest.raises(gomem.HeapClosedError):
        heap.run_finalizers()


def test_closing_with_something_queued(manual: gomem.Heap) -> None:
    log: list[int] = []
    stop = gomem.add_cleanup(manual.new(NODE), log.append, 1)
    gomem.set_finalizer(manual.new(NODE), lambda r: log.append(2))
    ref = manual.new(NODE)
    gomem.set_finalizer(ref, lambda r: log.append(3))
    manual.gc()
    manual.close()
    assert log == [] and not stop.stop()
    for call in (lambda: gomem.set_finalizer(ref, print), lambda: gomem.add_cleanup(ref, print)):
        with pytest.raises(gomem.HeapClosedError):
            call()


def test_freeing_by_hand(manual: gomem.Heap) -> None:
    """Cleanups are called, as the object is dead; the finalizer has nothing to be called with."""
    log: list[str] = []
    for size in (1, 24, 3000, 100_000):
        ref = manual.alloc(size)
        gomem.set_finalizer(ref, lambda r: log.append("finalizer"))
        gomem.add_cleanup(ref, log.append, "cleanup")
        stopped = gomem.add_cleanup(ref, log.append, "stopped")
        assert stopped.stop()
        if size % 2:
            manual.free(ref)
        else:
            manual.free_many([ref.address])
        manual.verify()
        assert not stopped.stop()
        assert manual.run_finalizers() == 1 and log == ["cleanup"]
        log.clear()
        assert manual.alloc(size).address != 0
    manual.gc()
    assert manual.run_finalizers() == 0


def test_freed_while_others_own_the_span() -> None:
    """Another P's span, from another thread."""
    log: list[int] = []
    with gomem.Heap(procs=2, gogc="off", finalizer_thread=False) as heap:
        table = heap.alloc_many([48] * 500)
        for i in range(0, 500, 5):
            gomem.add_cleanup(table[i], log.append, i)

        def free_all() -> None:
            for i in range(500):
                heap.free(table[i])

        thread = threading.Thread(target=free_all)
        thread.start()
        thread.join()
        heap.verify()
        heap.run_finalizers()
        assert log == list(range(0, 500, 5))


def test_wrong_arguments(manual: gomem.Heap) -> None:
    wrong: Any
    freed = manual.new(NODE)
    manual.free(freed)
    for wrong in (5, "x", NODE, manual, gomem):
        with pytest.raises(TypeError, match="runtime.SetFinalizer"):
            gomem.set_finalizer(wrong, print)
        with pytest.raises(TypeError, match="runtime.AddCleanup"):
            gomem.add_cleanup(wrong, print)
    for call in (lambda: gomem.set_finalizer(freed, print), lambda: gomem.add_cleanup(freed, print),
                 lambda: gomem.set_finalizer(freed, None)):  # fmt: skip
        with pytest.raises(gomem.InvalidPointerError, match="the object was freed"):
            call()
    ref = manual.new(NODE)
    with pytest.raises(TypeError, match="cleanup is int, not a function"):
        gomem.add_cleanup(ref, wrong := 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        gomem.Heap(finalizer_thread=True, threads=1)  # type: ignore[call-arg]
    # Another heap's object, a freed one, and one of size 0 are good arguments.
    with gomem.Heap(procs=1) as other:
        gomem.add_cleanup(ref, print, other.new(NODE), freed, manual.alloc(0))
    gomem.keep_alive(ref)
    manual.run_finalizers()


def test_out_of_memory(manual: gomem.Heap) -> None:
    refs = [manual.new(NODE) for _ in range(10)]
    failed = 0
    with os_refuses(manual, 0):
        for _ in range(3000):
            try:
                gomem.add_cleanup(refs[0], int)
            except MemoryError:
                failed += 1
    assert 0 < failed < 3000
    manual.verify()
    refs.clear()
    manual.gc()
    assert manual.run_finalizers() == 3000 - failed


def test_memory_of_specials_is_other_sys(manual: gomem.Heap) -> None:
    ref = manual.new(NODE)
    before = manual.stats()
    for _ in range(20_000):
        gomem.add_cleanup(ref, int)
    after = manual.stats()
    assert 20_000 * 56 <= after.other_sys - before.other_sys <= 20_000 * 96
    del ref
    manual.gc()
    manual.run_finalizers()
    assert manual.stats().other_sys == after.other_sys
    ref = manual.new(NODE)
    for _ in range(20_000):
        gomem.add_cleanup(ref, int)
    assert manual.stats().other_sys == after.other_sys, "their memory is used again"


# --- Fork, and the end of the program ---


def test_fork_with_finalizers(heap: gomem.Heap) -> None:
    log: list[int] = []
    ref = heap.new(NODE)
    gomem.add_cleanup(ref, log.append, 1)
    gomem.add_cleanup(heap.new(NODE), log.append, 0)
    heap.gc()
    wait_for(lambda: log == [0])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            del ref
            gomem.add_cleanup(heap.new(NODE), log.append, 2)
            heap.gc()
            wait_for(lambda: sorted(log) == [0, 1, 2])
            heap.verify()
            heap.run_finalizers()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert log == [0]
    del ref
    heap.gc()
    wait_for(lambda: log == [0, 1])


def test_fork_inside_a_finalizer(heap: gomem.Heap) -> None:
    status: list[int] = []

    def fork(r: gomem.Ref) -> None:
        pid = os.fork()
        if pid == 0:
            log: list[int] = []
            ok = 1
            try:
                assert heap.run_finalizers() == 0
                gomem.add_cleanup(heap.new(NODE), log.append, 1)
                heap.gc()
                heap.verify()
                ok = 0
            finally:
                os._exit(ok)
        status.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    gomem.set_finalizer(heap.new(NODE), fork)
    heap.gc()
    wait_for(lambda: status == [0], 60)


@pytest.mark.parametrize("slow", [False, True])
def test_the_end_of_the_program(slow: bool) -> None:
    """Neither queued nor running finalizers keep it from ending; they need not run."""
    import subprocess
    from pathlib import Path

    program = f"""
import gomem, time
heap = gomem.Heap()
def called(r):
    if {slow}:
        time.sleep(1000)
for i in range(2000):
    gomem.set_finalizer(heap.alloc(100), called)
heap.gc()
heap.gc()
gomem.set_finalizer(heap.alloc(100), called)
print("end", flush=True)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(root)}, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
