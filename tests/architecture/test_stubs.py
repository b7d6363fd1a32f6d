"""The package's stubs and annotations against what is there when it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rooms import ROOT

HERE = Path(__file__).parent


def test_stubs_match(tmp_path: Path) -> None:
    # Whether the package's own code is well typed is mypy's business, not this test's.
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nignore_errors = True\nignore_missing_imports = True\n")
    command = [
        sys.executable, "-m", "mypy.stubtest", "--concise", "--mypy-config-file", str(config),
        "--allowlist", str(HERE / "stubtest_allowlist.txt"), "--ignore-unused-allowlist",
        "gomem",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
