"""Go types for :meth:`gomem.Heap.new`: built from Go's notation, laid out as Go lays them out.

>>> import gomem
>>> Node = gomem.struct("Node", left="*Node", right="*Node", value="int64")
>>> Node.size, Node.pointer_bytes, Node.pointer_mask
(24, 16, (True, True))
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gomem._core import Type, basic_types

_ALIASES = {
    "byte": "uint8",
    "rune": "int32",
    "int": "int64",
    "uint": "uint64",
    "interface {}": "any",
    "interface{}": "any",
}
_ARRAY = re.compile(r"\[\s*(\d+)\s*\](.+)", re.DOTALL)

_SLICE = re.compile(r"\[\s*\](.+)", re.DOTALL)

_MAX_DEPTH = 100  # of * and [n] in a notation
_MAX_DIGITS = 20


def pointer(elem: Type | str | None = None) -> Type:
    """The type ``*elem``; without an element, ``unsafe.Pointer``, which can hold any object's Ref."""
    if elem is None:
        return Type._pointer("unsafe.Pointer", None)
    elem = type_of(elem)
    return Type._pointer(f"*{elem.name}", elem)


def array(elem: Type | str, length: int) -> Type:
    """The type ``[length]elem``."""
    return Type._array(type_of(elem), length)


def struct(
    name: str, fields: Mapping[str, Type | str] | None = None, /, **more: Type | str
) -> Type:
    """A struct type with the given fields, in order, aligned and padded as Go does.

    A field's type is a Type or Go's notation for one (see :func:`type_of`). ``*name`` inside refers
    to the struct itself. Raises ValueError for a name that is no identifier or is given twice, or a
    type that is not known, TypeError for what is neither a Type nor a string.
    """
    _check_name(name)
    own: list[Type] = []
    if fields is not None and not isinstance(fields, Mapping):
        raise TypeError(
            f"fields must be a mapping from names to types, not {type(fields).__name__}"
        )
    items = dict(fields or {})
    for field in more:
        if field in items:
            raise ValueError(f"field {field} is given twice")
    items.update(more)
    for field in items:
        _check_name(field)
    types = tuple(_parse(notation, name, own) for notation in items.values())
    made = Type._struct(name, tuple(items), types)
    for own_pointer in own:
        own_pointer._set_elem(made)
    return made


def type_of(notation: Type | str) -> Type:
    """The Type for Go's notation: ``int64``, ``[4]uint8``, ``*[2]float32``, ``map[string][]any`` ...

    ``int`` and ``uint`` have 64 bits. Raises ValueError for anything that is not understood.
    """
    return _parse(notation, None, [])


def _map_parts(text: str) -> tuple[str, str]:
    """Key and element of map[key]elem."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if char == "]" and depth == 0:
            return text[4:at], text[at + 1 :]
    raise ValueError(f"{text[:200]!r} is no type: the bracket is not closed")


def slice_of(elem: Type | str) -> Type:
    """The type ``[]elem``."""
    return Type._slice(type_of(elem))


def map_of(key: Type | str, elem: Type | str) -> Type:
    """The type ``map[key]elem``. Raises ValueError if keys cannot be compared."""
    return Type._map(type_of(key), type_of(elem))


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a name must be a string, not {type(name).__name__}")
    if not name.isidentifier():
        raise ValueError(f"a name must be an identifier, not {name!r}")


def _parse(notation: Type | str, own_name: str | None, own: list[Type], _depth: int = 0) -> Type:
    if isinstance(notation, Type):
        return notation
    if not isinstance(notation, str):
        raise TypeError(
            f"a type must be a gomem.Type or a string in Go's notation, "
            f"not {type(notation).__name__}"
        )
    if _depth > _MAX_DEPTH:
        raise ValueError(f"a type's notation can have {_MAX_DEPTH} levels of * and [n], not more")
    text = notation.strip()
    if text == "unsafe.Pointer":
        return pointer()
    if text.startswith("*"):
        if own_name is not None and text[1:].strip() == own_name:
            own.append(Type._pointer(f"*{own_name}"))
            return own[-1]
        return pointer(_parse(text[1:], own_name, own, _depth + 1))
    if text.startswith("map["):
        key, elem = _map_parts(text)
        return Type._map(
            _parse(key, own_name, own, _depth + 1), _parse(elem, own_name, own, _depth + 1)
        )
    match = _SLICE.fullmatch(text)
    if match:
        return Type._slice(_parse(match[1], own_name, own, _depth + 1))
    match = _ARRAY.fullmatch(text)
    if match:
        if len(match[1]) > _MAX_DIGITS:
            raise ValueError(f"an array of that length would be too large: {text[:60]}...")
        return array(_parse(match[2], own_name, own, _depth + 1), int(match[1]))
    basic: dict[str, Type] = basic_types
    try:
        return basic[_ALIASES.get(text, text)]
    except KeyError:
        hint = " (a struct cannot contain itself)" if text == own_name else ""
        raise ValueError(
            f"{text[:200]!r} is no type that gomem knows{hint}: use a basic type ({', '.join(basic)}), "
            f"*T, [n]T, []T, map[K]V, unsafe.Pointer, or a gomem.Type"
        ) from None
