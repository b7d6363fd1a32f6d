"""Every #include of csrc against the table of rooms in HACKING.md."""

from __future__ import annotations

import pytest
from rooms import CSRC, HACKING, c_files, includes, name, parse_table, room_of

TABLE = parse_table(HACKING)


def violations(path: str, text: str, table: dict[str, list[str]]) -> list[str]:
    """What a file includes that it may not; a name with a folder must be a file of csrc."""
    room, wrong = room_of(path), []
    for included in includes(text):
        if included == "Python.h":
            if room not in ("python", "testing"):
                wrong.append(included)
        elif included == "gomem.h" or (CSRC / included).exists():
            if room_of(included) not in (room, *table[room]):
                wrong.append(included)
        elif (CSRC / room_of(path) / included).exists():
            wrong.append(f"{included} (without its room)")
    return wrong


def test_includes() -> None:
    found = {name(p): violations(name(p), p.read_text(), TABLE) for p in c_files()}
    wrong = [f"{file} may not include {', '.join(w)}" for file, w in found.items() if w]
    assert not wrong, "\n".join(wrong)


def test_the_table_names_every_room() -> None:
    folders = {p.name for p in CSRC.iterdir() if p.is_dir()}
    assert folders | {"gomem.h"} == set(TABLE)


def test_rooms_are_layers() -> None:
    """Nothing but the white-box door includes a room below it in the table."""
    order = list(TABLE)
    for i, (room, allowed) in enumerate(TABLE.items()):
        if room != "testing":
            assert all(order.index(other) < i for other in allowed), room


@pytest.mark.parametrize(
    ("path", "text", "wrong"),
    [
        ("base/bits.h", '#include "platform/lock.h"', ["platform/lock.h"]),
        ("heap/malloc.c", '#include "heap/malloc.h"\n#include "base/bits.h"', []),
        ("heap/malloc.c", '#include "sched/p.h"', ["sched/p.h"]),
        ("heap/malloc.c", '  #  include "runtime/runtime.h"', ["runtime/runtime.h"]),
        ("heap/malloc.c", "#include <Python.h>", ["Python.h"]),
        ("heap/malloc.c", '#include "mheap.h"', ["mheap.h (without its room)"]),
        ("platform/lock.c", '#include "heap/span.h"', ["heap/span.h"]),
        ("sched/p.c", '#include "heap/mcache.h"\n#include <stdio.h>', []),
        ("sched/p.c", '#include "gotrace/reader.h"', ["gotrace/reader.h"]),
        ("runtime/runtime.c", '#include "gotrace/reader.h"\n#include "gomem.h"', []),
        ("python/py_heap.c", '#include "base/bits.h"', ["base/bits.h"]),
        ("python/py_heap.c", '#include "python/py_core.h"\n#include <Python.h>', []),
        ("testing/py_heap.c", '#include "heap/malloc.h"\n#include <Python.h>', []),
        ("gomem.h", '#include "base/bits.h"', ["base/bits.h"]),
    ],
)
def test_the_test_itself(path: str, text: str, wrong: list[str]) -> None:
    assert violations(path, text, TABLE) == wrong


def test_a_table_with_unknown_rooms_is_refused() -> None:
    with pytest.raises(ValueError, match="attic"):
        parse_table("| `base/` | x | — |\n| `heap/` | x | attic |\n| `gomem.h` | x | — |")
