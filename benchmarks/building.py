"""Finds the peers and compiles the programs of peers/ against them.

Programs are kept in build/bench/ under the hash of what they were made from, so that only what
changed is compiled again.
"""

from __future__ import annotations

import hashlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / "build" / "bench"
CC = shlex.split(os.environ.get("CC", "cc"))

# Without builtins the compiler cannot pair off a malloc with its free; without the PLT a call into
# a peer's shared library is one indirect call.
PROGRAM_FLAGS = ["-std=gnu11", "-O2", "-fno-builtin", "-fno-plt", "-pthread"]
PROGRAM_SOURCES = ("main.c", "one_thread.c", "objects.c", "threads.c", "replay.c")


@dataclass(frozen=True)
class Library:
    """A peer for malloc and free: how to link with it."""

    name: str
    candidates: tuple[str, ...]
    """Linker arguments, tried in turn; the peer answers for malloc or it is not there."""
    answers: str
    """What the file name of the library that has malloc must contain."""
    package: str
    """Debian's."""


LIBRARIES = (
    Library("glibc", ("",), "libc", "libc6-dev"),
    Library("mimalloc", ("-l:libmimalloc.so.2", "-lmimalloc"), "mimalloc", "libmimalloc-dev"),
    Library("jemalloc", ("-l:libjemalloc.so.2", "-ljemalloc"), "jemalloc", "libjemalloc-dev"),
    Library(
        "tcmalloc",
        ("-l:libtcmalloc_minimal.so.4", "-ltcmalloc_minimal"),
        "tcmalloc",
        "libgoogle-perftools-dev",
    ),
)


@dataclass
class Programs:
    """What was built: name of the allocator -> program. ``skipped`` says why others are missing."""

    paths: dict[str, Path] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    package: Path = BUILD
    """Where the package is, built for release."""


def _run(
    command: list[str], env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=cwd)


def _hash(*parts: object) -> str:
    h = hashlib.sha256()
    for part in parts:
        h.update(part.read_bytes() if isinstance(part, Path) else str(part).encode())
        h.update(b"\0")
    return h.hexdigest()[:16]


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no message")


def _first_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else "no message")


def _build_core(programs: Programs) -> Path:
    """An archive of the core's objects, made by setup.py itself: the same flags as when installed.

    Beside it is the package with its extensions, for the rows about Python.
    """
    headers = sorted((ROOT / "csrc").rglob("*.h"))
    sources = sorted((ROOT / "csrc").rglob("*.c"))
    python = sorted((ROOT / "gomem").rglob("*.py"))
    folder = BUILD / f"core-{_hash(CC, ROOT / 'setup.py', *headers, *sources, *python)}"
    archive = folder / "libgomem.a"
    programs.package = folder / "lib"
    if archive.exists():
        return archive
    # What the caller adds to the flags, LTO for instance, would not be what is installed.
    env = {k: v for k, v in os.environ.items() if k not in ("CFLAGS", "LDFLAGS")}
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(folder / "base"),
               "--build-lib", str(folder / "lib")]  # fmt: skip
    done = _run(command, env={**env, "GOMEM_BUILD": "release"}, cwd=ROOT)
    if done.returncode != 0:
        raise OSError(f"setup.py cannot build gomem: {_last_line(done.stderr)}")
    objects_root = ROOT / "build" / f"release-{sysconfig.get_config_var('SOABI')}" / "csrc"
    rooms = runpy.run_path(str(ROOT / "setup.py"))["CORE_ROOMS"]
    objects = [str(objects_root / room / f"{source.stem}.o")
               for room in rooms for source in sorted((ROOT / "csrc" / room).glob("*.c"))]  # fmt: skip
    subprocess.run(["ar", "rcs", str(archive), *objects], check=True)
    return archive


def _build_gomem(programs: Programs) -> None:
    archive = _build_core(programs)
    sources, headers = _program_files()
    program = BUILD / f"gomem-{_hash(CC, PROGRAM_FLAGS, archive, *sources, *headers)}"
    if not program.exists():
        done = _run([*CC, *PROGRAM_FLAGS, "-DPEER_GOMEM", "-I", str(ROOT / "csrc"),
                     *map(str, sources), str(archive), "-lm", "-o", str(program)])  # fmt: skip
        if done.returncode != 0:
            raise OSError(f"gomem's own program cannot be built: {_first_line(done.stderr)}")
    programs.paths["gomem"] = program
    programs.versions["gomem"] = _run([str(program), "who"]).stdout.split()[-1]


def _program_files() -> tuple[list[Path], list[Path]]:
    folder = HERE / "peers"
    return [folder / name for name in PROGRAM_SOURCES], sorted(folder.glob("*.h"))


def _link_library(library: Library, argument: str, program: Path) -> str:
    """Links with one candidate; what went wrong, or nothing."""
    sources = list(map(str, _program_files()[0]))
    link = ["-Wl,--no-as-needed", argument] if argument else []
    done = _run([*CC, *PROGRAM_FLAGS, *sources, "-o", str(program), *link, "-ldl"])
    if done.returncode != 0:
        return "not found by the linker"
    answer = _run([str(program), "who"])
    if answer.returncode != 0 or library.answers not in Path(answer.stdout.strip()).name:
        program.unlink()
        return f"malloc is not its own: {answer.stdout.strip() or 'the program does not start'}"
    return ""


def _build_library(library: Library, programs: Programs) -> None:
    sources, headers = _program_files()
    program = BUILD / f"{library.name}-{_hash(CC, PROGRAM_FLAGS, library, *sources, *headers)}"
    reason = ""
    if not program.exists():
        for argument in library.candidates:
            reason = _link_library(library, argument, program)
            if not reason:
                break
    if reason:
        programs.skipped.append(f"{library.name} is skipped: {reason} ({library.package})")
        return
    programs.paths[library.name] = program
    file = Path(_run([str(program), "who"]).stdout.strip())
    programs.versions[library.name] = _library_version(library.name, file)


def _library_version(name: str, file: Path) -> str:
    """A version number: glibc's from the system, others' from their package or their file name."""
    if name == "glibc":
        return os.confstr("CS_GNU_LIBC_VERSION") or "glibc"
    if shutil.which("dpkg-query"):
        for path in (file, file.resolve(), Path("/usr") / str(file).lstrip("/")):
            owner = _run(["dpkg-query", "-S", str(path)]).stdout.partition(": ")[0]
            if owner:
                return _run(["dpkg-query", "-W", "-f", "${Version}", owner]).stdout
    match = re.search(r"\.so\.([\d.]+)", file.resolve().name)
    return match[1] if match else "unknown"


def _build_go(programs: Programs) -> None:
    go = shutil.which("go")
    if go is None:
        programs.skipped.append("go is skipped: there is no go on PATH")
        return
    folder = HERE / "peers" / "go"
    env = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    version = _run([go, "env", "GOVERSION"], env=env, cwd=folder).stdout.strip()
    program = BUILD / f"go-{_hash(version, folder / 'main.go', folder / 'go.mod')}"
    if not program.exists():
        done = _run([go, "build", "-o", str(program), "."], env=env, cwd=folder)
        if done.returncode != 0:
            programs.skipped.append(f"go is skipped: {_first_line(done.stderr)}")
            return
    programs.paths["go"] = program
    programs.versions["go"] = version.removeprefix("go")


def build() -> Programs:
    """Builds all that can be built. Raises OSError if gomem's own program cannot."""
    BUILD.mkdir(parents=True, exist_ok=True)
    programs = Programs()
    _build_gomem(programs)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda library: _build_library(library, programs), LIBRARIES))
    programs.paths = {
        name: programs.paths[name]
        for name in ("gomem", *(library.name for library in LIBRARIES))
        if name in programs.paths
    }
    _build_go(programs)
    return programs
