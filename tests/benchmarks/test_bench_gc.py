"""The collector's benchmark runs, its programs do the same work, and its pictures are pictures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import bench_gc
import building
from measuring import Figure, ManyFigures, Row, Target, program_figures
from reporting import Report

pytestmark = pytest.mark.core_alone

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler")


def test_a_figure_is_compared_with_the_peers_that_have_it() -> None:
    case = ManyFigures("group", "work", lambda: {"time": 1.0, "pause": 6.0},
                       {"a": lambda: {"time": 2.0, "pause": 3.0}, "b": lambda: {"time": 4.0}},
                       (Figure("time", "time", "s", {"a": Target("<= 0.5", ratio_at_most=0.5)}),
                        Figure("pause", "pause", "us", {"a": Target(">= 3", ratio_at_least=3)})))  # fmt: skip
    rows = {(row.name, row.peer): row for row in case.run(2)}
    assert {key: (row.ratio, row.met) for key, row in rows.items()} == {
        ("work: time", "a"): (0.5, True),
        ("work: time", "b"): (0.25, None),
        ("work: pause", "a"): (2.0, False),
    }


def test_other_work_is_no_comparison() -> None:
    case = ManyFigures("group", "work", lambda: {"nodes": 31.0, "time": 1.0},
                       {"a": lambda: {"nodes": 30.0, "time": 1.0}},
                       (Figure("time", "time", "s"),), same="nodes")  # fmt: skip
    with pytest.raises(ValueError, match=r"nodes differ: \['30.0', '31.0'\]"):
        case.run(1)
    case.same = None
    case.figures = (Figure("cpu", "CPU", "s"),)
    with pytest.raises(ValueError, match="nothing of cpu"):
        case.run(1)


def test_pauses_are_drawn(tmp_path: Path) -> None:
    rows = [Row("pauses", f"{mib} MiB: p99.9 pause", "us", 30.0, "go", 60.0, 0.5, (0.4, 0.6), 5)
            for mib in (16, 64, 256)]  # fmt: skip
    assert "](pauses.svg)" in bench_gc.draw(Report({}, False, [], rows), tmp_path)
    root = ET.fromstring((tmp_path / "pauses.svg").read_text())
    paths = [
        path for path in root.iter() if path.tag.endswith("path") and path.get("fill") == "none"
    ]
    assert len(paths) == 2
    assert all(path.get("d", "").count("L") == 2 for path in paths)


@needs_compiler
def test_the_programs_do_the_same_work() -> None:
    """All workloads, in every program there is; the graph checks itself."""
    programs = building.build(building.COLLECTORS)
    assert "gomem" in programs.paths
    for who, path in programs.paths.items():
        tree = program_figures([path, "tree", "8"])()
        assert tree["nodes"] == 511 + sum(2 ** (12 - d) * (2 ** (d + 1) - 1) for d in (4, 8)), who
        assert tree["wall"] > 0 and tree["cpu"] > 0 and tree["rss"] > 1
        graph = program_figures([path, "graph", "2", "3"])()
        assert graph["live"] >= 2
        assert graph["latency_p50"] <= graph["latency_p9999"] <= graph["latency_max"]
        if who == "mimalloc":
            continue
        assert graph["marked"] > 0
        pauses = program_figures([path, "pauses", "2", "3"])()
        assert pauses["pauses"] >= 3
        assert pauses["pause_p50"] <= pauses["pause_p999"] <= pauses["pause_max"]


@needs_compiler
def test_a_quick_run_writes_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    command = [sys.executable, str(BENCHMARKS / "bench_gc.py"), "--quick", "--only", "trees", "barrier",
               "workers", "--json", str(path)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(path.read_text())["rows"]
    names = {row["name"] for row in rows}
    assert {"trees, collector off, over plain stores", "trees, collector on: CPU time",
            "a graph of 16 MiB, speed-up", "a tree of depth 16, speed-up"} <= names  # fmt: skip
    assert all(row["gomem"] > 0 for row in rows)
