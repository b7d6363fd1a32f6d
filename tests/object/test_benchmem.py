"""allocs_per_run and benchmem: what they count, and what they print."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest

import gomem
from gomem.benchmem import _parse_benchtime

GOLDEN = Path(__file__).parents[1] / "golden" / "values" / "results.json"


def test_lines_are_gos() -> None:
    rows = json.loads(GOLDEN.read_text())["rows"]
    assert len(rows) > 300
    for row in rows:
        result = gomem.BenchmarkResult(
            row["n"], row["ns"], row["mallocs"], row["bytes"], row["moved"]
        )
        assert str(result) == row["text"]


def test_allocs_per_run(heap: gomem.Heap) -> None:
    calls = []

    def run() -> None:
        calls.append(1)
        s = heap.make_slice("int", 3)
        if len(calls) % 2:
            s.append(1)

    assert gomem.allocs_per_run(run, runs=10, heap=heap) == 1  # 15 in 10 runs
    assert len(calls) == 11
    assert gomem.allocs_per_run(lambda: None, heap=heap) == 0
    assert gomem.allocs_per_run(lambda: gomem.default_heap().alloc(100)) == 1
    with pytest.raises(ValueError, match="at least 1"):
        gomem.allocs_per_run(run, runs=0)
    with pytest.raises(TypeError):
        gomem.allocs_per_run(run, heap=5)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        gomem.allocs_per_run(lambda: 1 // 0, heap=heap)


def test_benchmem(heap: gomem.Heap, capsys: pytest.CaptureFixture[str]) -> None:
    def three_words() -> None:
        heap.make_slice("int", 3)

    result = gomem.benchmem(three_words, heap=heap, benchtime=0.02)
    line = capsys.readouterr().out
    assert line == f"{result}\n" and line.startswith("three_words\t")
    assert line.endswith(" ns/op\t      24 B/op\t       1 allocs/op\n")
    assert result.n > 10 and result.ns >= 20_000_000 and result.mem_allocs == result.n
    assert (result.allocs_per_op, result.bytes_per_op) == (1, 24)
    assert result.ns_per_op == result.ns // result.n

    result = gomem.benchmem(three_words, heap=heap, name="x", benchtime="50x", show=False)
    assert (result.n, result.mem_allocs, result.name) == (50, 50, "x")
    assert capsys.readouterr().out == ""
    with gomem.Heap(procs=3) as other:
        assert (
            gomem.benchmem(gc.collect, heap=other, benchtime="1x", name="n", show=False).name
            == "n-3"
        )


def test_benchmarks_with_a_timer(heap: gomem.Heap) -> None:
    kept: list[Any] = []

    def loop(b: gomem.B) -> None:
        kept.append([heap.alloc(1000) for _ in range(50)])
        b.set_bytes(64)
        while b.loop():
            heap.alloc(64)

    result = gomem.benchmem(loop, heap=heap, benchtime=0.01, show=False)
    assert len(kept) == 1 and result.mem_allocs == result.n > 1 and "MB/s" in str(result)

    def timer(b: gomem.B) -> None:
        heap.alloc(8)
        b.reset_timer()
        for _ in range(b.N):
            heap.alloc(32)
            b.stop_timer()
            heap.alloc(48)
            b.start_timer()

    result = gomem.benchmem(timer, heap=heap, benchtime="20x", show=False)
    assert (result.n, result.mem_allocs, result.mem_bytes) == (20, 20, 640)


def test_bad_benchmarks(heap: gomem.Heap) -> None:
    for benchtime in ("x", "0x", "s", -1, 1e9, float("nan")):
        with pytest.raises(ValueError, match="benchtime"):
            gomem.benchmem(lambda: None, heap=heap, benchtime=benchtime)
    with pytest.raises(TypeError):
        gomem.benchmem(lambda: None, heap=heap, benchtime=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        gomem.benchmem(5, heap=heap)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        gomem.benchmem(lambda: 1 // 0, heap=heap)


def test_a_loop_that_is_left(heap: gomem.Heap, capsys: pytest.CaptureFixture[str]) -> None:
    def left(b: gomem.B) -> None:
        while b.loop():
            break

    with pytest.raises(
        RuntimeError, match=r"without B.Loop\(\) == false \(break or return in loop"
    ):
        gomem.benchmem(left, heap=heap, benchtime=0.01)
    assert capsys.readouterr().out == ""


def test_a_loop_of_so_many(heap: gomem.Heap) -> None:
    calls = []

    def loop(b: Any) -> None:
        while b.loop():
            calls.append(b.N)

    result = gomem.benchmem(loop, heap=heap, benchtime="37x", show=False)
    assert result.n == len(calls) == 37


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("50ms", 0.05), ("1m30s", 90), ("1.5s", 1.5), (".5s", 0.5), ("20us", 2e-5),
     ("20µs", 2e-5), ("5ns", 5e-9), ("1h", 3600)],
)  # fmt: skip
def test_durations_in_gos_notation(text: str, seconds: float) -> None:
    assert _parse_benchtime(text) == (pytest.approx(seconds), None)


@pytest.mark.parametrize(
    "text", ["", "1", "s", "1 s", "-1s", "0s", "1s1", "1sx", "1e3s", "9" * 400 + "h"]
)
def test_what_is_no_duration(heap: gomem.Heap, text: str) -> None:
    with pytest.raises(ValueError, match="benchtime must be seconds, or like '1s'"):
        gomem.benchmem(len, heap=heap, benchtime=text)
