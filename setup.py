"""Builds gomem's extension modules from csrc/.

The build profile is chosen by GOMEM_BUILD (see PROFILES); objects are kept in build/<profile>/ and
compiled again only when their source, a header they include, or the flags changed.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"
CORE_ROOMS = [
    "platform", "heap", "sched", "gc", "object", "sync", "gotrace", "runtime", "replay",
]  # fmt: skip

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
SANITIZE = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]

# What GOMEM_BUILD can be: compiler flags, linker flags, level of asserts (csrc/base/check.h).
PROFILES: dict[str, tuple[list[str], list[str], int]] = {
    # For use: optimised, only the asserts that guard against corruption.
    "release": (["-O2"], [], 0),
    # For a debugger: readable code, asserts on the library's own rules, lock order checked.
    "debug": (["-Og", "-g", *WARNINGS], [], 1),
    # For tests: all asserts, walkers included.
    "check": (["-O1", "-g", *WARNINGS], [], 2),
    # For finding memory errors; run with LD_PRELOAD=libasan (see .ci/run).
    "asan": (
        [*SANITIZE, "-fsanitize=address,undefined", *WARNINGS],
        ["-fsanitize=address,undefined"],
        2,
    ),
    # For finding undefined behaviour alone.
    "ubsan": ([*SANITIZE, "-fsanitize=undefined", *WARNINGS], ["-fsanitize=undefined"], 2),
    # For finding data races in the C drivers of tests/c (CPython itself is not built for it).
    "tsan": ([*SANITIZE, "-fsanitize=thread", *WARNINGS], ["-fsanitize=thread"], 1),
    # For gcov.
    "coverage": (["-O0", "-g", "--coverage", *WARNINGS], ["--coverage"], 1),
}


def profile() -> str:
    name = os.environ.get("GOMEM_BUILD", "release")
    if name not in PROFILES:
        raise SystemExit(f"GOMEM_BUILD must be one of {', '.join(PROFILES)}, not {name!r}")
    return name


def greenlet_include() -> str:
    """Where greenlet/greenlet.h is: beside the package."""
    import greenlet

    return str(Path(greenlet.__file__).resolve().parent.parent)


def sources(*rooms: str) -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for room in rooms for p in (CSRC / room).glob("*.c"))


def compile_command(cc: list[str], profile: str, std: str = "gnu11") -> list[str]:
    """The command that compiles a file of csrc/, from ROOT, but for the file's name."""
    flags, _, level = PROFILES[profile]
    return [
        *cc, f"-std={std}", "-fPIC", "-fvisibility=hidden", "-pthread", *flags,
        f"-DGOMEM_CHECK_LEVEL={level}", f'-DGOMEM_BUILD_PROFILE="{profile}"', "-Icsrc",
    ]  # fmt: skip


def is_current(obj: Path, signature: str) -> bool:
    """Was the object made by that command, and from files that have not changed since?"""
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


def compile_file(source: str, objects: Path, command: list[str]) -> Path:
    """The object of a source file, which is compiled if the one in the folder is not current."""
    obj = objects / Path(source).with_suffix(".o")
    signature = hashlib.sha256(" ".join(command).encode()).hexdigest()
    if is_current(obj, signature):
        return obj
    obj.parent.mkdir(parents=True, exist_ok=True)
    # Made under another name, so that two processes at once do no harm.
    new = obj.with_name(f"{obj.stem}.{os.getpid()}.new.o")
    depfile = new.with_suffix(".d")
    subprocess.run([*command, "-MMD", "-MF", str(depfile), "-c", source, "-o", str(new)],
                   check=True, cwd=ROOT)  # fmt: skip
    depfile.replace(obj.with_suffix(".d"))
    obj.with_suffix(".cmd").write_text(signature)
    new.replace(obj)
    return obj


class CachedBuildExt(build_ext):
    """build_ext that compiles each file once for all extensions, in parallel, when it must."""

    def build_extensions(self) -> None:
        self.cc = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        every = sorted({s for ext in self.extensions for s in ext.sources})
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            self.objects = dict(zip(every, pool.map(self.compile_source, every)))
        for ext in self.extensions:
            self.link_extension(ext)

    def compile_source(self, source: str) -> Path:
        command = compile_command(self.cc, profile()) + shlex.split(os.environ.get("CFLAGS", ""))
        if source.startswith(("csrc/python", "csrc/testing")):
            command += ["-I", sysconfig.get_path("include"), "-isystem", greenlet_include()]
        if source.startswith("csrc/python") and profile() == "asan":
            # Greenlets copy the stack, functions of the binding included: it has no red zones there.
            command += ["--param", "asan-stack=0"]
        objects = ROOT / "build" / f"{profile()}-{sysconfig.get_config_var('SOABI')}"
        return compile_file(source, objects, command)

    def link_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        objects = [str(self.objects[s]) for s in ext.sources]
        _, link_flags, _ = PROFILES[profile()]
        subprocess.run([*self.cc, "-shared", "-pthread", *objects, "-o", str(target), "-lm",
                        *link_flags, *shlex.split(os.environ.get("LDFLAGS", ""))],
                       check=True, cwd=ROOT)  # fmt: skip


if __name__ == "__main__":  # tests and benchmarks import this file for what is above
    if sys.platform != "linux":
        raise SystemExit("gomem runs on Linux only: its memory comes from mmap, madvise and futex")
    setup(
        ext_modules=[
            Extension("gomem._core", sources(*CORE_ROOMS, "python")),
            Extension("gomem._testing", sources(*CORE_ROOMS, "testing")),
        ],
        cmdclass={"build_ext": CachedBuildExt},
    )
