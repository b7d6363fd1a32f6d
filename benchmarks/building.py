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
    define: str = ""
    """What the program is compiled with, if it does not just call malloc."""


MALLOCS = (
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
BOEHM = Library("boehm", ("-lgc",), "libgc", "libgc-dev", "PEER_BOEHM")


@dataclass(frozen=True)
class Suite:
    """The programs of one benchmark: the same sources for gomem and each library, and one in Go."""

    name: str
    sources: tuple[str, ...]
    libraries: tuple[Library, ...]
    go: str
    """Its folder."""


ALLOCATORS = Suite(
    "alloc",
    ("main.c", "support.c", "one_thread.c", "objects.c", "threads.c", "replay.c"),
    MALLOCS,
    "go",
)
COLLECTORS = Suite(
    "gc",
    ("collected_main.c", "support.c", "collected_heap.c", "collected_tree.c", "collected_graph.c"),
    (BOEHM, MALLOCS[1]),
    "gocollected",
)
CHANNELS = Suite("sync", ("sync_main.c", "support.c"), (), "gosync")


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


def _build_gomem(suite: Suite, programs: Programs) -> None:
    archive = _build_core(programs)
    sources, headers = _program_files(suite)
    program = BUILD / f"{suite.name}-gomem-{_hash(CC, PROGRAM_FLAGS, archive, *sources, *headers)}"
    if not program.exists():
        done = _run([*CC, *PROGRAM_FLAGS, "-DPEER_GOMEM", "-I", str(ROOT / "csrc"),
                     *map(str, sources), str(archive), "-lm", "-o", str(program)])  # fmt: skip
        if done.returncode != 0:
            raise OSError(f"gomem's own program cannot be built: {_first_line(done.stderr)}")
    programs.paths["gomem"] = program
    programs.versions["gomem"] = _run([str(program), "who"]).stdout.split()[-1]


def _program_files(suite: Suite) -> tuple[list[Path], list[Path]]:
    folder = HERE / "peers"
    return [folder / name for name in suite.sources], sorted(folder.glob("*.h"))


def _link_library(suite: Suite, library: Library, argument: str, program: Path) -> str:
    """Links with one candidate; what went wrong, or nothing."""
    sources = list(map(str, _program_files(suite)[0]))
    link = ["-Wl,--no-as-needed", argument] if argument else []
    define = [f"-D{library.define}"] if library.define else []
    done = _run([*CC, *PROGRAM_FLAGS, *define, *sources, "-o", str(program), *link, "-ldl"])
    if done.returncode != 0:
        return "not found by the compiler or the linker"
    answer = _run([str(program), "who"])
    if answer.returncode != 0 or library.answers not in Path(answer.stdout.strip()).name:
        program.unlink()
        return f"malloc is not its own: {answer.stdout.strip() or 'the program does not start'}"
    return ""


def _build_library(suite: Suite, library: Library, programs: Programs) -> None:
    sources, headers = _program_files(suite)
    program = (
        BUILD
        / f"{suite.name}-{library.name}-{_hash(CC, PROGRAM_FLAGS, library, *sources, *headers)}"
    )
    reason = ""
    if not program.exists():
        for argument in library.candidates:
            reason = _link_library(suite, library, argument, program)
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


def _build_go(suite: Suite, programs: Programs) -> None:
    go = shutil.which("go")
    if go is None:
        programs.skipped.append("go is skipped: there is no go on PATH")
        return
    folder = HERE / "peers" / suite.go
    env = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
    version = _run([go, "env", "GOVERSION"], env=env, cwd=folder).stdout.strip()
    program = BUILD / f"{suite.name}-go-{_hash(version, *sorted(folder.iterdir()))}"
    if not program.exists():
        done = _run([go, "build", "-o", str(program), "."], env=env, cwd=folder)
        if done.returncode != 0:
            programs.skipped.append(f"go is skipped: {_first_line(done.stderr)}")
            return
    programs.paths["go"] = program
    programs.versions["go"] = version.removeprefix("go")


def build(suite: Suite) -> Programs:
    """Builds all that can be built. Raises OSError if gomem's own program cannot."""
    BUILD.mkdir(parents=True, exist_ok=True)
    programs = Programs()
    _build_gomem(suite, programs)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda library: _build_library(suite, library, programs), suite.libraries))
    programs.paths = {
        name: programs.paths[name]
        for name in ("gomem", *(library.name for library in suite.libraries))
        if name in programs.paths
    }
    _build_go(suite, programs)
    return programs
