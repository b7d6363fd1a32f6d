"""A span, as people look at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gomem.sizeclasses import counted


@dataclass(frozen=True)
class Span:
    """A run of pages cut into slots of one size, at one moment (Go: ``mspan``).

    Made by :meth:`gomem.Heap.span` and ``ref.span``; :meth:`gomem.Heap.spans` is the table of all.
    """

    base: int
    """Address of its first byte."""
    npages: int
    size: int
    """Bytes of its pages."""
    kind: str
    """``"objects"`` or ``"stacks"`` (of goroutines)."""
    size_class: int
    """0: one large object, or stacks."""
    noscan: bool
    """Its objects hold no pointers."""
    elem_size: int
    """Bytes of a slot."""
    nelems: int
    """Number of slots."""
    live: int
    """Slots that hold an object (or a stack)."""
    proc: int | None
    """P that owns it and allocates from it; None: nobody does."""
    needzero: bool
    """Its memory was used before, so that new objects must be zeroed."""
    slots: bytes
    """One byte a slot: 0 free, 1 an object, 2 free and in its P's window, to be given out next. Empty
    for stacks."""

    @property
    def large(self) -> bool:
        """Is it one large object?"""
        return self.kind == "objects" and self.size_class == 0

    @classmethod
    def _from_record(cls, record: Any, slots: bytes, page_size: int) -> Span:
        return cls(
            base=int(record["base"]),
            npages=int(record["npages"]),
            size=int(record["npages"]) * page_size,
            kind="objects" if record["state"] == 1 else "stacks",
            size_class=int(record["size_class"]),
            noscan=bool(record["noscan"]),
            elem_size=int(record["elem_size"]),
            nelems=int(record["nelems"]),
            live=int(record["live"]),
            proc=None if record["proc"] < 0 else int(record["proc"]),
            needzero=bool(record["needzero"]),
            slots=slots,
        )

    def __repr__(self) -> str:
        return (
            f"<gomem.Span {self.base:#x}: {counted(self.npages, 'page')} of {self.kind}, class "
            f"{self.size_class}{' noscan' if self.noscan else ''}, {self.live} of {self.nelems} slots>"
        )

    def _repr_html_(self) -> str:
        from gomem import viz

        return viz.span_html(self)
