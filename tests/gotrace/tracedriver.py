"""Runs the C drivers of tests/c that read traces, and understands what they print."""

from __future__ import annotations

import functools
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cdriver

build = functools.cache(cdriver.build)

REFUSED = 3


def execute(program: str | Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *args], check=False, capture_output=True, text=True, errors="replace", timeout=300
    )


def run(program: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    done = execute(program, *args)
    assert done.returncode in (0, REFUSED), done.stderr
    return done


def facts(path: Path) -> dict[str, int]:
    done = run(build("gotrace_test"), "facts", path)
    assert done.returncode == 0, done.stdout
    found: dict[str, int] = json.loads(done.stdout)
    return found


def assert_same(ours: dict[str, int], gos: dict[str, int]) -> None:
    """The facts of a trace, and those that Go's reader finds (tools/gotrace_reference)."""
    ours = {key: value for key, value in ours.items() if not key.startswith("reader_")}
    assert ours == gos


@dataclass
class Event:
    time: int
    address: int
    size: int
    type: int
    link: int
    next_part: int
    proc: int
    kind: int
    noscan: int


KINDS = [
    f"{what}_{how}" for what in ("SPAN", "OBJECT", "STACK") for how in ("EXISTS", "ALLOC", "FREE")
]


def events(trace_file: Path, kind: str) -> list[tuple[int, Event]]:
    """Those of a kind, with their indices."""
    done = run(build("gotrace_test"), "events", trace_file)
    assert done.returncode == 0, done.stdout
    every = [Event(*map(int, line.split())) for line in done.stdout.splitlines()]
    return [(i, e) for i, e in enumerate(every) if e.kind == KINDS.index(kind)]
