"""Compiles the C programs of tests/c against the core, with the flags of setup.py's profiles.

Objects are kept in build/c-<profile>/ and compiled again only when their source, a header they
include, or the flags changed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]


@functools.cache
def _setup() -> ModuleType:
    """setup.py as a module: the build table without the build."""
    spec = importlib.util.spec_from_file_location("gomem_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch("setuptools.setup"):
        spec.loader.exec_module(module)
    return module


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{done.stderr}")


def _compile(source: str, command: list[str], objects: Path) -> Path:
    is_current: Any = _setup().CachedBuildExt.is_current
    obj = objects / Path(source).with_suffix(".o")
    stamp = obj.with_suffix(".cmd")
    signature = hashlib.sha256(shlex.join(command).encode()).hexdigest()
    if not is_current(obj, stamp, signature):
        obj.parent.mkdir(parents=True, exist_ok=True)
        _run([*command, "-MMD", "-MF", str(obj.with_suffix(".d")), "-c", source, "-o", str(obj)])
        stamp.write_text(signature)
    return obj


@functools.cache
def build(name: str, profile: str = "check") -> Path:
    """The program tests/c/<name>.c, linked with the core built by `profile`."""
    setup = _setup()
    flags, link_flags, level = setup.PROFILES[profile]
    compiler = shlex.split(os.environ.get("CC", "gcc"))
    command = [*compiler, "-std=gnu11", "-pthread", *flags, "-I", "csrc",
               f"-DGOMEM_CHECK_LEVEL={level}", f'-DGOMEM_BUILD_PROFILE="{profile}"']  # fmt: skip
    objects = ROOT / "build" / f"c-{profile}"
    sources = [*setup.sources(*setup.CORE_ROOMS), f"tests/c/{name}.c"]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        compiled = list(pool.map(lambda source: _compile(source, command, objects), sources))
    program = objects / name
    newest = max(obj.stat().st_mtime_ns for obj in compiled)
    if not program.exists() or program.stat().st_mtime_ns < newest:
        _run([*compiler, "-pthread", *map(str, compiled), "-o", str(program), "-lm", *link_flags])
    return program
