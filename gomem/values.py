"""Go values in a heap: slices, strings, builders, buffers, the memory of channels.

:class:`Values` has the methods of :class:`gomem.Heap` that make them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from gomem import _core
from gomem._core import Buffer, Builder, Map, Slice, String, Type
from gomem.types import map_of, type_of

if TYPE_CHECKING:
    import numpy as np

    from gomem._core import Ref


def as_arrays(*parts: tuple[bytearray, str]) -> tuple[np.ndarray[Any, Any], ...]:
    """Memory as arrays of the Go types named beside it."""
    import numpy as np

    return tuple(
        np.frombuffer(memory, dtype="uint64" if name == "uintptr" else name)
        for memory, name in parts
    )


def slice_array(s: Slice, dtype: Any, copy: bool | None) -> np.ndarray[Any, Any]:
    """A slice of numbers as an array; a view of it, if dtype and copy allow that."""
    import numpy as np

    array = np.asarray(memoryview(s), dtype=dtype)
    return array.copy() if copy else array


class Pool(_core.Pool):
    """A sync.Pool: objects that may be used again, until two collections have passed.

    new: makes an object when the pool has none (Go: New); without it ``get()`` gives None then.
    heap: where the pool is; by default :func:`gomem.default_heap`.

    What was put is the pool's: when a collection begins its objects become victims, which ``get()``
    still finds, and the collection after that frees them. Each P has an object at hand, and a queue.
    """

    def __new__(
        cls, new: Callable[[], Any] | None = None, *, heap: _core.Heap | None = None
    ) -> Pool:
        from gomem.heap import default_heap

        return super().__new__(cls, default_heap() if heap is None else heap, new)


class Values:
    """What makes Go values, in the heap that this is a part of."""

    @property
    def _own(self) -> _core.Heap:
        return cast(_core.Heap, self)

    def make_slice(self, elem: Type | str, len: int = 0, cap: int | None = None) -> Slice:
        """A slice of zeros with an array of its own (Go: ``make([]elem, len, cap)``).

        elem: a Type or Go's notation. len and cap count elements; without cap it is len. Raises
        PanicError, as Go panics, for lengths that no array can have, and MemoryError.
        """
        return Slice._make(self._own, type_of(elem), len, cap)

    def slice(self, elem: Type | str, values: Iterable[Any] | None = None) -> Slice:
        """The slice of the given values (Go: ``[]elem{...}``); without values the nil slice.

        Raises TypeError or ValueError for a value that is no such element, and MemoryError.
        """
        if values is None:
            return Slice._nil(self._own, type_of(elem))
        items = list(values)
        made = self.make_slice(elem, 0, len(items))
        made.append(*items)
        return made

    def string(self, value: str | bytes | bytearray | memoryview | String) -> String:
        """A Go string of a str's UTF-8, or of bytes: one allocation, but none for less than two bytes.

        Raises UnicodeEncodeError for a str with lone surrogates, TypeError, and MemoryError.
        """
        return String._new(self._own, value)

    def builder(self) -> Builder:
        """An empty strings.Builder (Go: ``new(strings.Builder)``): one allocation of 32 bytes."""
        return Builder._new(self._own)

    def buffer(self) -> Buffer:
        """An empty bytes.Buffer (Go: ``new(bytes.Buffer)``): one allocation of 40 bytes."""
        return Buffer._new(self._own)

    def make_map(self, key: Type | str, elem: Type | str, hint: int = 0) -> Map:
        """An empty map with room for about hint entries (Go: ``make(map[key]elem, hint)``).

        Up to 8 entries take one group of slots, which is made when the first comes. Raises ValueError
        for keys that Go cannot compare (slices, maps), and MemoryError.
        """
        return Map._make(self._own, map_of(key, elem), hint)

    def nil_map(self, key: Type | str, elem: Type | str) -> Map:
        """The nil map (Go: ``var m map[key]elem``): empty; setting an entry raises PanicError."""
        return Map._nil(self._own, map_of(key, elem))

    def make_chan(self, elem: Type | str, size: int = 0) -> Ref:
        """The memory that ``make(chan elem, size)`` takes, as one object or two.

        The Ref names Go's hchan, whose elements come right behind it if they have no pointers. Nothing
        can be sent: this is for looking. Raises PanicError as Go panics, ValueError for elements of
        64 KiB or more, and MemoryError.
        """
        return self._own._make_chan(type_of(elem), size)
