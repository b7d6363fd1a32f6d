"""The core without Python: it compiles with the compilers there are, links and runs."""

from __future__ import annotations

import shutil
import subprocess

import cdriver
import pytest
from rooms import CSRC, c_files, name

pytestmark = pytest.mark.core_alone

CLANG = cdriver.find_cc("clang", "clang-19", "clang-18", "clang-17", "clang-16")


@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_smoke(cc: str) -> None:
    compiler = CLANG if cc == "clang" else cc
    if compiler is None or shutil.which(compiler) is None:
        pytest.skip(f"{cc} is not installed")
    program = cdriver.build("smoke", "debug", cc=compiler)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "smoke: ok (debug, check level 1)" in done.stdout
    libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    assert "python" not in libraries.lower()


@pytest.mark.parametrize(
    "flags",
    [["-x", "c", "-std=c99", "-pedantic"], ["-x", "c++", "-std=c++11"]],
    ids=["C99", "C++11"],
)
def test_the_public_header_is_for_everybody(flags: list[str]) -> None:
    if "c++" in flags and shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    command = ["gcc", *flags, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"{CSRC}/gomem.h"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_headers_stand_alone() -> None:
    """Each compiles without anything included before it, twice without harm."""
    text = ""
    for path in c_files():
        room = name(path).partition("/")[0]
        if path.suffix == ".h" and room in ("base", *cdriver.CORE_ROOMS):
            text = f'#include "{name(path)}"\n' * 2
            done = subprocess.run(
                ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
                 f"-I{CSRC}", "-fsyntax-only", "-x", "c", "-"],
                input=text, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{name(path)}\n{done.stderr}"
    assert text
