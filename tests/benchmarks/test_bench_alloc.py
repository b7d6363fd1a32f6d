"""The benchmark runs and writes rows of the promised shape; its arithmetic is right."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from measuring import Case, Row, Target
from reporting import Report, place, write_readme

pytestmark = pytest.mark.core_alone


def test_ratios_are_taken_inside_a_round() -> None:
    own, theirs = iter([1.0, 2.0, 30.0]), iter([2.0, 4.0, 10.0])
    case = Case("group", "name", lambda: next(own), {"peer": lambda: next(theirs)},
                targets={"peer": Target("<= 1", ratio_at_most=1), None: Target("", value_at_most=1)})  # fmt: skip
    alone, row = case.run(3)
    assert (row.gomem, row.peer_value, row.ratio, row.met) == (2.0, 4.0, 0.5, True)
    assert row.spread == (0.5, 1.75)
    assert (alone.peer, alone.ratio, alone.met) == (None, None, False)


def test_rows_survive_json_and_reach_the_readme(tmp_path: Path) -> None:
    row = Row("go", "malloc8", "ns", 1.0, "go", 4.0, 0.25, (0.2, 0.3), 5, "<= 0.35 x Go", True)
    report = Report({"CPU": "x"}, False, ["a note"], [row])
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report
    (tmp_path / "r.json").write_text(json.dumps(report.to_json()))
    readme = tmp_path / "README.md"
    begin, end = place("alloc")
    readme.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    write_readme([tmp_path / "r.json"], readme, "alloc")
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| malloc8 | 1 ns | go | 4 | 0.25 | 0.2-0.3 | <= 0.35 x Go | ok |" in text


def test_a_later_run_replaces_its_groups() -> None:
    def row(group: str, value: float) -> Row:
        return Row(group, "name", "ns", value, None, None, None, None, 1)

    first = Report({}, False, ["a"], [row("one", 1), row("two", 2)])
    both = first.updated(Report({}, False, ["a", "b"], [row("two", 3), row("three", 4)]))
    assert [r.gomem for r in both.rows] == [1, 3, 4] and both.notes == ["a", "b"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed")
def test_a_quick_run_writes_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    command = [sys.executable, str(BENCHMARKS / "bench_alloc.py"), "--quick", "--only", "scaling",
               "--json", str(path)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(path.read_text())["rows"]
    assert any(row["name"] == "scale-fifo 32" for row in rows)
    for row in rows:
        assert {"name", "gomem", "peer", "ratio", "spread"} <= set(row)
        assert row["gomem"] > 0
        if row["peer"] is not None:
            low, high = row["spread"]
            assert row["peer"]["value"] > 0 and 0 < low <= row["ratio"] <= high
