"""python -m gomem: help, tables, and errors without a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gomem
import gomem.gotrace
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
        (("replay", "--procs", "x"), "--procs: must be a positive integer, not 'x'"),
        (("replay", "--samples", "0"), "--samples: must be a positive integer, not '0'"),
        (("replay", "--json", "-", "--html", "-"), "only one file can be written to stdout"),
        (("info", "--nonsense"), "unrecognized arguments"),
        (("bench", "nonsense"), "invalid choice"),
    ],
)
def test_errors(arguments: tuple[str, ...], message: str) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


# --- Files ---


def test_dash_is_stdout(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["replay", "--samples", "5", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["go_version"] == "go1.26" and "objects allocated" in err
    assert main(["replay", "--samples", "5", "--html", "-", "--json", "x.json"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("<!DOCTYPE html>") and out.endswith("</html>\n") and "Wrote x.json" in err
    assert main(["sizeclasses", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert gomem.SizeClasses.from_json(out) == gomem.SizeClasses() and "bytes/obj" in err
    assert os.listdir() == ["x.json"]


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_what_cannot_be_written_is_noticed_before_the_work(
    option: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for wrong in (tmp_path, tmp_path / "nothing" / "x"):
        with monkeypatch.context() as m:
            m.setattr(gomem.gotrace, "read", lambda path: pytest.fail("the trace was read"))
            assert main(["replay", option, str(wrong)]) == 2
        assert str(wrong) in capsys.readouterr().err
    # A replay that fails leaves what was there, and nothing new.
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old")
    for path in (old, new):
        assert main(["replay", option, str(path), str(tmp_path / "no.trace")]) == 2
    assert old.read_text() == "old" and not new.exists()


@pytest.mark.parametrize("arguments", [["info"], ["sizeclasses"], ["replay", "--json", "-"]])
def test_a_closed_pipe_ends_quietly(arguments: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(tmp_path / "err", "w+") as err:
        done = subprocess.run([sys.executable, "-m", "gomem", *arguments], cwd=ROOT, timeout=60,
                              stdout=writing, stderr=err, check=False)  # fmt: skip
        err.seek(0)
        text = err.read()
    os.close(writing)
    assert done.returncode == 141
    assert "Broken" not in text and "Traceback" not in text and "ignored" not in text


def test_a_bar_is_for_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--samples", "5"]) == 0
    out, err = capsys.readouterr()
    assert "objects allocated" in out and err == ""
