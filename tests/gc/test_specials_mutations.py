"""Each piece of finalizers, cleanups and weak pointers left out of a test build: the programs notice.

csrc/base/mutate.h lists what can be left out.
"""

from __future__ import annotations

import re
import subprocess

import cdriver
import pytest

pytestmark = pytest.mark.core_alone

MUTATIONS = re.findall(
    r"^    MUTATE_(SPECIALS_\w+),", (cdriver.CSRC / "base" / "mutate.h").read_text(), re.MULTILINE
)

PROGRAMS: list[tuple[str, tuple[str, ...]]] = [
    ("finalizer_cases", ()),
    ("specials_stress", ("3", "20000", "1")),
]

# What threads do depends on the moment: they have some tries at it.
TRIES = 30


def failure(name: str, args: tuple[str, ...], mutation: str | None) -> str | None:
    """What a program says when it fails."""
    program = cdriver.build(name, mutation=mutation)
    try:
        done = subprocess.run(
            [program, *args], capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        return "it does not end"
    return None if done.returncode == 0 else done.stderr or f"status {done.returncode}"


def test_the_list_is_read() -> None:
    assert {"SPECIALS_KEEP_WEAK", "SPECIALS_NO_MARKING"} <= set(MUTATIONS)
    used = "".join(p.read_text() for p in cdriver.core_sources())
    assert [name for name in MUTATIONS if f"MUTATED({name})" not in used] == []


@pytest.mark.parametrize(("name", "args"), PROGRAMS)
def test_nothing_left_out(name: str, args: tuple[str, ...]) -> None:
    assert failure(name, args, None) is None


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_left_out(mutation: str) -> None:
    for _ in range(TRIES):
        for name, args in PROGRAMS:
            if failure(name, args, mutation) is not None:
                return
    pytest.fail(f"nobody notices {mutation}")
