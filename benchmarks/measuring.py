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
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from building import Programs, Suite
from tqdm import tqdm

# A measurement of one round: returns a value in the case's unit.
Measure = Callable[[], float]
# The same of a workload that measures more than one thing: by their names.
Figures = Callable[[], dict[str, float]]
T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """What a row must reach: a bound on the ratio, or on gomem's own value."""

    text: str
    ratio_at_most: float | None = None
    ratio_at_least: float | None = None
    value_at_most: float | None = None
    value_at_least: float | None = None

    def met(self, value: float, ratio: float | None) -> bool:
        return (
            (self.ratio_at_most is None or (ratio is not None and ratio <= self.ratio_at_most))
            and (
                self.ratio_at_least is None or (ratio is not None and ratio >= self.ratio_at_least)
            )
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


def _output(command: Sequence[str | Path], environment: dict[str, str] | None) -> str:
    """What a program prints. Raises OSError with the program's message if it fails."""
    env = {**os.environ, **(environment or {})}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=env,
                          check=False)  # fmt: skip
    if done.returncode != 0:
        what = " ".join(map(str, command[1:]))
        message = done.stderr.strip() or f"it ended with status {done.returncode}"
        raise OSError(f"{Path(command[0]).name} {what}: {message}")
    return done.stdout


def program_measure(
    command: Sequence[str | Path], *, environment: dict[str, str] | None = None
) -> Measure:
    """Runs a program that prints a value a line: the median of them.

    Raises OSError with the program's message if it fails.
    """

    def measure() -> float:
        values = list(map(float, _output(command, environment).split()))
        return statistics.median(values) if values else 0.0

    return measure


def program_figures(
    command: Sequence[str | Path], *, environment: dict[str, str] | None = None
) -> Figures:
    """Runs a program that prints a figure a line, its name and its value. Raises as program_measure."""

    def measure() -> dict[str, float]:
        lines = (line.split() for line in _output(command, environment).splitlines())
        return {name: float(value) for name, value in lines}

    return measure


def interleaved(
    measures: dict[str, Callable[[], T]], rounds: int, progress: Callable[[], object]
) -> dict[str, list[T]]:
    """Every round starts with another one, so that none always follows the same one."""
    names = list(measures)
    values: dict[str, list[T]] = {name: [] for name in names}
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            values[name].append(measures[name]())
            progress()
    return values


@dataclass(frozen=True)
class Figure:
    """One of the things that a program measures at once."""

    key: str
    name: str
    unit: str
    targets: dict[str | None, Target] | None = None
    """By peer; None: for gomem's value."""


@dataclass
class Case:
    """One workload: how gomem does it and how the peers do."""

    group: str
    name: str
    gomem: Measure
    peers: dict[str, Measure]
    unit: str = "ns"
    targets: dict[str | None, Target] | None = None
    """As a figure's."""
    heavy: bool = False
    """Takes long: measured in fewer rounds."""

    def run(self, rounds: int, progress: Callable[[], object] = lambda: None) -> list[Row]:
        """Measures and makes a row for each peer, or one row if there are none."""
        values = interleaved({"gomem": self.gomem, **self.peers}, rounds, progress)
        return _rows(self.group, self.name, Figure("", "", self.unit, self.targets), values)


@dataclass
class ManyFigures:
    """One workload that measures several figures: as a case for each, with the peers that have it."""

    group: str
    name: str
    gomem: Figures
    peers: dict[str, Figures]
    figures: Sequence[Figure]
    same: str | None = None
    """A figure that must be the same for all."""
    heavy: bool = True

    def run(self, rounds: int, progress: Callable[[], object] = lambda: None) -> list[Row]:
        """Raises ValueError if what must be the same is not."""
        values = interleaved({"gomem": self.gomem, **self.peers}, rounds, progress)
        if self.same is not None:
            seen = {run.get(self.same) for runs in values.values() for run in runs}
            if len(seen) != 1:
                raise ValueError(f"{self.same} differ: {sorted(map(str, seen))}")
        rows = []
        for figure in self.figures:
            have = {who: [run[figure.key] for run in runs] for who, runs in values.items()
                    if all(figure.key in run for run in runs)}  # fmt: skip
            if "gomem" not in have:
                raise ValueError(f"gomem's program says nothing of {figure.key}")
            name = ": ".join(part for part in (self.name, figure.name) if part)
            rows += _rows(self.group, name, figure, have)
        return rows


def _rows(group: str, name: str, figure: Figure, values: dict[str, list[float]]) -> list[Row]:
    """Of what was measured, a value a round of everyone."""
    own = values.pop("gomem")
    value, rounds = statistics.median(own), len(own)
    targets = figure.targets or {}
    rows = []
    for peer, theirs in values.items():
        if min(theirs) <= 0:
            raise ValueError(f"{peer} gives {min(theirs)}")
        ratios = [a / b for a, b in zip(own, theirs)]
        ratio = statistics.median(ratios)
        rows.append(Row(group, name, figure.unit, value, peer, statistics.median(theirs), ratio,
                        quartiles(ratios), rounds,
                        *_judge(targets.get(peer), value, ratio)))  # fmt: skip
    if not rows or None in targets:
        rows.insert(0, Row(group, name, figure.unit, value, None, None, None, quartiles(own), rounds,
                           *_judge(targets.get(None), value, None)))  # fmt: skip
    return rows


def run_cases(
    cases: Sequence[Case | ManyFigures], rounds: int, heavy_rounds: int, notes: list[str]
) -> list[Row]:
    """Runs them with a bar on the terminal. One that fails leaves a note and no row."""
    rows: list[Row] = []
    each = [heavy_rounds if case.heavy else rounds for case in cases]
    total = sum(n * (1 + len(case.peers)) for n, case in zip(each, cases))
    with tqdm(total=total, unit="run", file=sys.stderr, leave=False, disable=None) as bar:
        for n, case in zip(each, cases):
            bar.set_description(f"{case.group}: {case.name}"[:40])
            try:
                rows += case.run(n, lambda: bar.update(1))
            except (OSError, ValueError) as e:
                notes.append(f"{case.name} failed: {e}")
    return rows


class Sized(Protocol):
    """How much is done."""

    @property
    def rounds(self) -> int: ...


E = TypeVar("E", bound=Sized)


class Bench(Generic[E]):
    """The cases of a topic, as far as their programs could be built: the method of a group gives its cases."""

    suite: ClassVar[Suite]
    groups: ClassVar[tuple[str, ...]]
    full: E
    quick: E

    def __init__(self, programs: Programs, effort: E) -> None:
        self.programs = programs
        self.effort = effort
        self.notes: list[str] = []

    @property
    def heavy_rounds(self) -> int:
        """Of what takes a second or more."""
        return self.effort.rounds

    def rows(self, groups: tuple[str, ...]) -> list[Row]:
        cases = [case for group in groups for case in getattr(self, group)()]
        return run_cases(cases, self.effort.rounds, self.heavy_rounds, self.notes)


def _judge(
    target: Target | None, value: float, ratio: float | None
) -> tuple[str | None, bool | None]:
    return (None, None) if target is None else (target.text, target.met(value, ratio))
