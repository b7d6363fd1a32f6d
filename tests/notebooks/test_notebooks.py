"""The notebooks of benchmarks/notebooks run from top to bottom, and their own assertions hold."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "benchmarks" / "notebooks").glob("*.ipynb"))

# Jupyter's own libraries warn of each other.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_there_are_some() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("Jupyter's own libraries are not for ASan")
    # A kernel of this Python, whatever kernels the user has; and no settings of the user's.
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    assert notebook.metadata["kernelspec"] == kernel
    assert all(not cell.get("outputs") for cell in notebook.cells), "stored without outputs"
    client = NotebookClient(notebook, timeout=300, kernel_name="python3")
    client.execute(cwd=str(ROOT))
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if {"image/svg+xml", "image/png", "text/html"} & set(output.get("data", {}))
    ]
    assert pictures, f"nothing was shown, with Python {sys.version}"
