"""python -m gomem: help, tables, and errors without a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import gomem
from gomem.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "gomem", *arguments], cwd=ROOT, timeout=60,
                          capture_output=True, text=True, check=False)  # fmt: skip


def test_help() -> None:
    done = cli("--help")
    assert done.returncode == 0 and not done.stderr
    for word in ("sizeclasses", "info", "bench", "Go's memory system"):
        assert word in done.stdout
    for command in ("sizeclasses", "info", "bench"):
        done = cli(command, "--help")
        assert done.returncode == 0 and "usage: python -m gomem" in done.stdout


def test_sizeclasses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    assert main(["sizeclasses", "--json", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 68
    # The last line of Go's own sizeclasses.go, but for the unit of its first columns.
    assert lines[-1].split() == ["67", "32768", "32768", "1", "0", "12.50%", "8192"]
    assert lines[1].split() == ["1", "8", "8192", "1024", "0", "87.50%", "8"]
    assert gomem.SizeClasses.from_json(path) == gomem.SizeClasses()
    assert main(["sizeclasses", "--tcmalloc"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 88
    assert main(["sizeclasses", "--page-size", "4096", "--max-waste", "0.2"]) == 0


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for name, value in gomem.build_info().items():
        assert f"{name}: {value}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "required"),
        (("nonsense",), "invalid choice"),
        (("sizeclasses", "--page-size", "x"), "invalid int value"),
        (("sizeclasses", "--page-size", "5000"), "page_size must be a power of two"),
        (("sizeclasses", "--page-size", "-1"), "page_size must be from 0"),
        (("sizeclasses", "--max-waste", "7"), "max_waste must lie between"),
        (("sizeclasses", "--max-small-size", "5"), "max_small_size must be"),
        (("sizeclasses", "--json", "/nowhere/x.json"), "No such file"),
        (("info", "--nonsense"), "unrecognized arguments"),
        (("bench", "nonsense"), "invalid choice"),
    ],
)
def test_errors(arguments: tuple[str, ...], message: str) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
