"""What the tests of the trace reader share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cdriver import ROOT
from tracedriver import execute


@pytest.fixture
def trace_file(tmp_path: Path) -> Path:
    return tmp_path / "test.trace"


@pytest.fixture(scope="session")
def go_reader(tmp_path_factory: pytest.TempPathFactory) -> Path | str:
    """Go's reader, built with the toolchain on PATH; or why there is none."""
    go = shutil.which("go")
    if go is None:
        return "Go is not installed: there is no trace to record, nor a reader to compare with"
    version = execute(go, "env", "GOVERSION").stdout.strip()
    if not version.startswith("go1.26"):
        return f"{version} is installed, the reader to compare with is of go1.26"
    program = tmp_path_factory.mktemp("reference") / "reference"
    subprocess.run([ROOT / "tools/gotrace_golden.sh", "-o", program], check=True)
    return program


@pytest.fixture
def reference(go_reader: Path | str) -> Path:
    """The same, for tests that are nothing without it."""
    if isinstance(go_reader, str):
        pytest.skip(go_reader)
    return go_reader
