"""Compiles the C programs of tests/c with the library's core, without Python.

    program = cdriver.build("stress_heap", "tsan")
    subprocess.run([program, "4", "2"], check=True)

The flags are those of setup.py's PROFILES. Objects are kept under build/cdriver/<profile>/ and are
compiled again only when their source, a header they include, or the command changed.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"


@functools.cache
def _setup_constants() -> dict[str, Any]:
    """The tables of setup.py, which cannot be imported without building something."""
    wanted = {"WARNINGS", "SANITIZE", "PROFILES", "CORE_ROOMS"}
    names: dict[str, Any] = {}
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets, node.annotation = [node.target], ast.Constant(None)
        if any(isinstance(t, ast.Name) and t.id in wanted for t in targets):
            module = ast.fix_missing_locations(ast.Module([node], []))
            exec(compile(module, "setup.py", "exec"), names)
    return {name: names[name] for name in wanted}


def core_rooms() -> list[str]:
    """The rooms of csrc/ that make up the core."""
    return list(_setup_constants()["CORE_ROOMS"])


def core_sources() -> list[Path]:
    return sorted(p for room in core_rooms() for p in (CSRC / room).glob("*.c"))


def default_cc() -> str:
    return os.environ.get("CC") or "gcc"


def find_cc(*names: str) -> str | None:
    """The first of these compilers that is installed."""
    return next((name for name in names if shutil.which(name)), None)


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def _is_current(obj: Path, signature: str) -> bool:
    stamp, depfile = obj.with_suffix(".cmd"), obj.with_suffix(".d")
    if not (obj.exists() and stamp.exists() and depfile.exists()):
        return False
    if stamp.read_text() != signature:
        return False
    _, _, names = depfile.read_text().replace("\\\n", " ").partition(":")
    made = obj.stat().st_mtime_ns
    try:
        return all((ROOT / name).stat().st_mtime_ns <= made for name in names.split())
    except FileNotFoundError:
        return False


def _compile(source: Path, objects: Path, command: list[str]) -> Path:
    obj = objects / source.relative_to(ROOT).with_suffix(".o")
    signature = hashlib.sha256(" ".join(command).encode()).hexdigest()
    if _is_current(obj, signature):
        return obj
    obj.parent.mkdir(parents=True, exist_ok=True)
    # Made under another name, so that two test processes at once do no harm.
    new = obj.with_name(f"{obj.stem}.{os.getpid()}.new.o")
    depfile = new.with_suffix(".d")
    _run([*command, "-MMD", "-MF", depfile, "-c", source.relative_to(ROOT), "-o", new])
    depfile.replace(obj.with_suffix(".d"))
    obj.with_suffix(".cmd").write_text(signature)
    new.replace(obj)
    return obj


def _compile_all(
    sources: Sequence[Path], profile: str, cc: str | None, std: str
) -> tuple[list[Path], Path, list[str]]:
    """The objects, the folder they are in, and the command they are to be linked with."""
    compile_flags, link_flags, level = _setup_constants()["PROFILES"][profile]
    cc = cc or default_cc()
    plain = cc == default_cc() and std == "gnu11"
    where = profile if plain else f"{profile}-{Path(cc).name}-{std}"
    objects = ROOT / "build" / "cdriver" / where
    command = [
        *cc.split(), f"-std={std}", "-fPIC", "-fvisibility=hidden", "-pthread", *compile_flags,
        f"-DGOMEM_CHECK_LEVEL={level}", f'-DGOMEM_BUILD_PROFILE="{profile}"', "-Icsrc",
    ]  # fmt: skip
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        made = list(pool.map(lambda s: _compile(s, objects, command), sources))
    return made, objects, [*cc.split(), "-pthread", *link_flags]


def build_core(profile: str = "check", *, cc: str | None = None, std: str = "gnu11") -> list[Path]:
    """Compiles the core rooms; the object files."""
    return _compile_all(core_sources(), profile, cc, std)[0]


def build(name: str, profile: str = "check", *, cc: str | None = None, std: str = "gnu11") -> Path:
    """Compiles tests/c/<name>.c with the core; the program."""
    source = ROOT / "tests" / "c" / f"{name}.c"
    made, objects, link = _compile_all([*core_sources(), source], profile, cc, std)
    program = objects / name
    newest = max(obj.stat().st_mtime_ns for obj in made)
    if not program.exists() or program.stat().st_mtime_ns < newest:
        new = objects / f"{name}.{os.getpid()}.new"
        _run([*link, *made, "-o", new, "-lm"])
        new.replace(program)
    return program
