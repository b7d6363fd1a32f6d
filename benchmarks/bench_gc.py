"""What does the collector cost, beside Go's and Boehm's, and beside malloc and free?

    python benchmarks/bench_gc.py [--quick] [--json PATH] [--only GROUP ...]
    python benchmarks/bench_gc.py --markdown JSON ...    # figures of a run into README.md
    python -m gomem bench gc [--quick] [--json PATH]

README.md says what is measured and how.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measuring
import reporting
from building import COLLECTORS
from measuring import Case, Figure, Figures, ManyFigures, Target, program_figures

TREE_WALL = {"go": Target("<= 0.45 x Go", ratio_at_most=0.45),
             "boehm": Target("<= 0.5 x Boehm", ratio_at_most=0.5)}  # fmt: skip
TREE_CPU = Target("<= 0.5 x Go", ratio_at_most=0.5)
NOT_MORE = Target("<= Go", ratio_at_most=1.0)
MARKED = Target(">= 1.3 x Go", ratio_at_least=1.3)
SHORT = Target("< 200 us", value_at_most=200)
BARRIER_OFF = Target("<= 1.02", value_at_most=1.02)
TWO_WORKERS = Target(">= 1.7", value_at_least=1.7)


@dataclass(frozen=True)
class Effort:
    rounds: int
    tree_depth: int
    graph_mib: int
    graph_rounds: int
    """Of churn, a tenth of the graph each."""
    pauses_mib: tuple[int, ...]
    cycles: int
    """Collections asked for in a process."""
    pairs: int
    """Of parts with and without the barrier."""


FULL = Effort(5, 20, 512, 60, (16, 64, 256, 1024, 4096), 20, 25)
QUICK = Effort(3, 16, 16, 5, (4, 16), 5, 5)
OFF_DEPTH = 10


class Bench(measuring.Bench[Effort]):
    """The cases, as far as their programs could be built."""

    suite = COLLECTORS
    groups = ("trees", "live_graph", "pauses", "barrier", "workers")
    full, quick = FULL, QUICK

    def figures(self, who: str, *arguments: object) -> Figures:
        return program_figures([self.programs.paths[who], *map(str, arguments)],
                               environment={"GOMAXPROCS": "2"} if who == "go" else None)  # fmt: skip

    def peers(self, names: tuple[str, ...], *arguments: object) -> dict[str, Figures]:
        return {who: self.figures(who, *arguments) for who in names if who in self.programs.paths}

    def workload(
        self, group: str, shown: str, peers: tuple[str, ...], figures: tuple[Figure, ...],
        *arguments: object, same: str | None = None,
    ) -> ManyFigures:  # fmt: skip
        return ManyFigures(group, shown, self.figures("gomem", *arguments),
                           self.peers(peers, *arguments), figures, same)  # fmt: skip

    def trees(self) -> Iterator[ManyFigures]:
        depth = self.effort.tree_depth
        figures = (
            Figure("wall", "wall time", "s", {**TREE_WALL}),
            Figure("cpu", "CPU time", "s", {"go": TREE_CPU}),
            Figure("rss", "peak RSS", "MiB", {"go": NOT_MORE}),
            Figure("pause_max", "longest pause", "us"),
        )
        yield self.workload("trees", f"depth {depth}", ("go", "boehm", "mimalloc"), figures,
                            "tree", depth, same="nodes")  # fmt: skip

    def live_graph(self) -> Iterator[ManyFigures]:
        mib, rounds = self.effort.graph_mib, self.effort.graph_rounds
        figures = (
            Figure("wall", "wall time", "s"),
            Figure("cpu", "CPU time", "s"),
            Figure("rss", "peak RSS", "MiB"),
            Figure("marked", "MiB marked a CPU second", "MiB/s", {"go": MARKED}),
            Figure("pause_p50", "median pause", "us"),
            Figure("pause_p999", "p99.9 pause", "us", {"go": NOT_MORE, None: SHORT}),
            Figure("latency_p50", "median allocation", "us"),
            Figure("latency_p9999", "p99.99 allocation", "us", {"go": NOT_MORE}),
            Figure("latency_max", "longest allocation", "us"),
        )
        yield self.workload("live_graph", f"{mib} MiB", ("go", "boehm", "mimalloc"), figures,
                            "graph", mib, rounds, same="live")  # fmt: skip

    def pauses(self) -> Iterator[ManyFigures]:
        figures = (
            Figure("pause_p50", "median pause", "us"),
            Figure("pause_p999", "p99.9 pause", "us", {"go": NOT_MORE, None: SHORT}),
        )
        free = reporting.available_mib()
        for mib in self.effort.pauses_mib:
            if free < mib * 2.5 + 512:
                self.notes.append(f"pauses {mib} MiB is skipped: {free} MiB of memory are free")
                continue
            peers = ("go", "boehm") if mib <= 1024 else ("go",)
            yield self.workload("pauses", f"{mib} MiB", peers, figures,
                                "pauses", mib, self.effort.cycles)  # fmt: skip

    def barrier(self) -> Iterator[ManyFigures]:
        depth, mib = self.effort.tree_depth, min(self.effort.graph_mib, 256)
        yield self.workload("barrier", "trees, collector off, over plain stores", (),
                            (Figure("ratio", "", "x", {None: BARRIER_OFF}),),
                            "tree-off", OFF_DEPTH, self.effort.pairs)  # fmt: skip
        yield ManyFigures("barrier", "trees, collector on", self.figures("gomem", "tree", depth),
                          {"plain stores": self.figures("gomem", "tree-plain", depth)},
                          (Figure("cpu", "CPU time", "s"),), "nodes")  # fmt: skip
        figures = (Figure("off", "off", "ns"), Figure("on", "on", "ns"))
        yield self.workload("barrier", "a store at a random place", ("go",), figures,
                            "barrier", mib, self.effort.cycles)  # fmt: skip

    def workers(self) -> Iterator[Case]:
        def speed_up(*workload: object) -> float:
            one, two = (self.figures("gomem", *workload, workers)()["mark"] for workers in (1, 2))
            return one / two

        graph, depth = self.effort.graph_mib, self.effort.tree_depth
        for name, workload in ((f"a graph of {graph} MiB", ("marking", graph)),
                               (f"a tree of depth {depth}", ("tree-marking", depth))):  # fmt: skip
            yield Case("workers", f"{name}, speed-up", partial(speed_up, *workload), {}, "x",
                       {None: TWO_WORKERS}, heavy=True)  # fmt: skip


def draw(report: reporting.Report, folder: Path) -> str:
    """The longest pauses over the size of the live heap, as pauses.svg."""
    import numpy as np

    from gomem._chart import Line, line_chart

    found = [(int(m[1]), row) for row in report.rows if row.group == "pauses" and row.peer == "go"
             if (m := re.match(r"(\d+) MiB: p99.9 pause", row.name))]  # fmt: skip
    if not found:
        return ""
    x = np.array([math.log2(mib) for mib, _ in found])
    lines = [Line("gomem", np.array([row.gomem for _, row in found]), "#2a6fbb"),
             Line("Go", np.array([row.peer_value for _, row in found]), "#c0504d", "5 3")]  # fmt: skip
    picture = line_chart(x, lines, x_label="p99.9 pause by live heap, in MiB, as a power of two",
                         y_text=lambda us: f"{us:g} us")  # fmt: skip
    (folder / "pauses.svg").write_text(picture + "\n")
    return "\n![p99.9 pause by live heap, gomem and Go](pauses.svg)\n"


if __name__ == "__main__":
    sys.exit(
        reporting.command_line(
            "measure gomem's collector against Go's and others", "gc", Bench, draw
        )
    )
