"""Times heap calls from Python: ``python_loops.py WHAT`` prints ns an object, a line each time.

In CPU time. Run by bench_alloc.py in a process of its own, with the package built for release.
"""

from __future__ import annotations

import sys
from itertools import repeat
from time import thread_time

import gomem
from gomem import gotrace

LOOP = 100_000
MILLION = 1_000_000
SIZE = 16
REPETITIONS = 7


def alloc() -> float:
    with gomem.Heap() as heap:
        heap.free_many(heap.alloc_many(SIZE, count=LOOP))  # its pages are there, as in C's loops
        allocate = heap.alloc
        start = thread_time()
        for _ in repeat(None, LOOP):
            allocate(SIZE)
        return (thread_time() - start) / LOOP


def alloc_free() -> float:
    with gomem.Heap() as heap:
        allocate, free = heap.alloc, heap.free
        start = thread_time()
        for _ in repeat(None, LOOP):
            free(allocate(SIZE))
        return (thread_time() - start) / LOOP


def many_fresh() -> float:
    with gomem.Heap() as heap:
        start = thread_time()
        roots = heap.alloc_many(SIZE, count=MILLION)
        took = thread_time() - start
        assert len(roots) == MILLION
        return took / MILLION


def _many_warm() -> tuple[float, float]:
    with gomem.Heap() as heap:
        heap.free_many(heap.alloc_many(SIZE, count=MILLION))
        start = thread_time()
        roots = heap.alloc_many(SIZE, count=MILLION)
        middle = thread_time()
        heap.free_many(roots)
        return (middle - start) / MILLION, (thread_time() - middle) / MILLION


def many_warm() -> float:
    return _many_warm()[0]


def free_many() -> float:
    return _many_warm()[1]


LOOPS = {f.__name__: f for f in (alloc, alloc_free, many_fresh, many_warm, free_many)}


def replay_peak(path: str) -> float:
    """The most memory the heap of a replay has mapped and not released, its own structures apart, as
    for Go: MiB."""
    trace = gotrace.read(path)
    with gomem.Heap(procs=trace.procs, gogc="off") as heap:
        s = heap.replay(trace).samples
        return float((s["heap_inuse"] + s["stacks_inuse"] + s["heap_free"]).max()) / 2**20


def go_peak(path: str) -> float:
    """What the recorded program had mapped and, as far as a trace tells, not released: MiB."""
    return gotrace.read(path).bytes_ever_used() / 2**20


def main(name: str, *arguments: str) -> None:
    if name in ("replay_peak", "go_peak"):
        print(f"{globals()[name](*arguments):.4g}")
        return
    loop = LOOPS[name]
    loop()
    for _ in range(REPETITIONS):
        print(f"{1e9 * loop():.4g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
