"""Values move from object to object while a cycle is stepped: the barrier sees every pointer of them.

Each move is made after every number of marking steps, so that for one of them its source is not scanned
yet and its destination is. Without the barrier what moved then would be freed, and used.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

import gomem

N = 6
MOST_STEPS = 60


def texts(heap: gomem.Heap, n: int = N) -> gomem.Slice:
    return heap.slice("string", [f"text number {i} " * 3 for i in range(n)])


def copied(heap: gomem.Heap) -> tuple[Any, Callable[[Any], Any]]:
    to, source = heap.make_slice("string", N), texts(heap)

    def move(c: Any) -> Any:
        c[0].copy(c[1])
        c[1].clear()
        return c[0]

    return (to, source), move


def copied_back(heap: gomem.Heap) -> tuple[Any, Callable[[Any], Any]]:
    (to, source), move = copied(heap)
    return (source, to), lambda c: move((c[1], c[0]))


def grown(heap: gomem.Heap) -> tuple[Any, Callable[[Any], Any]]:
    def move(c: Any) -> Any:
        s = c[0]
        old = s[:]
        s.append(*["more"] * 20)
        old.clear()
        return s[:N]

    return (texts(heap),), move


def extended(heap: gomem.Heap) -> tuple[Any, Callable[[Any], Any]]:
    def move(c: Any) -> Any:
        c[0].extend(c[1])
        c[1].clear()
        return c[0]

    return (heap.make_slice("string", 0, N), texts(heap)), move


def into_a_map(heap: gomem.Heap) -> tuple[Any, Callable[[Any], Any]]:
    def move(c: Any) -> Any:
        c[0].set_many(c[1], c[2])
        c[1].clear()
        c[2].clear()
        return [c[0][f"text number {i} " * 3] for i in range(N)]

    return (heap.make_map("string", "string"), texts(heap), texts(heap)), move


def in_a_map_that_grows(heap: gomem.Heap) -> tuple[Any, Callable[[Any], Any]]:
    m = heap.make_map("int", "string")
    for i in range(N):
        m[i] = f"text number {i} " * 3

    def move(c: Any) -> Any:
        for i in range(N, 40):
            c[0].set_many(c[1][i : i + 1])
        return [c[0][i] for i in range(N)]

    return (m, heap.slice("int", range(40))), move


def of_a_map_with_objects(heap: gomem.Heap) -> tuple[Any, Callable[[Any], Any]]:
    big = gomem.struct("Big", text="string", more="[20]int")
    m = heap.make_map("int", big)
    for i in range(N):
        m[i] = {"text": f"text number {i} " * 3}

    def move(c: Any) -> Any:
        for i in range(N, 40):
            c[0].set_many(c[1][i : i + 1])
        return [c[0][i]["text"] for i in range(N)]

    return (m, heap.slice("int", range(40))), move


def through_a_pool(heap: gomem.Heap) -> tuple[Any, Callable[[Any], Any]]:
    pool = gomem.Pool(heap=heap)

    def move(c: Any) -> Any:
        for i in range(N):
            c[0].put(c[1][i])
        c[1].clear()
        return sorted((c[0].get() for _ in range(N)), key=str)

    return (pool, texts(heap)), move


def in_a_buffer(heap: gomem.Heap) -> tuple[Any, Callable[[Any], Any]]:
    b, sb = heap.buffer(), heap.builder()
    b.write("text " * 12)
    sb.write("text " * 12)

    def move(c: Any) -> Any:
        c[0].write("text " * 30)
        c[1].write("text " * 30)
        return [c[0].string(), c[1].string()]

    return (b, sb), move


SCENARIOS = [copied, copied_back, grown, extended, into_a_map, in_a_map_that_grows,
             of_a_map_with_objects, through_a_pool, in_a_buffer]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
@pytest.mark.parametrize("barrier", ["hybrid", "dijkstra"])
def test_moves_at_every_step(scenario: Any, barrier: str) -> None:
    for steps in range(MOST_STEPS):
        with gomem.Heap(procs=1, gogc="off", barrier=barrier) as heap:
            containers, move = scenario(heap)
            expected = [f"text number {i} " * 3 for i in range(N)]
            if scenario is in_a_buffer:
                expected = ["text " * 42] * 2
            gc.collect()
            with heap.step_gc() as cycle:
                cycle.next_phase()
                while steps > 0 and cycle.phase == "mark":
                    cycle.step()
                    steps -= 1
                marking = cycle.phase == "mark"
                result = move(containers)
            heap.verify()
            # What is freed is used again at once.
            waste = [heap.string("wasted " * 6) for _ in range(100)]
            assert list(result) == expected
            heap.verify()
            del waste, containers, result, move
            if not marking:
                break
    assert not marking, "more steps are needed"
