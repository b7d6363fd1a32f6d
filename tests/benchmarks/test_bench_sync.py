"""The benchmark of goroutines: its programs build, measure what they should, and have names in common."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import bench_sync
import building
import sync_loops
from measuring import program_figures

pytestmark = pytest.mark.core_alone


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler")
def test_programs_measure_the_same() -> None:
    programs = building.build(building.CHANNELS)
    keys = {figure.key for figure in bench_sync.C}
    for who, path in programs.paths.items():
        figures = program_figures([path, "1000"])()
        assert figures.keys() == keys and all(f > 0 for f in figures.values()), who
    assert "gomem" in programs.paths
    for arguments in ([], ["99"], ["x"]):
        done = subprocess.run(
            [programs.paths["gomem"], *arguments], capture_output=True, check=False
        )
        assert done.returncode != 0


@pytest.mark.parametrize("who", ["gomem", "asyncio", "threads"])
def test_loops_of_python(who: str, capsys: pytest.CaptureFixture[str]) -> None:
    sync_loops.main(who, 400)
    named = {
        line.split()[0]: float(line.split()[1]) for line in capsys.readouterr().out.splitlines()
    }
    keys = {figure.key for figure in bench_sync.PYTHON}
    assert named.keys() <= keys and all(v > 0 for v in named.values())
    assert who != "gomem" or named.keys() == keys
