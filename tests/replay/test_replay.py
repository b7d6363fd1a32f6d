"""Replaying events on a heap: made-up ones, wrong ones, and the trace that ships with gomem."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gomem
from gomem.gotrace import EVENT, EXAMPLE, KINDS, NO_LINK, Trace, read
from gomem.replay import SAMPLE, Replay
from gomem.testing import in_threads, os_refuses


def event(kind: str, **fields: Any) -> np.ndarray[Any, Any]:
    out = np.zeros(1, dtype=EVENT)
    out["kind"] = KINDS.index(kind)
    out["link"] = NO_LINK
    out["noscan"] = True
    for name, value in fields.items():
        out[name] = value
    return out


def events(*rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    out = np.concatenate(rows)
    out["time"] = np.arange(len(out))
    return out


@pytest.fixture(scope="module")
def trace() -> Trace:
    return read(EXAMPLE)


def test_objects_come_and_go(heap: gomem.Heap) -> None:
    program = events(
        event("OBJECT_ALLOC", size=64),
        event("OBJECT_ALLOC", size=100_000, noscan=False),
        event("OBJECT_FREE", link=0, size=64),
        event("OBJECT_ALLOC", size=1024, noscan=False),
    )
    replay = heap.replay(program)
    assert replay.position == 4
    last = replay.samples[-1]
    assert (last["allocs"], last["frees"], last["objects"]) == (3, 1, 2)
    # 1024 bytes with a malloc header are a request of 1016.
    assert last["live_bytes"] == 100_000 + 1016
    assert heap.stats().heap_objects == 2
    objects = replay.objects()
    assert objects["event"].tolist() == [1, 3]
    found = heap.lookup(int(objects["address"][0]))
    assert (found.kind, found.size_class, found.noscan) == ("object", 0, False)
    replay.free()
    assert heap.stats().heap_objects == 0


def test_a_tiny_block_is_freed_as_a_whole(heap: gomem.Heap) -> None:
    program = events(
        event("OBJECT_ALLOC", size=5, next_part=1),
        event("OBJECT_ALLOC", size=3, next_part=2),
        event("OBJECT_ALLOC", size=8),
        event("OBJECT_FREE", link=0, size=16),
    )
    replay = heap.replay(program, until=3)
    sample = replay.sample()
    assert (sample["objects"], sample["live_bytes"]) == (3, 16)
    assert (sample["go_objects"], sample["go_live_bytes"]) == (1, 16)
    replay.run()
    sample = replay.sample()
    assert (sample["objects"], sample["go_objects"], sample["go_live_bytes"]) == (0, 0, 0)


def test_stacks_and_spans(heap: gomem.Heap) -> None:
    program = events(
        event("SPAN_ALLOC", size=8192, type=5),
        event("SPAN_ALLOC", size=32768, type=255),
        event("STACK_ALLOC", size=65536),
        event("STACK_ALLOC", size=2048),
        event("STACK_FREE", link=2),
        event("SPAN_FREE", link=0, size=8192, type=5),
    )
    replay = heap.replay(program, until=4)
    s = replay.sample()
    assert (s["stacks"], s["stack_bytes"]) == (2, 65536 + 2048)
    assert (s["go_heap_inuse"], s["go_other_inuse"]) == (8192, 32768)
    assert s["stacks_inuse"] >= 65536 + 2048
    replay.run()
    s = replay.sample()
    assert (s["stacks"], s["go_heap_inuse"]) == (1, 0)
    replay.free()
    assert replay.sample()["stacks"] == 0


def test_the_shipped_trace_ends_with_what_go_had(trace: Trace) -> None:
    with gomem.Heap(procs=trace.procs) as heap:
        seen: list[int] = []
        replay = heap.replay(trace, samples=50, progress=lambda done, total: seen.append(done))
        assert seen == sorted(seen)
        assert seen[-1] == len(trace.events) == replay.position
        assert len(replay.samples) == 50
        assert replay.samples.dtype == SAMPLE
        last = replay.samples[-1]
        assert last["go_objects"] == trace.facts["final_live_objects"]
        assert last["go_live_bytes"] == trace.facts["final_live_bytes"]
        assert last["go_heap_inuse"] == trace.facts["final_heap_bytes"]
        # The same objects, in slots of the same size.
        heap.flush()
        stats = heap.stats()
        assert stats.heap_objects == pytest.approx(int(last["go_objects"]), rel=0.005)
        assert stats.heap_alloc == pytest.approx(int(last["go_live_bytes"]), rel=0.005)
        heap.verify()
        replay.free()
        heap.flush()
        assert heap.stats().heap_objects == 0


def test_other_heaps_take_the_same_trace(trace: Trace) -> None:
    classes = gomem.SizeClasses(gomem.SizeClassRules.tcmalloc())
    with gomem.Heap(procs=1, size_classes=classes, memory_limit="8MiB") as heap:
        replay = heap.replay(trace, samples=3)
        heap.verify()
        replay.free()
        heap.flush()
        assert heap.stats().heap_objects == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((event("OBJECT_FREE", link=5),), "event 0 frees what event 5 announced"),
        ((event("STACK_ALLOC", size=3000),), "event 0, a stack of 3000 bytes"),
        ((event("STACK_ALLOC", size=2**40),), "event 0, a stack of"),
        (
            (event("STACK_ALLOC", size=2048), event("OBJECT_FREE", link=0)),
            "event 1 frees an object, but links to event 0",
        ),
        (
            (event("OBJECT_ALLOC", size=2048), event("STACK_FREE", link=0)),
            "event 1 frees a stack, but links to event 0",
        ),
    ],
)
def test_events_that_make_no_sense(
    heap: gomem.Heap, rows: tuple[np.ndarray[Any, Any], ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        heap.replay(events(*rows))
    assert heap.stats().heap_objects == 0


def test_unknown_kinds(heap: gomem.Heap) -> None:
    program = events(event("PROCS"))
    program["kind"] = 200
    with pytest.raises(ValueError, match="event 0 is of kind 200, of which there are 25"):
        heap.replay(program)


@pytest.mark.parametrize("what", [None, [], b"x" * 40, np.zeros(3), np.zeros((2, 2), dtype=EVENT)])
def test_what_is_no_array_of_events(heap: gomem.Heap, what: object) -> None:
    with pytest.raises(TypeError, match=r"events must be a gomem.gotrace.Trace or"):
        heap.replay(what)


def test_wrong_arguments(heap: gomem.Heap) -> None:
    program = events(event("OBJECT_ALLOC", size=64))
    for samples in (0, -1, 1.5, "3"):
        with pytest.raises(ValueError, match="samples must be a positive integer"):
            heap.replay(program, samples=samples)  # type: ignore[arg-type]
    assert heap.replay(program, until=-5).position == 0
    assert heap.replay(program[:0]).position == 0


def test_a_heap_that_is_full_gives_everything_back() -> None:
    program = events(*[event("OBJECT_ALLOC", size=100_000) for _ in range(200)])
    with gomem.Heap(procs=1, max_memory="8MiB") as heap:
        with pytest.raises(MemoryError, match=r"event \d+, an object of 100000 bytes"):
            heap.replay(program)
        assert heap.stats().heap_objects == 0
        heap.verify()


def test_any_refused_call_to_the_system(trace: Trace) -> None:
    """Each call to the OS in turn is refused: the replay fails as a whole, or does without."""
    program = trace.events[: trace.peak // 4]
    first = 0
    while True:
        with gomem.Heap(procs=2) as heap:
            with os_refuses(heap, first, 1):
                try:
                    replay = heap.replay(program, samples=1)
                except MemoryError:
                    replay = None
                made = heap._fail_os_calls(0, 0)
            if replay is not None:
                replay.free()
            heap.flush()
            heap.verify()
            assert heap.stats().heap_objects == 0
        if made <= first:
            break
        first += 1
    assert first > 10


def test_a_closed_heap(trace: Trace) -> None:
    heap = gomem.Heap()
    replay = heap.replay(trace, until=1000, samples=1)
    heap.close()
    calls: list[Callable[[], object]] = [
        replay.run,
        replay.free,
        replay.sample,
        replay.objects,
        lambda: Replay(heap, trace),
    ]
    for call in calls:
        with pytest.raises(gomem.HeapClosedError):
            call()
    assert "closed" in repr(replay)


def test_closing_while_it_runs(trace: Trace) -> None:
    heap = gomem.Heap(procs=2)
    started = threading.Event()

    def run() -> None:
        with pytest.raises(gomem.HeapClosedError):
            while True:
                Replay(heap, trace).run(samples=20, progress=lambda *_: started.set())

    def close() -> None:
        assert started.wait(30)
        heap.close()

    in_threads(run, close)


def test_objects_that_others_take(heap: gomem.Heap) -> None:
    """A Ref keeps an object of a replay; a free by address takes it away."""
    rows = [event("OBJECT_ALLOC", size=48) for _ in range(4)]
    rows += [event("OBJECT_FREE", link=i, size=48) for i in range(4)]
    replay = heap.replay(events(*rows), until=4)
    addresses = replay.objects()["address"].tolist()
    ref = heap.lookup(addresses[0]).ref
    assert ref is not None
    ref.view()[:3] = b"abc"
    heap.free(addresses[1])
    heap.free_many([addresses[2]])
    replay.run()
    assert not ref.freed
    assert bytes(ref.view()[:3]) == b"abc"
    assert replay.sample()["frees"] == 1
    assert heap.stats().heap_objects == 1
    heap.free(ref)


def test_threads_work_beside_a_replay(trace: Trace) -> None:
    with gomem.Heap(procs=2) as heap:
        stop = threading.Event()
        replay = Replay(heap, trace)

        def work() -> None:
            while not stop.is_set():
                refs = [heap.alloc(size) for size in range(1, 400, 7)]
                roots = heap.alloc_many([24] * 500)
                for ref in refs:
                    heap.free(ref)
                heap.free_many(roots)

        def run() -> None:
            try:
                replay.run(samples=30)
            finally:
                stop.set()

        in_threads(work, work, run)
        heap.verify()
        replay.free()
        heap.flush()
        assert heap.stats().heap_objects == 0


_numbers = st.integers(0, 2**64 - 1) | st.integers(0, 40)


@st.composite
def garbage(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    n = draw(st.integers(1, 25))
    out = np.zeros(n, dtype=EVENT)
    out["kind"] = draw(st.lists(st.integers(0, 26), min_size=n, max_size=n))
    out["size"] = draw(
        st.lists(st.sampled_from([0, 1, 8, 16, 512, 520, 2048, 4096, 40_000, 2**21]) | _numbers,
                 min_size=n, max_size=n)
    )  # fmt: skip
    for name in ("link", "next_part", "type"):
        values = st.integers(0, n) | st.sampled_from([NO_LINK, 255, 2**31])
        out[name] = draw(st.lists(values, min_size=n, max_size=n))
    out["proc"] = draw(st.lists(st.integers(-2, 5), min_size=n, max_size=n))
    out["noscan"] = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return out


@settings(max_examples=300)
@given(program=garbage())
def test_garbage_harms_nobody(program: np.ndarray[Any, Any]) -> None:
    with gomem.Heap(procs=2, max_memory="64MiB", gogc="off") as heap:
        try:
            replay = heap.replay(program, samples=3)
        except (ValueError, MemoryError):
            pass
        else:
            replay.free()
        heap.verify()
        heap.flush()
        assert heap.stats().heap_objects == 0
        assert heap.stats().heap_inuse == 0
