"""The colours of a heap's objects at one moment: see :meth:`gomem.Heap.colors`."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gomem import _tables
from gomem._core import InvalidPointerError, Ref
from gomem.sizeclasses import integer

if TYPE_CHECKING:
    from gomem.heap import Heap

NAMES = ("white", "grey", "black", "garbage")
WHITE, GREY, BLACK, GARBAGE = range(4)

PHASES = ("off", "sweep termination", "mark", "mark termination", "sweep")
"""By the number that the core has for a phase."""

MOST_DRAWN = 300
"""Up to so many objects a picture shows each of them."""

SYMBOLS = ("○", "◐", "●", "✕")


class Colors(Mapping[int, str]):
    """What is white, grey, black or garbage, by address: a mapping, a table and a picture.

    ``colors[ref]`` or ``colors[address]`` is ``"white"``, ``"grey"``, ``"black"`` or ``"garbage"``; any
    address inside an object will do, KeyError says that there is none, TypeError that it is no address,
    InvalidPointerError that the Ref is another heap's or was freed. Objects below 16 bytes without
    pointers have the colour of the block that they share.

    white: not marked. While marking goes on, nothing has led there yet; between cycles all objects are.
    grey: marked, or in the buffer of a P's barrier, and to be scanned.
    black: marked, and scanned or without pointers; what is allocated while marking goes on; after
    it, what lives in spans that are not swept yet.
    garbage: not reached by the marking that has ended, and not swept yet.

    ``array`` is a structured array by address: address, size (bytes of the slot that its user may use),
    size_class (0: large), color (0 to 3, in the order above), noscan, shaded (in a barrier's buffer).
    ``pointers`` has source (an object, 0: a root), slot (the address of the pointer) and target (an
    object), or is None when there were more objects than pictures show (300). ``phase`` is the
    collector's: ``"off"``, ``"sweep termination"``, ``"mark"``, ``"mark termination"`` or ``"sweep"``.

    In a notebook it is a picture of the graph, or of counts by size class if the heap is large;
    ``print`` shows the same as text.
    """

    def __init__(self, heap: Heap) -> None:
        phase, objects, pointers = heap._graph(MOST_DRAWN)
        self._heap = weakref.ref(heap)
        self.phase = PHASES[phase]
        array = _tables.records(objects, _tables.OBJECT)
        self.array: np.ndarray[Any, Any] = array[np.argsort(array["address"], kind="stable")]
        self.pointers: np.ndarray[Any, Any] | None = None
        if pointers is not None:
            self.pointers = _tables.records(pointers, _tables.POINTER)

    def _index(self, key: object) -> int | None:
        if isinstance(key, Ref) and key.heap is not self._heap():
            return None
        address = key.address if isinstance(key, Ref) else key
        if isinstance(address, bool) or not isinstance(address, (int, np.integer)):
            return None
        if not 0 <= address < 2**64 or len(self.array) == 0:
            return None
        at = int(np.searchsorted(self.array["address"], np.uint64(address), side="right")) - 1
        if at < 0 or int(address) >= int(self.array["address"][at]) + int(self.array["size"][at]):
            return None
        return at

    def __getitem__(self, key: int | Ref) -> str:
        if isinstance(key, Ref):
            if key.heap is not self._heap():
                raise InvalidPointerError("the Ref belongs to another heap")
        else:
            integer(key, "a key", "an address or a Ref")
        at = self._index(key)
        if at is None:
            large = isinstance(key, int) and not -(2**64) < key < 2**64
            raise KeyError("an address beyond 2^64" if large else key)
        return NAMES[int(self.array["color"][at])]

    def __contains__(self, key: object) -> bool:
        return self._index(key) is not None

    def __iter__(self) -> Iterator[int]:
        return iter(self.array["address"].tolist())

    def __len__(self) -> int:
        return len(self.array)

    def _of(self, color: int) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = self.array["address"][self.array["color"] == color]
        return found

    @property
    def white(self) -> np.ndarray[Any, Any]:
        """Addresses of the white objects."""
        return self._of(WHITE)

    @property
    def grey(self) -> np.ndarray[Any, Any]:
        """Addresses of the grey objects."""
        return self._of(GREY)

    @property
    def black(self) -> np.ndarray[Any, Any]:
        """Addresses of the black objects."""
        return self._of(BLACK)

    @property
    def garbage(self) -> np.ndarray[Any, Any]:
        """Addresses of objects that wait to be swept."""
        return self._of(GARBAGE)

    @property
    def counts(self) -> dict[str, int]:
        """How many objects have each colour."""
        counted = np.bincount(self.array["color"], minlength=len(NAMES))
        return {name: int(n) for name, n in zip(NAMES, counted)}

    @property
    def svg(self) -> str:
        """The picture as text."""
        from gomem import _graph

        return _graph.graph_svg(self) if self.pointers is not None else _graph.summary_svg(self)

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in self.counts.items() if n)
        return f"<gomem.Colors: {counts or 'no objects'}; phase {self.phase}>"

    def __str__(self) -> str:
        from gomem import _graph

        return _graph.graph_text(self)
