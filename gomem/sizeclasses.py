"""Size classes: Go's table, others made from other rules, and tables given as they are."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gomem import _core

if TYPE_CHECKING:
    from os import PathLike


@dataclass(frozen=True)
class SizeClassRules:
    """What a table of size classes is computed from; the defaults are Go 1.26's.

    page_size: bytes, a power of two from 4096 to 262144.
    max_small_size: the largest class in bytes, at most 262144.
    min_align: alignment of the smallest sizes, 8 or 16.
    align16_from: from this size on sizes are multiples of 16.
    align_max: from 128 bytes on sizes are multiples of an eighth of the power of two below, up to
        this.
    max_waste: largest share of a span that may be lost at its end.
    stretch: enlarge a class as long as as many objects fit.
    batch_bytes, batch_max: a span holds at least a quarter of ``batch_bytes`` worth of objects, at
        most of ``batch_max`` (TCMalloc's rule); 0: no such rule.
    """

    page_size: int = 8192
    max_small_size: int = 32768
    min_align: int = 8
    align16_from: int = 32
    align_max: int = 256
    max_waste: float = 0.125
    stretch: bool = True
    batch_bytes: int = 0
    batch_max: int = 0

    @classmethod
    def go(cls) -> SizeClassRules:
        """The rules of Go: 68 classes up to 32 KiB."""
        return cls(*_core.size_class_rules("go"))

    @classmethod
    def tcmalloc(cls) -> SizeClassRules:
        """The rules of gperftools' TCMalloc with 8 KiB pages: 88 classes up to 256 KiB."""
        return cls(*_core.size_class_rules("tcmalloc"))


class SizeClass(NamedTuple):
    """One row of the table, as the comment in Go's ``sizeclasses.go`` shows it."""

    index: int  # type: ignore[assignment]
    size: int
    """Bytes of an object."""
    span_bytes: int
    objects: int
    """Objects in a span that spends nothing on bitmaps."""
    tail_waste: int
    """Bytes at a span's end that no object can use."""
    max_waste: float
    """Share of a span lost when every object is as small as the class permits."""
    min_align: int
    """Alignment in bytes that every object of the class has."""
    div_magic: int
    """(n * div_magic) >> 32 == n // size for every multiple n of size in a span, and for all other
    offsets in Go's table; in one of larger classes it can be one more there (Go:
    SizeClassToDivMagic)."""


class SizeClasses(_core.SizeClasses):
    """A table of size classes, which a :class:`gomem.Heap` can be built on.

        >>> import gomem
        >>> table = gomem.SizeClasses()
        >>> len(table), table.class_of(100), table.round_up(100)
        (68, 9, 112)
        >>> len(gomem.SizeClasses(gomem.SizeClassRules.tcmalloc()))
        88

    ``rules`` computes a table (Go's by default); ``classes``, a sequence of (size in bytes, pages
    of a span), takes one as it is, with spans of pages of ``page_size`` bytes. Raises ValueError,
    with the reason, for rules or classes that cannot work, TypeError for what is no such sequence.
    """

    def __new__(
        cls,
        rules: SizeClassRules | None = None,
        *,
        classes: Iterable[tuple[int, int]] | None = None,
        page_size: int = 8192,
    ) -> SizeClasses:
        if rules is not None and classes is not None:
            raise ValueError("give rules or classes, not both")
        if classes is not None:
            return super().__new__(cls, None, _uint32(page_size, "page_size"), _pairs(classes))
        if rules is None:
            return super().__new__(cls)
        if not isinstance(rules, SizeClassRules):
            raise TypeError(f"rules must be SizeClassRules, not {type(rules).__name__}")
        values = {f.name: _rule(f.name, getattr(rules, f.name)) for f in fields(rules)}
        return super().__new__(cls, tuple(values.values()))

    def __getitem__(self, index: int) -> SizeClass:
        """Row of a class; class 0 stands for large objects and is all zeros."""
        index = range(len(self))[index]
        return SizeClass(index, *self._row(index))

    def __iter__(self) -> Iterator[SizeClass]:
        return (self[i] for i in range(len(self)))

    def class_of(self, size: int, *, noscan: bool = True) -> int:
        """The class of a request of ``size`` bytes; 0: large."""
        result: int = self._lookup(size, noscan)[0]
        return result

    def round_up(self, size: int, *, noscan: bool = True) -> int:
        """Usable bytes that a request of ``size`` bytes gets (Go: ``roundupsize``)."""
        result: int = self._lookup(size, noscan)[1]
        return result

    @property
    def size_to_class8(self) -> bytes:
        """Class of size 8 i, for i in 0 .. 128 (Go: ``SizeToSizeClass8``; entry 0 is 0 there)."""
        result: bytes = self._tables()[0]
        return result

    @property
    def size_to_class128(self) -> bytes:
        """Class of size 1024 + 128 i (Go: ``SizeToSizeClass128``)."""
        result: bytes = self._tables()[1]
        return result

    def table(self) -> Any:
        """All classes but 0: a pandas DataFrame, or a NumPy structured array without pandas."""
        from gomem._tables import table

        return table([row._asdict() for row in self][1:])

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """The table as JSON (``page_size`` and ``classes``), also written to ``path`` if given."""
        text = json.dumps({"page_size": self.page_size, "classes": self._pairs()})
        if path is not None:
            Path(path).write_text(text)
        return text

    @classmethod
    def from_json(cls, source: str | PathLike[str]) -> SizeClasses:
        """A table from what :meth:`to_json` wrote: a path, or the JSON itself."""
        text = str(source)
        if not text.lstrip().startswith("{"):
            text = Path(source).read_text()
        try:
            data = json.loads(text)
            pairs = [(size, pages) for size, pages in data["classes"]]
            page_size = data["page_size"]
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"a table of size classes is a JSON object with page_size and classes, "
                f"a list of [size, pages]: {error}"
            ) from None
        return cls(classes=pairs, page_size=page_size)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_from_pairs, (type(self), self._pairs(), self.page_size))

    def _pairs(self) -> list[list[int]]:
        return [[row.size, row.span_bytes // self.page_size] for row in self][1:]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SizeClasses):
            return NotImplemented
        return self.page_size == other.page_size and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"<gomem.SizeClasses: {len(self)} classes up to {self[-1].size} bytes, "
            f"pages of {self.page_size}>"
        )

    def _repr_html_(self) -> str:
        from gomem import viz

        return viz.size_classes_html(self)


def _from_pairs(cls: type[SizeClasses], pairs: Any, page_size: int) -> SizeClasses:
    return cls(classes=pairs, page_size=page_size)


def integer(value: Any, name: str, expected: str = "an integer") -> int:
    """An integer from anything that is one, a NumPy scalar too."""
    if not hasattr(type(value), "__index__"):
        given = repr(value) if isinstance(value, str) else type(value).__name__
        raise TypeError(f"{name} must be {expected}, not {given}")
    return operator.index(value)


def shown(value: int) -> str:
    """An integer for a message; Python refuses to show those of thousands of digits."""
    bits = value.bit_length()
    return str(value) if bits <= 128 else f"an integer of {bits} bits"


def counted(n: int, what: str) -> str:
    """A number of things, for a text: ``1 page``, ``2 pages``."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _pairs(classes: Any) -> list[tuple[int, int]]:
    """The classes as they were given: sizes in bytes and pages of spans."""
    what = "classes must be a sequence of pairs (size in bytes, pages of a span)"
    if isinstance(classes, (str, bytes)) or not isinstance(classes, Iterable):
        raise TypeError(f"{what}, not {type(classes).__name__}")
    pairs = []
    for i, row in enumerate(classes):
        try:
            size, pages = row
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what}: what is at index {i} is no pair") from None
        pairs.append((_uint32(size, "size"), _uint32(pages, "pages")))
    return pairs


def boolean(value: Any, name: str) -> bool:
    """True or False, also NumPy's."""
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")
    return bool(value)


def _uint32(value: Any, name: str) -> int:
    number = integer(value, name)
    if not 0 <= number < 2**32:
        raise ValueError(f"{name} must be from 0 to 2**32 - 1, not {shown(number)}")
    return number


def _rule(name: str, value: Any) -> Any:
    if name == "max_waste":
        if not isinstance(value, (int, float)):
            raise TypeError(f"max_waste must be a number, not {type(value).__name__}")
        try:
            return float(value)
        except OverflowError:
            raise ValueError("max_waste must lie between 0 and 1 (exclusive)") from None
    return bool(value) if name == "stretch" else _uint32(value, name)
