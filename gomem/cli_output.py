"""Files that commands write: ``-`` is stdout, and what cannot be written is noticed before the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

STDOUT = "-"


def check(*paths: str | None) -> None:
    """Raises OSError if one of the files cannot be written, ValueError if two are to be stdout."""
    if paths.count(STDOUT) > 1:
        raise ValueError("only one file can be written to stdout")
    for path in paths:
        if path is not None and path != STDOUT:
            _check_file(Path(path))


def _check_file(file: Path) -> None:
    new = not file.exists()
    if not new and not file.is_file() and not file.is_dir():
        return  # a pipe can be opened once only
    with file.open("a"):
        pass
    if new:
        file.unlink()


def for_people(*paths: str | None) -> TextIO:
    """Where a command prints what people read: stderr if one of its files is stdout."""
    return sys.stderr if STDOUT in paths else sys.stdout


def write(path: str, text: str) -> None:
    """Writes a file, or to stdout."""
    if path == STDOUT:
        sys.stdout.write(text)
    else:
        Path(path).write_text(text)
