"""Each piece of the collector left out of a test build: the checks notice.

The program is tests/c/gc_steps.c; csrc/base/mutate.h lists what can be left out.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cdriver
import pytest

pytestmark = pytest.mark.core_alone

SEEDS = range(1, 161, 20)

MUTATIONS = re.findall(
    r"^    MUTATE_(NO_\w+),",
    (cdriver.ROOT / "csrc" / "base" / "mutate.h").read_text(),
    re.MULTILINE,
)

# What is said of it: at a look in some phase, at the end of marking, or when an object is gone or stays.
NOTICED = re.compile(
    r"verify: collector: |check failed: .*, which is white|check failed: span |lost: |floating: "
)


def run(program: Path, first: int) -> subprocess.CompletedProcess[str]:
    seeds = [str(first), str(first + SEEDS.step - 1)]
    return subprocess.run(
        [program, "seeds", *seeds], capture_output=True, text=True, check=False, timeout=120
    )


def test_the_list_is_read() -> None:
    assert {"NO_DELETION_BARRIER", "NO_INSERTION_BARRIER", "NO_FRAME_RESCAN"} <= set(MUTATIONS)
    used = "".join(p.read_text() for p in (cdriver.ROOT / "csrc").rglob("*.[ch]"))
    assert [name for name in MUTATIONS if f"MUTATED({name})" not in used] == []


def test_nothing_left_out() -> None:
    program = cdriver.build("gc_steps")
    for first in SEEDS:
        done = run(program, first)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_left_out(mutation: str) -> None:
    program = cdriver.build("gc_steps", mutation=mutation)
    for first in SEEDS:
        done = run(program, first)
        if done.returncode != 0:
            assert NOTICED.search(done.stderr), done.stderr
            return
    pytest.fail(f"nobody notices {mutation}")
