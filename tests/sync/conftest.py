"""No test of this folder may hang, or find threads of others, which might wake whoever is asleep."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

import pytest

SECONDS = 60


KNOWN = threading.enumerate()  # of who runs the tests, if any beside the main one


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, also in what a shell runs in the background."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


@pytest.fixture(autouse=True)
def alone() -> None:
    """Threads that a test before has left behind are gone, or are found here."""
    until = time.monotonic() + 10
    while (
        left := [t for t in threading.enumerate() if t not in KNOWN]
    ) and time.monotonic() < until:
        time.sleep(0.01)
    assert left == []


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """An alarm ends the test where it waits, in a goroutine or not."""

    def late(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the test takes more than {SECONDS} seconds")

    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)
