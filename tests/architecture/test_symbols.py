"""What the built modules, and the core alone, show the linker: gomem_* and PyInit_* and no more."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cdriver
import pytest
from rooms import CSRC

import gomem
from gomem import _core, _testing

# What the toolchain adds to every shared object.
OF_THE_LINKER = {"_init", "_fini", "_edata", "_end", "__bss_start"}

INSTRUMENTED = gomem.build_info()["profile"] in ("asan", "ubsan", "tsan", "coverage")


def exported(library: Path) -> set[str]:
    out = subprocess.run(
        ["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True
    ).stdout
    return {line.split()[-1] for line in out.splitlines()} - OF_THE_LINKER


def declared() -> set[str]:
    """The functions of gomem.h."""
    header = re.sub(r"/\*.*?\*/", " ", (CSRC / "gomem.h").read_text(), flags=re.DOTALL)
    declarations = re.findall(r"GOMEM_API\b([^;{]*?)\(", header.partition("GOMEM_MUST_USE")[2])
    return {d.split()[-1].lstrip("*") for d in declarations}


@pytest.mark.skipif(INSTRUMENTED, reason="the build adds symbols of its own")
@pytest.mark.parametrize("module", [_core, _testing], ids=lambda m: m.__name__)
def test_modules(module: object) -> None:
    path = Path(module.__file__)  # type: ignore[attr-defined]
    symbols = exported(path)
    init = f"PyInit_{path.name.partition('.')[0]}"
    assert init in symbols
    strange = {s for s in symbols if not s.startswith("gomem_") and s != init}
    assert not strange


@pytest.mark.parametrize("profile", ["check", "release"])
def test_core_alone(profile: str, tmp_path: Path) -> None:
    """As a shared library the core exports what gomem.h declares, all of it and nothing else."""
    library = tmp_path / "libgomem.so"
    objects = cdriver.build_core(profile)
    subprocess.run(["gcc", "-shared", "-pthread", *objects, "-o", library, "-lm"], check=True)
    functions = declared()
    assert len(functions) > 60
    assert exported(library) == functions


def test_static_core() -> None:
    """In the objects themselves all else is hidden: it stays so in a static library."""
    for obj in cdriver.build_core():
        out = subprocess.run(
            ["readelf", "-sW", obj], check=True, capture_output=True, text=True
        ).stdout
        for line in out.splitlines():
            fields = line.split()
            if len(fields) != 8 or fields[4] not in ("GLOBAL", "WEAK") or fields[6] == "UND":
                continue
            if fields[5] == "DEFAULT":
                assert fields[7].startswith("gomem_"), f"{obj.name}: {fields[7]}"
