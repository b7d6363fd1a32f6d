"""What tests of the public API share."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import gomem

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def python() -> Callable[..., str]:
    """Runs a program in a Python of its own, which must end well and in time; its output.

    For what could hang or crash, or needs an interpreter without numpy and pytest in it.
    """

    def run(program: str, timeout: float = 60, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def node() -> gomem.Type:
    """A struct with pointers to its like."""
    return gomem.struct("Node", left="*Node", right="*Node", value="int64")


@pytest.fixture
def closed(node: gomem.Type) -> gomem.Heap:
    heap = gomem.Heap(procs=1)
    heap.close()
    return heap
