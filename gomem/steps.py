"""One cycle of the collector, step by step: see :meth:`gomem.Heap.step_gc`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from gomem import _tables
from gomem.colors import PHASES, Colors

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np

    from gomem.heap import Heap

_KINDS = ("none", "object", "roots", "barrier", "span", "phase")


class Step(NamedTuple):
    """What one step of a cycle was."""

    kind: str
    """``object`` (a grey object was scanned, or 128 KiB of a large one), ``roots`` (up to 512 slots of
    a table of roots were: all Refs are in such tables), ``barrier`` (what the Ps' barriers held was made
    grey), ``span`` (a span was swept), ``phase`` (nothing was left to do: the next phase has begun)."""
    phase: str
    """The phase after it."""
    address: int | None
    """Of the object that was scanned."""
    bytes: int
    """Scanned, of the object or of slots."""


class Shade(NamedTuple):
    """What the write barrier was told of one pointer write."""

    slot: int
    """Address of the pointer: in an object, or in a table of roots."""
    old: int | None
    """The pointer that was overwritten; None: there was none, or the barrier does not look at it."""
    new: int | None
    """The pointer that was written."""
    greyed: tuple[int, ...]
    """Of these two, those that led to white objects."""


class StepCycle:
    """A cycle of the collector that moves only when it is told to.

    :meth:`step` advances it by one grey object, :meth:`next_phase` by a phase; iterating makes all
    steps. In between the heap can be used: while ``phase`` is ``"mark"`` or ``"mark termination"``,
    pointer writes go through the barrier and new objects are black. Leaving the ``with`` block,
    :meth:`finish`, or forgetting the object ends the cycle. Threads may share it: their steps take
    turns.
    """

    def __init__(self, heap: Heap, *, assists: bool = False) -> None:
        self._phase = PHASES[0]
        self._shades: list[Shade] = []
        self._lost = 0
        self.heap = heap
        self._id = heap._step_begin(assists)
        self._phase = PHASES[1]

    @property
    def phase(self) -> str:
        """``"sweep termination"``, ``"mark"``, ``"mark termination"``, ``"sweep"``, and ``"off"`` when
        the cycle is done."""
        return self._phase

    @property
    def done(self) -> bool:
        """Is the cycle done?"""
        return self._phase == PHASES[0]

    @property
    def grey(self) -> np.ndarray[Any, Any]:
        """Addresses of the grey objects, as they are now."""
        return self.heap.colors().grey

    @property
    def shades(self) -> tuple[Shade, ...]:
        """What the barrier was told since the last step (the first 4096 writes of it)."""
        if not self.done:
            self._take_shades()
        return tuple(self._shades)

    @property
    def shades_lost(self) -> int:
        """How many more there were."""
        if not self.done:
            self._take_shades()
        return self._lost

    def _take_shades(self) -> None:
        raw, lost = self.heap._step_shades()
        for slot, old, new, old_shaded, new_shaded in _tables.records(raw, _tables.SHADE).tolist():
            greyed = {old: None} if old_shaded else {}
            if new_shaded:
                greyed[new] = None
            self._shades.append(Shade(slot, old or None, new or None, tuple(greyed)))
        self._lost += lost

    def _forget_shades(self) -> None:
        self._take_shades()
        self._shades.clear()
        self._lost = 0

    def step(self) -> Step | None:
        """Does one thing of the cycle, and says what; None if the cycle is done.

        While marking: scans the grey object that comes next; if there is none, some roots; else what the
        barriers hold becomes grey. When there is nothing left of a phase the step is the way into the
        next one. Raises HeapClosedError.
        """
        if self.done:
            return None
        self._forget_shades()
        kind, phase, address, scanned = self.heap._step(self._id)
        self._phase = PHASES[phase]
        if _KINDS[kind] == "none":
            return None
        return Step(_KINDS[kind], self._phase, address or None, scanned)

    def next_phase(self) -> str:
        """Does all that is left of the phase; returns the phase that follows.

        After ``"mark termination"`` that is ``"mark"`` once more if the barrier has greyed
        something since. Raises HeapClosedError.
        """
        if not self.done:
            self._forget_shades()
            self._phase = PHASES[self.heap._step_phase(self._id)]
        return self._phase

    def finish(self) -> None:
        """Does all that is left of the cycle. Harmless if it is done or the heap is closed."""
        while not self.done and not self.heap.closed:
            self.next_phase()
        self._phase = PHASES[0]

    def __iter__(self) -> Iterator[Step]:
        while (step := self.step()) is not None:
            yield step

    def __enter__(self) -> StepCycle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.finish()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.finish()

    def __repr__(self) -> str:
        return f"<gomem.StepCycle: {'done' if self.done else self.phase}>"

    def _repr_html_(self) -> str:
        if self.done or self.heap.closed:
            return escape(repr(self))
        from gomem.viz import table_html

        parts = [Colors(self.heap).svg]
        if self.shades:
            rows = [
                (hex(s.slot), hex(s.old or 0), hex(s.new or 0), " ".join(map(hex, s.greyed)))
                for s in self.shades[:20]
            ]
            more = f", the first 20 of {len(self.shades):,}" if len(self.shades) > 20 else ""
            caption = f"the barrier since the last step{more}"
            parts.append(table_html(("slot", "old", "new", "greyed"), rows, caption))
        return "".join(parts)
