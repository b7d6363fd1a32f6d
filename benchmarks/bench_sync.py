"""What do channels, select and goroutines cost, beside asyncio, trio, gevent and Go?

    python benchmarks/bench_sync.py [--quick] [--json PATH] [--only GROUP ...]
    python -m gomem bench sync [--quick] [--json PATH]

README.md says what is measured and how.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measuring
import reporting
from building import CHANNELS
from measuring import Figure, Figures, ManyFigures, Target, program_figures


def at_most(numerator: int, denominator: int, who: str) -> Target:
    text = f"<= {numerator}/{denominator} x {who}" if denominator > 1 else f"<= {who}"
    return Target(text, ratio_at_most=numerator / denominator)


PYTHON = (
    Figure("unbuffered", "hand-off without a buffer", "ns",
           {"asyncio": at_most(1, 8, "asyncio"), "trio": at_most(1, 12, "trio"),
            "gevent": at_most(1, 5, "gevent")}),
    Figure("buffered", "through a buffer of 100", "ns", {"asyncio": at_most(1, 3, "asyncio")}),
    Figure("go", "go, and its end", "ns",
           {"asyncio": at_most(1, 3, "asyncio"), None: Target("<= 2 us", value_at_most=2000)}),
    Figure("select", "select with 4 ready cases", "ns",
           {None: Target("<= 600 ns", value_at_most=600)}),
    Figure("threads", "hand-off between threads", "ns", {"threads": at_most(1, 5, "queue.Queue")}),
)  # fmt: skip
C = tuple(
    Figure(key, name, "ns", {"go": at_most(1, 1, "Go")})
    for key, name in (
        ("unbuffered", "hand-off without a buffer"),
        ("buffered", "through a buffer of 100"),
        ("uncontended", "a send or a receive that need not wait"),
        ("select", "select between two, and a send"),
        ("go", "go, and its end"),
    )
)


@dataclass(frozen=True)
class Effort:
    rounds: int
    python_items: int
    c_items: int


FULL = Effort(7, 100_000, 1_000_000)
QUICK = Effort(3, 20_000, 200_000)


class Bench(measuring.Bench[Effort]):
    """The cases, as far as there is somebody to compare with."""

    suite = CHANNELS
    groups = ("goroutines", "channels")
    full, quick = FULL, QUICK

    def loops(self, who: str) -> Figures:
        script = Path(__file__).with_name("sync_loops.py")
        return program_figures([sys.executable, script, who, str(self.effort.python_items)],
                               environment={"PYTHONPATH": str(self.programs.package)})  # fmt: skip

    def goroutines(self) -> Iterator[ManyFigures]:
        peers = {"asyncio": self.loops("asyncio"), "threads": self.loops("threads")}
        for who in ("trio", "gevent"):
            if importlib.util.find_spec(who) is None:
                self.notes.append(f"{who} is skipped: it is not installed (pip install {who})")
            else:
                peers[who] = self.loops(who)
        yield ManyFigures("goroutines", "", self.loops("gomem"), peers, PYTHON)

    def channels(self) -> Iterator[ManyFigures]:
        figures = {
            who: program_figures([path, str(self.effort.c_items)], environment={"GOMAXPROCS": "1"})
            for who, path in self.programs.paths.items()
        }
        yield ManyFigures("channels", "", figures.pop("gomem"), figures, C)


if __name__ == "__main__":
    sys.exit(
        reporting.command_line(
            "measure gomem's channels against asyncio's, Go's and others", "sync", Bench
        )
    )
