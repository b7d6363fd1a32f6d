"""Replaying what a Go program did with its memory on a heap of one's own::

    trace = gomem.gotrace.read("json.trace")
    with gomem.Heap(procs=trace.procs) as heap:
        replay = heap.replay(trace)
        replay.samples["heap_inuse"].max()      # beside: replay.samples["go_heap_inuse"]

:class:`Replay` can stop at any event, for a look at the heap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gomem import _core
from gomem.gotrace import EVENT, Trace
from gomem.sizeclasses import counted

if TYPE_CHECKING:
    from gomem.heap import Heap

__all__ = ["SAMPLE", "Replay"]

SAMPLE = np.dtype(
    [("time", "i8")]
    + [
        (name, "u8")
        for name in (
            "position", "allocs", "frees", "alloc_bytes", "objects", "live_bytes", "stacks",
            "stack_bytes", "heap_inuse", "stacks_inuse", "heap_free", "mapped_ready",
            "go_objects", "go_live_bytes", "go_heap_inuse", "go_other_inuse", "go_heap_alloc",
            "go_heap_goal",
        )
    ]
)  # fmt: skip
"""The record of a sample: the heap at some moment of the trace; bytes unless said otherwise.

``time`` (ns, of the last event), ``position`` (events replayed), ``allocs`` and ``frees`` (objects,
ever), ``alloc_bytes`` (asked for, ever), ``objects`` and ``live_bytes`` (alive, as asked for),
``stacks`` and ``stack_bytes``, ``heap_inuse`` and ``stacks_inuse`` (of spans), ``heap_free`` (of pages
in no span and not given back), ``mapped_ready`` (all memory, the heap's own structures included).
Then what Go had at that moment, as far as the trace tells: ``go_objects`` and ``go_live_bytes`` (by
slots, tiny objects by blocks), ``go_heap_inuse`` and ``go_other_inuse`` (bytes of spans with objects,
and without), ``go_heap_alloc`` and ``go_heap_goal`` (Go's own metrics, when they last changed).
"""


class Replay(_core.Replay):
    """A trace running on a heap; :meth:`gomem.Heap.replay` makes and runs one.

    Objects are allocated and freed as the trace says, on the P of the same number (modulo the heap's
    ``procs``), with the sizes they had and zeroed; so are goroutine stacks. Where one of Go's
    collections ends, the caches of all Ps are emptied, as they are in Go. ``run`` can stop anywhere, to
    look at the heap, and go on. What is alive at the end stays until ``free()`` or the heap's
    ``close()``. If somebody else frees an object of the replay, or takes a Ref of it
    (``heap.lookup(address).ref``), it is the replay's no longer.

    events: a :class:`gomem.gotrace.Trace`, or an array of :data:`gomem.gotrace.EVENT` records, which
        is copied; links are indices into it. Raises TypeError for anything else.
    """

    def __new__(cls, heap: Heap, events: Any) -> Replay:
        if not isinstance(events, Trace):
            if not isinstance(events, np.ndarray) or events.dtype != EVENT or events.ndim != 1:
                raise TypeError(
                    "events must be a gomem.gotrace.Trace or a one-dimensional array of "
                    f"gomem.gotrace.EVENT records, not {_describe(events)}"
                )
            if len(events) >= 2**32 - 1:
                raise ValueError(f"at most 2**32 - 2 events can be replayed, not {len(events)}")
            return super().__new__(cls, heap, np.ascontiguousarray(events).view(np.uint8))
        return super().__new__(cls, heap, events)

    def __init__(self, heap: Heap, events: Any) -> None:
        self.total: int = len(events.events if isinstance(events, Trace) else events)
        """Number of events."""
        self._samples: list[np.ndarray[Any, Any]] = []

    @property
    def samples(self) -> np.ndarray[Any, Any]:
        """The samples taken so far, as a structured array (:data:`SAMPLE`)."""
        if not self._samples:
            return np.zeros(0, dtype=SAMPLE)
        return np.concatenate(self._samples)

    @property
    def position(self) -> int:
        """Events replayed so far."""
        return int(self.sample()["position"])

    def sample(self) -> Any:
        """The state of the heap and of the replay now, as one :data:`SAMPLE` record."""
        return np.frombuffer(self._sample(), dtype=SAMPLE)[0]

    def run(
        self,
        until: int | None = None,
        *,
        samples: int = 1000,
        progress: Callable[[int, int], object] | None = None,
    ) -> Replay:
        """Replays events up to number ``until`` (all, by default), with the GIL released.

        samples: how many samples to take on the way, evenly over the events.
        progress: called with (events done, all events) after each.

        Raises MemoryError, HeapClosedError, or ValueError if an event is not as it must be; the replay
        then stands before that event.
        """
        if not isinstance(samples, int) or samples < 1:
            raise ValueError(f"samples must be a positive integer, not {samples!r}")
        end = self.total if until is None else min(until, self.total)
        start = self.position
        for i in range(1, samples + 1):
            goal = start + (end - start) * i // samples
            if i < samples and goal == start + (end - start) * (i - 1) // samples:
                continue
            self._run(goal)
            self._samples.append(np.frombuffer(self._sample(), dtype=SAMPLE))
            if progress is not None:
                progress(goal, self.total)
        return self

    def objects(self) -> np.ndarray[Any, Any]:
        """What is alive of the replay: a structured array of ``address`` (in the heap) and ``event``
        (index of the event that announced the object)."""
        addresses, events = self._objects()
        out = np.zeros(len(addresses) // 8, dtype=[("address", "u8"), ("event", "u4")])
        out["address"] = np.frombuffer(addresses, dtype=np.uint64)
        out["event"] = np.frombuffer(events, dtype=np.uint32)
        return out

    def __repr__(self) -> str:
        if self.heap.closed:
            return f"<gomem.Replay of {self.total} events, heap closed>"
        s = self.sample()
        return (
            f"<gomem.Replay: {s['position']} of {self.total} events, "
            f"{counted(s['objects'], 'object')} alive, {s['live_bytes']} bytes>"
        )


def _describe(events: Any) -> str:
    if isinstance(events, np.ndarray):
        return f"an array of {events.ndim} dimensions and dtype {events.dtype}"
    return type(events).__name__
