"""What goroutines and channels need of Python: kinds of elements, and reports as Go prints them.

The functions here are called by the extension module.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any, TypeAlias

from gomem._core import PanicError, Type
from gomem.types import type_of

# Where a goroutine was created: file, line, function.
Created: TypeAlias = tuple[str, int, str]
# What there is to say of one: id, status, innermost frame, who created it, where. A thread has no id.
Row: TypeAlias = tuple[int | None, str, types.FrameType | None, int, Created | None]

ZEROS: dict[type, object] = {
    bool: False, int: 0, float: 0.0, complex: 0j, str: "", bytes: b"", tuple: (),
}  # fmt: skip

# Go's types of numbers, and bool: their zero values.
NUMBERS: dict[str, object] = {
    "bool": False, "float32": 0.0, "float64": 0.0, "complex64": 0j, "complex128": 0j,
    **dict.fromkeys(("int8", "int16", "int32", "int64"), 0),
    **dict.fromkeys(("uint8", "uint16", "uint32", "uint64", "uintptr"), 0),
}  # fmt: skip


def element(kind: Any) -> tuple[Any, object, Type | None]:
    """What a channel's elements are: what to check with isinstance, the zero value, a type of Go's."""
    if isinstance(kind, (str, Type)):
        go_type = type_of(kind)
        if go_type.name not in NUMBERS:
            raise TypeError(
                f"a channel of Go values carries numbers and bools, not {go_type.name}; for Python "
                "objects give a class"
            )
        return None, NUMBERS[go_type.name], go_type
    if kind is None:
        return type(None), None, None
    if kind is object or kind is Any:
        return None, None, None
    kind = typing.get_origin(kind) if isinstance(kind, types.GenericAlias) else kind
    try:
        isinstance(None, kind)
    except TypeError:
        raise TypeError(
            "a channel's type must be a class, a union of classes, object for anything, or a number "
            f"type of Go's like 'int64', not {kind!r}"
        ) from None
    return kind, ZEROS.get(kind) if isinstance(kind, type) else None, None


def _place(frame: types.FrameType) -> str:
    code = frame.f_code
    name = getattr(code, "co_qualname", code.co_name)
    return f"{name}(...)\n\t{code.co_filename}:{frame.f_lineno}\n"


def describe(row: Row) -> str:
    """One goroutine as Go's traceback has it: the innermost call first."""
    number, status, frame, parent, created = row
    who = "thread" if number is None else f"goroutine {number}"
    lines = [f"{who} [{status}]:\n"]
    while frame is not None:
        lines.append(_place(frame))
        frame = frame.f_back
    if parent and created is not None:
        file, line, function = created
        lines.append(f"created by {function} in goroutine {parent}\n\t{file}:{line}\n")
    return "".join(lines)


def deadlock(rows: Sequence[Row]) -> str:
    """What Go prints when all goroutines are asleep."""
    text = "fatal error: all goroutines are asleep - deadlock!\n\n"
    return text + "\n".join(describe(row) for row in rows)


def add_note(failure: BaseException, row: Row) -> None:
    """Notes at an exception which goroutine did not catch it, as Go says of a panic."""
    if not isinstance(failure, Exception) or not hasattr(failure, "add_note"):
        return
    text = str(failure) if isinstance(failure, PanicError) else repr(failure)
    failure.add_note(f"panic: {text}\n\n{describe(row)}".rstrip("\n"))
