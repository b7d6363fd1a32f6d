"""Times heap calls from Python: ``python python_loops.py WHAT`` prints ns an object, a line a repetition.

Run by bench_alloc.py in a process of its own, with the package built for release.
"""

from __future__ import annotations

import sys
from itertools import repeat
from time import perf_counter

import gomem

LOOP = 100_000
MILLION = 1_000_000
SIZE = 16
REPETITIONS = 7


def alloc() -> float:
    with gomem.Heap() as heap:
        heap.free_many(heap.alloc_many(SIZE, count=LOOP))  # its pages are there, as in C's loops
        allocate = heap.alloc
        start = perf_counter()
        for _ in repeat(None, LOOP):
            allocate(SIZE)
        return (perf_counter() - start) / LOOP


def alloc_free() -> float:
    with gomem.Heap() as heap:
        allocate, free = heap.alloc, heap.free
        start = perf_counter()
        for _ in repeat(None, LOOP):
            free(allocate(SIZE))
        return (perf_counter() - start) / LOOP


def many_fresh() -> float:
    with gomem.Heap() as heap:
        start = perf_counter()
        roots = heap.alloc_many(SIZE, count=MILLION)
        took = perf_counter() - start
        assert len(roots) == MILLION
        return took / MILLION


def _many_warm() -> tuple[float, float]:
    with gomem.Heap() as heap:
        heap.free_many(heap.alloc_many(SIZE, count=MILLION))
        start = perf_counter()
        roots = heap.alloc_many(SIZE, count=MILLION)
        middle = perf_counter()
        heap.free_many(roots)
        return (middle - start) / MILLION, (perf_counter() - middle) / MILLION


def many_warm() -> float:
    return _many_warm()[0]


def free_many() -> float:
    return _many_warm()[1]


LOOPS = {f.__name__: f for f in (alloc, alloc_free, many_fresh, many_warm, free_many)}

if __name__ == "__main__":
    loop = LOOPS[sys.argv[1]]
    loop()
    for _ in range(REPETITIONS):
        print(f"{1e9 * loop():.4g}")
