"""Tables of size classes: Go's, TCMalloc's, made from rules, given, and nonsense."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gomem
from gomem.testing import class_edges

GO = gomem.SizeClassRules.go()
TCMALLOC = gomem.SizeClassRules.tcmalloc()


def test_the_tables_have_their_known_shape() -> None:
    assert gomem.SizeClassRules() == GO
    go, tc = gomem.SizeClasses(), gomem.SizeClasses(TCMALLOC)
    assert (len(go), go[-1].size, len(tc), tc[-1].size) == (68, 32768, 88, 262144)
    assert [go[i].size for i in (1, 2, 3, 9, 67)] == [8, 16, 24, 112, 32768]
    assert go[0] == (0, 0, 0, 0, 0, 0.0, 0, 0)
    assert go == gomem.SizeClasses(GO) != tc
    assert go != 5
    assert "68 classes" in repr(go) and "SizeClasses" in repr(go)


@pytest.mark.parametrize("rules", [GO, TCMALLOC, replace(GO, page_size=4096),
                                   replace(GO, page_size=65536), replace(GO, min_align=16),
                                   replace(GO, max_small_size=1024)])  # fmt: skip
def test_rows(rules: gomem.SizeClassRules) -> None:
    table = gomem.SizeClasses(rules)
    assert table[-1].size == rules.max_small_size and table.page_size == rules.page_size
    last = 0
    for row in list(table)[1:]:
        assert row.size > last and row.size % row.min_align == 0
        assert row.span_bytes % rules.page_size == 0
        assert row.objects == row.span_bytes // row.size
        assert row.tail_waste == row.span_bytes - row.objects * row.size
        assert row.tail_waste <= rules.max_waste * row.span_bytes
        offsets = np.arange(0, row.span_bytes, 7, dtype=np.uint64)
        one_more = (offsets * np.uint64(row.div_magic) >> np.uint64(32)) - offsets // row.size
        assert not one_more.any() if rules.max_small_size <= 32768 else (one_more <= 1).all()
        assert not one_more[offsets % row.size == 0].any()
        last = row.size
    for size in class_edges(table):
        index = table.class_of(size)
        if size == 0 or index == 0:
            continue
        assert table[index - 1].size < size <= table[index].size
        assert table.round_up(size) == table[index].size


@pytest.mark.parametrize("rules", [TCMALLOC, replace(GO, page_size=4096), replace(GO, min_align=16),
                                   replace(GO, page_size=262144),
                                   replace(GO, max_small_size=2048)])  # fmt: skip
def test_heaps_on_them(rules: gomem.SizeClassRules) -> None:
    table = gomem.SizeClasses(rules)
    with gomem.Heap(procs=1, size_classes=table) as heap:
        assert heap.size_class_table is table
        for noscan in (True, False):
            roots = heap.alloc_many([s for s in class_edges(table) if s > 0], noscan=noscan)
            for ref in roots:
                assert ref.size_class == table.class_of(ref.size, noscan=noscan) or ref.size < 16
                assert not any(ref.view())
            heap.verify()
            heap.fragmentation()
            heap.map()
            assert len(heap.size_classes()) == len(table)
            heap.free_many(roots)
        heap.flush()
        assert heap.stats().heap_inuse == 0


def test_given_classes() -> None:
    table = gomem.SizeClasses(classes=[(8, 1), (16, 1), (64, 1), (1024, 2), (4096, 4)])
    assert [row.size for row in table] == [0, 8, 16, 64, 1024, 4096]
    assert gomem.SizeClasses(classes=np.array([(8, 1), (16, 1), (1024, 1)]))[3].size == 1024
    with gomem.Heap(procs=1, size_classes=table) as heap:
        assert heap.alloc(65).slot_size == 1024
        heap.verify()


def test_json(tmp_path: Path) -> None:
    for table in (gomem.SizeClasses(), gomem.SizeClasses(TCMALLOC)):
        path = tmp_path / "table.json"
        text = table.to_json(path)
        assert json.loads(text)["page_size"] == 8192
        assert gomem.SizeClasses.from_json(path) == table == gomem.SizeClasses.from_json(text)


@pytest.mark.parametrize(
    "text",
    ["{", "{}", '{"classes": 5}', '{"classes": [[8]], "page_size": 8192}', '{"classes": [5]}',
     '{"classes": [["8", 1]], "page_size": 8192}', '{"classes": [[8, 1]], "page_size": null}',
     '{"classes": [[8, 1]], "page_size": 8192.5}', '{"page_size": 8192}',
     '{"classes": [[8, 1]], "page_size": 5}', '{"classes": [], "page_size": 8192}'],
)  # fmt: skip
def test_json_that_is_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    for source in (text, path):
        with pytest.raises((ValueError, TypeError)):
            gomem.SizeClasses.from_json(source)
    with pytest.raises(FileNotFoundError):
        gomem.SizeClasses.from_json(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"page_size": 0}, "page"), ({"page_size": 5000}, "page"), ({"page_size": 2048}, "page"),
        ({"page_size": 2**31}, "page"), ({"max_small_size": 0}, "max_small_size"),
        ({"max_small_size": 2**20}, "max_small_size"), ({"min_align": 0}, "align"),
        ({"min_align": 12}, "align"), ({"align_max": 0}, "align"), ({"align_max": 3}, "align"),
        ({"max_waste": -1}, "waste"), ({"max_waste": 2}, "waste"),
        ({"max_waste": float("nan")}, "waste"), ({"max_waste": float("inf")}, "waste"),
        ({"max_waste": 0}, "waste"), ({"max_waste": 10**400}, "waste"),
        ({"page_size": -1}, "page_size must be from 0"),
        ({"page_size": 2**32}, "page_size must be from 0 to"), ({"batch_max": -1}, "batch_max"),
    ],
)  # fmt: skip
def test_nonsense_rules(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gomem.SizeClasses(replace(GO, **changes))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"rules": 5}, TypeError), ({"rules": "go"}, TypeError), ({"rules": (1, 2)}, TypeError),
        ({"rules": GO, "classes": [(8, 1)]}, ValueError), ({"classes": 5}, TypeError),
        ({"classes": []}, ValueError), ({"classes": [(8, 0)]}, ValueError),
        ({"classes": [(0, 1)]}, ValueError), ({"classes": [(16, 1), (8, 1)]}, ValueError),
        ({"classes": [(8, 1), (8, 1)]}, ValueError), ({"classes": [(7, 1)]}, ValueError),
        ({"classes": [(8, -1)]}, ValueError), ({"classes": [(8.0, 1)]}, TypeError),
        ({"classes": [("8", 1)]}, TypeError), ({"classes": [(8, 1, 1)]}, ValueError),
        ({"classes": [8]}, TypeError), ({"classes": [(8, 2**32)]}, ValueError),
        ({"classes": [(8, 1)], "page_size": 0}, ValueError),
        ({"classes": [(8, 1)], "page_size": "8192"}, TypeError),
        ({"classes": [(8 * i, 1) for i in range(1, 300)]}, ValueError),
        ({"classes": [(2**31, 2**31)]}, ValueError),
    ],
)  # fmt: skip
def test_nonsense_classes(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as info:
        gomem.SizeClasses(**arguments)
    assert len(str(info.value)) > 10


def test_asking_nonsense() -> None:
    table = gomem.SizeClasses()
    for ask in (table.class_of, table.round_up):
        with pytest.raises(ValueError, match="must not be negative"):
            ask(-1)
        for wrong in (1.5, "8", None):
            with pytest.raises(TypeError, match="must be an integer"):
                ask(wrong)
        assert ask(2**40) in (0, 2**40)
        ask(2**100)
    for index in (68, -69, 2**70):
        with pytest.raises(IndexError):
            table[index]
    assert table[-1] == table[67]


small = st.integers(0, 2**32 - 1) | st.sampled_from([2**i for i in range(32)])


def serves_or_says_why_not(**arguments: Any) -> None:
    """A table that works, or ValueError with the reason; never anything else, nor for ever."""
    try:
        table = gomem.SizeClasses(**arguments)
    except ValueError as error:
        assert len(str(error)) > 10
        return
    with gomem.Heap(procs=1, size_classes=table, max_memory="256MiB") as heap:
        heap.alloc_many([s for s in class_edges(table) if s < 2**18])
        heap.verify()


@given(st.builds(
    gomem.SizeClassRules, page_size=st.sampled_from([2**i for i in range(10, 20)]) | small,
    max_small_size=st.integers(1, 4096).map(lambda n: n * 128) | small,
    min_align=st.sampled_from([8, 16]) | small, align16_from=small, align_max=small,
    max_waste=st.floats(0, 1) | st.floats(), stretch=st.booleans(),
    batch_bytes=small, batch_max=st.integers(0, 100) | small,
))  # fmt: skip
def test_any_rules(rules: gomem.SizeClassRules) -> None:
    serves_or_says_why_not(rules=rules)


@given(st.lists(st.tuples(st.integers(0, 2**15).map(lambda n: 8 * n) | small,
                          st.integers(0, 40) | small), max_size=40).map(sorted),
       st.sampled_from([2**i for i in range(10, 20)]) | small)  # fmt: skip
def test_any_classes(classes: list[tuple[int, int]], page_size: int) -> None:
    serves_or_says_why_not(classes=classes, page_size=page_size)
