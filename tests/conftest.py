"""Every test ends with a look at what it left behind."""

from __future__ import annotations

import faulthandler
import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import gomem.heap

faulthandler.enable()

settings.register_profile(
    "ci",
    deadline=None,
    max_examples=60,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("long", settings.get_profile("ci"), max_examples=3000,
                          stateful_step_count=400)  # fmt: skip
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def heaps_are_sound() -> Iterator[None]:
    """Heaps that are still open after a test are verified, and none survives it for long."""
    yield
    still_open = [heap for heap in gomem.heap._heaps if not heap.closed]
    for heap in still_open:
        heap.verify()
    if still_open:
        still_open.clear()
        gc.collect()


@pytest.fixture
def heap() -> Iterator[gomem.Heap]:
    """A heap with one P."""
    with gomem.Heap(procs=1) as h:
        yield h
        h.verify()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--operations",
        type=int,
        default=1_000_000,
        help="how many allocations and frees tests/property/test_million.py makes",
    )
    parser.addoption("--seed", type=int, default=1, help="what they are drawn from")


@pytest.fixture
def operations(request: pytest.FixtureRequest) -> int:
    value: int = request.config.getoption("--operations")
    return value


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    value: int = request.config.getoption("--seed")
    return value
