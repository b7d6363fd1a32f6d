"""The line that GODEBUG=gctrace=1 prints for each cycle: ours is of Go's form, to the digit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gomem

# Milliseconds: two digits, of which at most three are decimals; whole ones from 10 on.
MS = r"(?:0|0\.00\d|0\.0\d\d|0\.\d\d|\d\.\d|\d{2,})"
LINE = re.compile(
    r"gc (?P<number>\d+) @(?P<start>\d+\.\d{3})s (?P<percent>\d+)%: "
    rf"(?P<clock>{MS}\+{MS}\+{MS}) ms clock, "
    rf"(?P<cpu>{MS}\+{MS}/{MS}/{MS}\+{MS}) ms cpu, "
    r"(?P<begin>\d+)->(?P<end>\d+)->(?P<live>\d+) MB, (?P<goal>\d+) MB goal, "
    r"(?P<stacks>\d+) MB stacks, (?P<globals>\d+) MB globals, (?P<procs>\d+) P"
    r"(?P<forced> \(forced\))?\n"
)

PROGRAM = """
import gomem, sys
heap = gomem.Heap(procs=2)
keep = [heap.alloc_many([64] * 2000, noscan=False) for _ in range(100)]
for i in range(1500):
    keep[i % 100] = heap.alloc_many([64] * 2000, noscan=False)
heap.gc()
cycles = heap.gc_cycles()
print(cycles.to_json(orient="records"))
"""
GO_PROGRAM = """
package main
import ("runtime"; "runtime/debug"; "time")
type node struct { next *node; pad [6]int64 }
var keep [100]*node
func main() {
	runtime.GOMAXPROCS(2)
	for i := 0; i < 3000; i++ {
		var list *node
		for j := 0; j < 2000; j++ { list = &node{next: list} }
		keep[i%100] = list
	}
	debug.SetGCPercent(-1)
	runtime.GC()
	time.Sleep(100 * time.Millisecond) // the line comes a little later, in pieces
}
"""


def parse(text: str) -> list[dict[str, Any]]:
    """All of the text must be such lines."""
    lines = []
    at = 0
    while at < len(text):
        match = LINE.match(text, at)
        assert match is not None, text[at : at + 200]
        at = match.end()
        fields: dict[str, Any] = match.groupdict()
        for name in (
            "number",
            "percent",
            "begin",
            "end",
            "live",
            "goal",
            "stacks",
            "globals",
            "procs",
        ):
            fields[name] = int(fields[name])
        fields["start"] = float(fields["start"])
        fields["clock"] = [float(v) for v in fields["clock"].split("+")]
        fields["cpu"] = [float(v) for v in re.split(r"[+/]", fields["cpu"])]
        fields["forced"] = fields["forced"] is not None
        lines.append(fields)
    return lines


def check(lines: list[dict[str, Any]], cpus: int) -> None:
    """What the fields mean, for whichever collector wrote them."""
    assert len(lines) > 3
    assert [line["number"] for line in lines] == list(range(1, len(lines) + 1))
    starts = [line["start"] for line in lines]
    assert starts == sorted(starts)
    for line in lines:
        assert line["procs"] == 2 and 0 <= line["percent"] <= 100
        assert line["live"] <= line["end"] and line["begin"] <= line["end"]
        assert line["stacks"] == 0 and line["globals"] <= 4 and line["goal"] >= 4
        # A stop takes all CPUs that the Ps may have.
        for clock, cpu in ((line["clock"][0], line["cpu"][0]), (line["clock"][2], line["cpu"][4])):
            assert cpu == pytest.approx(clock * min(2, cpus), rel=0.12, abs=0.002)
    assert [line["forced"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert any(sum(line["cpu"][1:4]) > 0 for line in lines)


def test_gos_lines(tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("go is not on PATH")
    (tmp_path / "main.go").write_text(GO_PROGRAM)
    (tmp_path / "go.mod").write_text("module trace\ngo 1.24\n")
    subprocess.run(["go", "build", "-o", "trace", "."], cwd=tmp_path, check=True)
    done = subprocess.run(
        [tmp_path / "trace"],
        env={"GODEBUG": "gctrace=1"},
        capture_output=True,
        text=True,
        check=True,
    )
    check(parse(done.stderr), len(os.sched_getaffinity(0)))


def run(debug: str, program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "GODEBUG": debug, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip


def test_our_lines() -> None:
    import json

    done = run("madvdontneed=1,gctrace=1")
    lines = parse(done.stderr)
    check(lines, os.cpu_count() or 1)
    cycles = json.loads(done.stdout)
    assert len(lines) == len(cycles)
    for line, cycle in zip(lines, cycles):
        for name, column in (
            ("begin", "heap_start"), ("end", "heap_end"), ("live", "heap_marked"), ("goal", "goal"),
        ):  # fmt: skip
            assert line[name] == cycle[column] >> 20
        assert line["percent"] == int(cycle["cpu_fraction"] * 100)
        background = cycle["dedicated_ns"] + cycle["fractional_ns"]
        times = [
            (line["clock"][0], cycle["pause_begin_ns"]), (line["clock"][1], cycle["mark_ns"]),
            (line["clock"][2], cycle["pause_end_ns"]), (line["cpu"][1], cycle["assist_ns"]),
            (line["cpu"][2], background), (line["cpu"][3], cycle["idle_ns"]),
        ]  # fmt: skip
        for ms, ns in times:
            assert ns / 1e6 * 0.89 - 0.001 <= ms <= ns / 1e6  # cut to two digits, not rounded


@pytest.mark.parametrize(
    ("debug", "printed"),
    [
        ("", False), ("gctrace=0", False), ("gctrace=1", True), ("gctrace=2", True),
        ("gctrace=-1", False), ("gctrace=1,gctrace=0", False), ("gctrace=0,gctrace=1", True),
        ("gctrace=x", False), ("gctrace", False), ("xgctrace=1", False), ("a=b,,gctrace=1,", True),
        ("gctrace=1 ", False), ("gctrace=", False),
    ],
)  # fmt: skip
def test_when_it_is_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], debug: str, printed: bool
) -> None:
    monkeypatch.setenv("GODEBUG", debug)
    with gomem.Heap(procs=1) as heap:
        heap.gc()
    lines = parse(capfd.readouterr().err)
    assert len(lines) == printed
    with gomem.Heap(procs=1, gctrace=1 - printed) as heap:
        heap.gc()
    assert (len(parse(capfd.readouterr().err)) == 1) == (not printed)
    assert not printed or lines[0]["forced"]
