"""Interleaved measurements and what is reported of them.

A case is one workload on several allocators. A round runs a short process of each, one after the
other; the ratio gomem / peer is taken inside the round, so that a CPU that changes its speed from
one second to the next changes both of its sides. Reported are the median of the rounds' ratios
and their quartiles, and the medians of the values themselves. The value of one process is the
median of its repetitions.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# A measurement of one round: returns a value in the case's unit.
Measure = Callable[[], float]


@dataclass(frozen=True)
class Target:
    """What a row must reach: a bound on the ratio, or on gomem's own value."""

    text: str
    ratio_at_most: float | None = None
    value_at_most: float | None = None
    value_at_least: float | None = None

    def met(self, value: float, ratio: float | None) -> bool:
        return (
            (self.ratio_at_most is None or (ratio is not None and ratio <= self.ratio_at_most))
            and (self.value_at_most is None or value <= self.value_at_most)
            and (self.value_at_least is None or value >= self.value_at_least)
        )


@dataclass(frozen=True)
class Row:
    """One workload, gomem against one peer. Values are medians, in ``unit``."""

    group: str
    name: str
    unit: str
    gomem: float
    peer: str | None
    """None: the row is about gomem's value alone."""
    peer_value: float | None
    ratio: float | None
    """Median over the rounds of gomem / peer."""
    spread: tuple[float, float] | None
    """Quartiles of the ratio; without a peer, of the value."""
    rounds: int
    target: str | None = None
    met: bool | None = None

    def to_json(self) -> dict[str, Any]:
        d = asdict(self)
        name, value = d.pop("peer"), d.pop("peer_value")
        d["peer"] = None if name is None else {"name": name, "value": value}
        return d

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> Row:
        peer = d.pop("peer") or {"name": None, "value": None}
        spread = d.pop("spread")
        return cls(**d, peer=peer["name"], peer_value=peer["value"],
                   spread=None if spread is None else (spread[0], spread[1]))  # fmt: skip


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The 25 and the 75 % point."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def program_measure(
    command: Sequence[str | Path], *, environment: dict[str, str] | None = None
) -> Measure:
    """Runs a program that prints a value a line: the median of them.

    Raises OSError with the program's message if it fails.
    """
    env = {**os.environ, **(environment or {})}

    def measure() -> float:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=env,
                              check=False)  # fmt: skip
        if done.returncode != 0:
            what = " ".join(map(str, command[1:]))
            message = done.stderr.strip() or f"it ended with status {done.returncode}"
            raise OSError(f"{Path(command[0]).name} {what}: {message}")
        values = list(map(float, done.stdout.split()))
        return statistics.median(values) if values else 0.0

    return measure


@dataclass
class Case:
    """One workload: how gomem does it and how the peers do."""

    group: str
    name: str
    gomem: Measure
    peers: dict[str, Measure]
    unit: str = "ns"
    targets: dict[str | None, Target] | None = None
    """By peer; None: for gomem's value."""
    heavy: bool = False
    """Takes long: measured in fewer rounds."""

    def run(self, rounds: int, progress: Callable[[], object] = lambda: None) -> list[Row]:
        """Measures and makes a row for each peer, or one row if there are none.

        Every round starts with another allocator, so that none always follows the same one.
        """
        measures: dict[str, Measure] = {"gomem": self.gomem, **self.peers}
        names = list(measures)
        values: dict[str, list[float]] = {name: [] for name in names}
        for i in range(rounds):
            first = i % len(names)
            for name in names[first:] + names[:first]:
                values[name].append(measures[name]())
                progress()
        return self._rows(values, rounds)

    def _rows(self, values: dict[str, list[float]], rounds: int) -> list[Row]:
        own = values.pop("gomem")
        value = statistics.median(own)
        targets = self.targets or {}
        rows = []
        for peer, theirs in values.items():
            if min(theirs) <= 0:
                raise ValueError(f"{peer} gives {min(theirs)}")
            ratios = [a / b for a, b in zip(own, theirs)]
            ratio = statistics.median(ratios)
            rows.append(Row(self.group, self.name, self.unit, value, peer,
                            statistics.median(theirs), ratio, quartiles(ratios), rounds,
                            *_judge(targets.get(peer), value, ratio)))  # fmt: skip
        if not rows or None in targets:
            rows.insert(0, Row(self.group, self.name, self.unit, value, None, None, None,
                               quartiles(own), rounds,
                               *_judge(targets.get(None), value, None)))  # fmt: skip
        return rows


def _judge(
    target: Target | None, value: float, ratio: float | None
) -> tuple[str | None, bool | None]:
    return (None, None) if target is None else (target.text, target.met(value, ratio))
