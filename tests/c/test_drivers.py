"""The C programs of this folder, in builds that look for different kinds of mistakes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import cdriver
import pytest

pytestmark = pytest.mark.core_alone

PROFILES = ["check", "asan", "tsan"]

# What the sanitizers are told: end at the first report, with a status of their own.
ENVIRONMENT = os.environ | {
    "ASAN_OPTIONS": "exitcode=99:detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "exitcode=99:halt_on_error=1",
}


def run(program: Path, *args: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *args],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def succeeds(program: Path, *args: str) -> str:
    done = run(program, *args)
    assert done.returncode == 0, f"{program.name} {' '.join(args)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("profile", PROFILES)
def test_smoke(profile: str) -> None:
    assert "smoke: ok" in succeeds(cdriver.build("smoke", profile))


@pytest.mark.parametrize("profile", PROFILES)
def test_ownership(profile: str) -> None:
    succeeds(cdriver.build("ownership_test", profile))


# threads, rounds, operations a round, seed, and max_memory if it is to be scarce.
STRESS: dict[str, list[tuple[str, ...]]] = {
    "check": [("4", "6", "8000", "1"), ("3", "4", "8000", "2", str(40 << 20)), ("1", "3", "8000", "3")],
    "asan": [("4", "3", "4000", "4")],
    "tsan": [("4", "2", "1500", "5")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "args"), [(profile, args) for profile, runs in STRESS.items() for args in runs]
)
def test_stress_heap(profile: str, args: tuple[str, ...]) -> None:
    assert "stress_heap:" in succeeds(cdriver.build("stress_heap", profile), *args)


# threads, rounds
GOROUTINES = {"check": ("4", "20000"), "asan": ("3", "8000"), "tsan": ("4", "6000")}


@pytest.mark.parametrize("profile", PROFILES)
def test_goroutines(profile: str) -> None:
    program = cdriver.build("goroutine_test", profile)
    assert "goroutine_test: ok" in succeeds(program, *GOROUTINES[profile])


# --- The lock order checker ---


def wrong_cases() -> list[str]:
    """The program's list; read from the source so that collecting tests compiles nothing."""
    source = (Path(__file__).parent / "lock_rank.c").read_text()
    lines = [line.strip() for line in source.splitlines()]
    return [line.split('"')[1] for line in lines if line.endswith("false},")]


@pytest.mark.parametrize("profile", PROFILES)
def test_locks_used_rightly(profile: str) -> None:
    listed = succeeds(cdriver.build("lock_rank", profile)).split()
    assert listed == wrong_cases() and len(listed) >= 9


@pytest.mark.parametrize("case", wrong_cases())
def test_locks_used_wrongly(case: str) -> None:
    done = run(cdriver.build("lock_rank"), case)
    assert done.returncode < 0, f"{case} went unnoticed"
    wanted = {
        "not_held": "releasing RUNTIME, which this thread does not hold",
        "released_twice": "releasing MHEAP, which this thread does not hold",
        "asserting_not_held": "check failed",
        "spin_after_lock": "taking SPAN while holding MHEAP",
        "out_of_order": "taking RUNTIME while holding MHEAP",
    }
    assert wanted.get(case, "lock order violated") in done.stderr


def test_release_builds_do_not_check() -> None:
    """The checker costs nothing where it is off: wrong order goes through."""
    assert run(cdriver.build("lock_rank", "release"), "out_of_order").returncode == 0


# threads, rounds, operations, seed
COLLECTOR: dict[str, tuple[str, ...]] = {
    "check": ("3", "4", "60000", "1"),
    "asan": ("4", "2", "30000", "2"),
    "tsan": ("4", "2", "15000", "3"),
}


@pytest.mark.parametrize("marker", ["span", "avx2", "portable", "object"])
@pytest.mark.parametrize("profile", PROFILES)
def test_collector(profile: str, marker: str) -> None:
    program = cdriver.build("gc_test", profile)
    assert "objects at the end" in succeeds(program, *COLLECTOR[profile], marker)


@pytest.mark.parametrize("profile", ["check", "asan"])
def test_collector_cases(profile: str) -> None:
    assert "gc_cases: ok" in succeeds(cdriver.build("gc_cases", profile))


# First and last seed. tests/gc has more, and what they find when pieces of the collector are missing.
STEPS = {"check": ("1000", "1030"), "asan": ("2000", "2020"), "tsan": ("3000", "3008")}


@pytest.mark.parametrize("profile", PROFILES)
def test_collector_in_steps(profile: str) -> None:
    assert "gc_steps: ok" in succeeds(cdriver.build("gc_steps", profile), "seeds", *STEPS[profile])


# threads, operations, seed
SPECIALS: dict[str, tuple[str, ...]] = {
    "check": ("3", "60000", "1"),
    "asan": ("3", "30000", "2"),
    "tsan": ("3", "30000", "3"),
}


@pytest.mark.parametrize("profile", PROFILES)
def test_specials_under_threads(profile: str) -> None:
    """Finalizers, cleanups, weak pointers. Ten minutes of it: 4 threads, 20000000 operations, tsan."""
    done = succeeds(cdriver.build("specials_stress", profile), *SPECIALS[profile])
    assert "specials_stress:" in done


@pytest.mark.parametrize("profile", PROFILES)
def test_finalizer_cases(profile: str) -> None:
    assert "finalizer_cases: ok" in succeeds(cdriver.build("finalizer_cases", profile))


# threads, operations, seed
VALUES: dict[str, tuple[str, ...]] = {
    "check": ("4", "60000", "1"),
    "asan": ("4", "15000", "3"),
    "tsan": ("4", "15000", "5"),
}


@pytest.mark.parametrize("profile", PROFILES)
def test_values_under_threads(profile: str) -> None:
    """Slices, maps, strings, builders, pools. Ten minutes: 4 threads, 4000000 operations, tsan."""
    assert "values_stress:" in succeeds(cdriver.build("values_stress", profile), *VALUES[profile])


def test_values_without_the_barrier() -> None:
    """What is moved between values and variables is lost."""
    program = cdriver.build("values_stress", "check", mutation="NO_DELETION_BARRIER")
    done = run(program, "4", "60000", "1")
    assert done.returncode < 0 and "white" in done.stderr
