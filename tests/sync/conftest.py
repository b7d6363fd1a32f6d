"""No test of this folder may hang."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

SECONDS = 60


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
