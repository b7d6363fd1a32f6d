"""Compiles the C programs of tests/c with the library's core, without Python.

    program = cdriver.build("stress_heap", "tsan")
    subprocess.run([program, "4", "2"], check=True)

As a command it compiles one and runs it: ``python tests/cdriver.py gc_test tsan 4 400 100000``.

How is setup.py's business: its profiles, and objects that are compiled again only when they must be,
under build/cdriver/<profile>/.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"


def _load_setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gomem_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_setup = _load_setup()
CORE_ROOMS: list[str] = _setup.CORE_ROOMS
"""The rooms of csrc/ that make up the core."""


def core_sources() -> list[Path]:
    return [ROOT / source for source in _setup.sources(*CORE_ROOMS)]


def default_cc() -> str:
    return os.environ.get("CC") or "gcc"


def find_cc(*names: str) -> str | None:
    """The first of these compilers that is installed."""
    return next((name for name in names if shutil.which(name)), None)


def _includes(obj: Path, header: str) -> bool:
    return any(name.endswith(header) for name in obj.with_suffix(".d").read_text().split())


def _compile_all(
    sources: list[str], profile: str, cc: str, std: str, mutation: str | None = None
) -> list[Path]:
    """The objects; the folder they are in tells all that differs.

    A mutation (csrc/base/mutate.h) compiles those once more that it may change.
    """
    plain = cc == default_cc() and std == "gnu11"
    where = profile if plain else f"{profile}-{Path(cc).name}-{std}"
    objects = ROOT / "build" / "cdriver" / where
    command = _setup.compile_command(cc.split(), profile, std)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        made = list(pool.map(lambda s: _setup.compile_file(s, objects, command), sources))
        if mutation is None:
            return made
        again = [s for s, obj in zip(sources, made) if _includes(obj, "base/mutate.h")]
        mutated = objects.with_name(f"{where}-{mutation}")
        command = [*command, f"-DGOMEM_MUTATE={mutation}"]
        compiled = pool.map(lambda s: _setup.compile_file(s, mutated, command), again)
        replaced = dict(zip(again, compiled))
        return [replaced.get(s, obj) for s, obj in zip(sources, made)]


def build_core(profile: str = "check", *, cc: str | None = None, std: str = "gnu11") -> list[Path]:
    """Compiles the core rooms; the object files."""
    return _compile_all(_setup.sources(*CORE_ROOMS), profile, cc or default_cc(), std)


def build(
    name: str,
    profile: str = "check",
    *,
    cc: str | None = None,
    std: str = "gnu11",
    mutation: str | None = None,
) -> Path:
    """Compiles tests/c/<name>.c with the core; the program."""
    cc = cc or default_cc()
    *core, main = _compile_all(
        [*_setup.sources(*CORE_ROOMS), f"tests/c/{name}.c"], profile, cc, std, mutation
    )
    program = main.parents[2] / (name if mutation is None else f"{name}-{mutation}")
    newest = max(obj.stat().st_mtime_ns for obj in (*core, main))
    if not program.exists() or program.stat().st_mtime_ns < newest:
        new = program.with_name(f"{name}.{os.getpid()}.new")
        _, link_flags, _ = _setup.PROFILES[profile]
        subprocess.run([*cc.split(), "-pthread", *link_flags, *core, main, "-o", new, "-lm"],
                       check=True)  # fmt: skip
        new.replace(program)
    return program


if __name__ == "__main__":
    os.execv(program := build(*sys.argv[1:3]), [str(program), *sys.argv[3:]])
