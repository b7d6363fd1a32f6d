"""What Go says of itself, in the files beside this one, against what we compute and do.

They are made by tools/golden.py. Where Go is installed they are made again and compared.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gomem

HERE = Path(__file__).parent


def golden(name: str) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text())
    assert contents["go"] == "go1.26"
    return contents


# --- Size classes ---


def test_size_class_table() -> None:
    go, ours = golden("sizeclasses")["classes"], gomem.SizeClasses()
    assert len(ours) == len(go) + 1
    for theirs, row in zip(go, list(ours)[1:]):
        assert (theirs["class"], theirs["size"]) == (row.index, row.size)
        assert (theirs["span_bytes"], theirs["objects"]) == (row.span_bytes, row.objects)
        assert (theirs["tail_waste"], theirs["min_align"]) == (row.tail_waste, row.min_align)
        assert theirs["max_waste"] == round(100 * row.max_waste, 2)


def test_size_class_arrays() -> None:
    arrays, ours = golden("sizeclasses")["arrays"], gomem.SizeClasses()
    assert arrays["SizeClassToSize"] == [row.size for row in ours]
    pages = [row.span_bytes // ours.page_size for row in ours]
    assert arrays["SizeClassToNPages"] == pages
    assert arrays["SizeClassToDivMagic"] == [row.div_magic for row in ours]
    # Entry 0 is the class of size 0, which is never looked up.
    assert arrays["SizeToSizeClass8"][1:] == list(ours.size_to_class8)[1:]
    assert arrays["SizeToSizeClass128"] == list(ours.size_to_class128)


def test_size_class_constants() -> None:
    go, ours = golden("sizeclasses")["constants"], gomem.SizeClasses()
    assert go["NumSizeClasses"] == len(ours)
    assert go["MaxSmallSize"] == ours[-1].size
    assert 1 << go["PageShift"] == ours.page_size
    assert go["MaxObjsPerSpan"] == max(row.objects for row in ours)
    assert go["MaxSizeClassNPages"] == max(row.span_bytes for row in ours) // ours.page_size
    assert go["TinySize"] == ours[go["TinySizeClass"]].size
    assert len(ours.size_to_class8) == go["SmallSizeMax"] // go["SmallSizeDiv"] + 1
    rest = go["MaxSmallSize"] - go["SmallSizeMax"]
    assert len(ours.size_to_class128) == rest // go["LargeSizeDiv"] + 1
    assert gomem.SizeClassRules.go().min_align == go["MinHeapAlign"]


# --- Statistics ---


def test_memstats_fields(heap: gomem.Heap) -> None:
    go, ours = golden("memstats"), heap.stats().go()
    assert list(ours) == [f["name"] for f in go["fields"]]
    for field in go["fields"]:
        value, kind = ours[field["name"]], field["type"]
        if kind.startswith("["):
            assert len(value) == int(kind[1:].partition("]")[0]), field
        else:
            wanted = {"bool": bool, "float64": float}.get(kind, int)
            assert type(value) is wanted, field
    columns = [f["name"] for f in go["by_size_fields"]]
    assert all(list(row) == columns for row in ours["BySize"])
    assert [row["Size"] for row in ours["BySize"]] == go["by_size"]


def test_metrics_are_gos(heap: gomem.Heap) -> None:
    """Every metric we have is one of Go's, with a value of its kind."""
    go = {m["name"]: m for m in golden("metrics")["all"]}
    metrics = heap.stats().metrics()
    assert metrics
    for name, value in metrics.items():
        assert name in go, f"Go has no metric {name}"
        wanted = {"uint64": int, "float64": float}[go[name]["kind"]]
        assert type(value) is wanted, name
        assert wanted is float or 0 <= value < 2**64, f"{name} is {value}"


def test_metrics_of_the_collector_are_gos(heap: gomem.Heap) -> None:
    """With histograms in Go's buckets; ours alone are in a room of their own."""
    go = {m["name"]: m for m in golden("metrics")["all"]}
    heap.gc()
    metrics = heap.metrics()
    assert set(heap.stats().metrics()) < set(metrics)
    kinds = {"uint64": int, "float64": float, "histogram": gomem.Float64Histogram}
    for name, value in metrics.items():
        assert name.startswith("/gomem/") or type(value) is kinds[go[name]["kind"]], name
    for room in ("/gc/cycles/", "/gc/scan/", "/cpu/classes/gc/", "/cpu/classes/scavenge/"):
        assert {n for n in go if n.startswith(room)} == {n for n in metrics if n.startswith(room)}
    pauses = metrics["/sched/pauses/total/gc:seconds"]
    assert isinstance(pauses, gomem.Float64Histogram)
    bounds = golden("metrics")["time_buckets"]
    assert pauses.buckets == (-math.inf, *bounds, math.inf)
    assert len(pauses.counts) == len(pauses.buckets) - 1


def test_what_metrics_there_are(heap: gomem.Heap) -> None:
    """All but those of goroutines, cgo, GODEBUG, and of time that nobody measures."""
    go = {m["name"] for m in golden("metrics")["all"]}
    missing = go - set(heap.metrics())
    others = [n for n in missing if not n.startswith(("/godebug/", "/cgo/", "/sched/goroutines"))]
    assert sorted(others) == [
        "/cpu/classes/idle:cpu-seconds",
        "/cpu/classes/user:cpu-seconds",
        "/gc/stack/starting-size:bytes",
        "/sched/latencies:seconds",
        "/sync/mutex/wait/total:seconds",
    ]


def test_sizes_are_counted_in_gos_buckets() -> None:
    name = "/gc/heap/allocs-by-size:bytes"
    with gomem.Heap(procs=1, gogc="off") as heap:
        for size, bucket in golden("metrics")["size_bucket_of"]:
            before = heap.stats().histograms()[name]
            assert before.buckets == (*golden("metrics")["size_buckets"], math.inf)
            heap.free_many(heap.alloc_many(size, count=10))
            after = heap.metrics()
            allocs, frees = after[name], after["/gc/heap/frees-by-size:bytes"]
            assert isinstance(allocs, gomem.Float64Histogram)
            assert isinstance(frees, gomem.Float64Histogram)
            counts = [now - was for now, was in zip(allocs.counts, before.counts)]
            assert counts == [10 * (i == bucket) for i in range(len(counts))], size
            assert frees.counts == allocs.counts
            assert allocs.total == after["/gc/heap/allocs:objects"]
            assert frees.total == after["/gc/heap/frees:objects"]


def test_metrics_of_memory_are_all_there(heap: gomem.Heap) -> None:
    """Those Go computes from MemStats: /memory/classes, which add up to their total."""
    memory = {m["name"] for m in golden("metrics")["all"] if m["name"].startswith("/memory/")}
    metrics = heap.stats().metrics()
    assert memory == {name for name in metrics if name.startswith("/memory/")}
    total = metrics.pop("/memory/classes/total:bytes")
    assert total == sum(metrics[name] for name in memory if name in metrics)


def test_metrics_of_settings_that_are_off() -> None:
    with gomem.Heap(procs=1, gogc="off") as heap:
        metrics = heap.stats().metrics()
    for name, value in golden("metrics")["off"].items():
        assert metrics[name] == value, name


# --- Allocation ---


@pytest.mark.parametrize("noscan", [True, False], ids=["noscan", "scan"])
def test_round_up(noscan: bool) -> None:
    ours = gomem.SizeClasses()
    pairs = golden("malloc_roundup")["round_up"]["noscan" if noscan else "scan"]
    assert len(pairs) > 250
    wrong = [
        (size, ours.round_up(size, noscan=noscan), go)
        for size, go in pairs
        if ours.round_up(size, noscan=noscan) != go
    ]
    assert not wrong, "size, ours, Go's"


@pytest.mark.parametrize("noscan", [True, False], ids=["noscan", "scan"])
def test_slots(heap: gomem.Heap, noscan: bool) -> None:
    """The class an object gets in truth, header included; 0: beyond those that Go counts."""
    pairs = golden("malloc_roundup")["slot_size"]["noscan" if noscan else "scan"]
    assert len(pairs) > 100
    counted = golden("memstats")["by_size"][-1]
    classes = gomem.SizeClasses()
    for size, go in pairs:
        ref = heap.alloc(size, noscan=noscan)
        slot = classes[ref.size_class].size
        assert (slot if slot <= counted else 0) == go, size
        heap.free(ref)


@pytest.mark.parametrize("noscan", [True, False], ids=["noscan", "scan"])
def test_alignment(heap: gomem.Heap, noscan: bool) -> None:
    for size, go in golden("malloc_roundup")["alignment"]["noscan" if noscan else "scan"]:
        refs = [heap.alloc(size, noscan=noscan) for _ in range(120)]
        every = 0
        for ref in refs:
            every |= ref.address
        assert every & -every == go, size
        for ref in refs:
            heap.free(ref)


def test_tiny_packing() -> None:
    sequences = golden("malloc_roundup")["tiny"]
    assert len(sequences) > 30
    for sequence in sequences:
        with gomem.Heap(procs=1) as heap:
            # A fresh heap's first tiny object opens a block, as the first one of the sequences did.
            refs = [heap.alloc(1)]
            assert refs[0].address % 16 == 0
            blocks = [refs[0].address]
            for step in sequence:
                refs.append(heap.alloc(step["size"]))
                address = refs[-1].address
                if address & -16 not in blocks:
                    blocks.append(address & -16)
                got = {"block": blocks.index(address & -16), "offset": address % 16}
                assert got == {k: step[k] for k in got}, step


# --- Go, if it is here ---


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden", HERE.parents[1] / "tools" / "golden.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_what_go_says() -> None:
    if shutil.which("go") is None:
        pytest.skip("Go is not installed: the files cannot be made again")
    tool = load_tool()
    if tool.go_version() != "go1.26":
        pytest.skip(f"{tool.go_version()} is installed, the files are of go1.26")
    for name, contents in tool.everything().items():
        ours = golden(name)
        del ours["go"]
        assert json.loads(json.dumps(contents)) == ours, f"{name}.json: run tools/golden.py"
