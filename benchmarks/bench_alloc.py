"""What does an allocation cost, beside Go's and beside other allocators?

    python benchmarks/bench_alloc.py [--quick] [--json PATH] [--only GROUP ...]
    python benchmarks/bench_alloc.py --markdown JSON ...    # figures of a run into README.md
    python -m gomem bench alloc [--quick] [--json PATH]

README.md says what is measured and how.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import measuring
import reporting
from building import ALLOCATORS, BUILD, ROOT
from measuring import Case, Measure, Row, Target, program_measure

MALLOCS = ("glibc", "mimalloc", "jemalloc", "tcmalloc")
GO_NOSCAN = Target("<= 0.35 x Go", ratio_at_most=0.35)
GO_SCAN = Target("<= 0.40 x Go", ratio_at_most=0.40)
MIMALLOC = Target("<= 1.5 x mimalloc", ratio_at_most=1.5)
SCALE = Target(">= 1.8", value_at_least=1.8)
FLAT = Target("flat: <= 1.25", ratio_at_most=1.25)
PYTHON_ALLOC = Target("<= 120 ns", value_at_most=120)
ALLOC_MANY = Target("<= 1.3 x C", ratio_at_most=1.3)
TRACE_SPEED = Target(">= 150 MB/s", value_at_least=150)
MACHINE_LIMIT = "no memory at all"
SPARE_CPUS = 1.8
REPLAY_PEAK = Target("<= 1.05 x Go", ratio_at_most=1.05)


@dataclass(frozen=True)
class Effort:
    rounds: int
    heavy_rounds: int
    """Of what takes a second or more."""
    milliseconds: int
    """Of one process."""
    live_mib: tuple[int, ...]
    threads: tuple[int, ...]


FULL = Effort(15, 5, 40, (16, 256, 1024, 4096), (2, 4))
QUICK = Effort(5, 3, 15, (16, 256), (2,))


class Bench(measuring.Bench[Effort]):
    """The cases, as far as their programs could be built."""

    suite = ALLOCATORS
    groups = ("go", "fast_path", "mixed", "threads", "scaling", "live", "python", "traces")
    full, quick = FULL, QUICK

    @property
    def heavy_rounds(self) -> int:
        return self.effort.heavy_rounds

    def rows(self, groups: tuple[str, ...]) -> list[Row]:
        """Says, too, if the machine was not free."""
        rows = super().rows(groups)
        if any(row.name == MACHINE_LIMIT and row.gomem < SPARE_CPUS for row in rows):
            self.notes.append("the rows about threads mean little: the machine was not free enough "
                              "to run two threads at once, see \"no memory at all\"")  # fmt: skip
        return rows

    def c(self, who: str, name: str, size: int = 0, threads: int = 1, *files: Path) -> Measure:
        program = self.programs.paths[who]
        return program_measure([program, name, str(size), str(threads),
                                str(self.effort.milliseconds), *files])  # fmt: skip

    def mallocs(
        self, name: str, size: int = 0, threads: int = 1, *files: Path
    ) -> dict[str, Measure]:
        return {who: self.c(who, name, size, threads, *files)
                for who in MALLOCS if who in self.programs.paths}  # fmt: skip

    def against_mallocs(
        self, group: str, name: str, size: int = 0, threads: int = 1, *, unit: str = "ns",
        shown: str = "", targets: dict[str | None, Target] | None = None,
    ) -> Case:  # fmt: skip
        return Case(group, shown or f"{name} {size or ''}".strip(),
                    self.c("gomem", name, size, threads), self.mallocs(name, size, threads),
                    unit, targets)  # fmt: skip

    def go(self) -> Iterator[Case]:
        program = self.programs.paths.get("go")
        if program is None:
            return
        for size in (8, 16, 32):
            yield self.against_go(f"malloc{size}", "collected", size, GO_NOSCAN)
        for size in (8, 16, 32):
            yield self.against_go(f"typeinfo{size}", "collected-typed", size, GO_SCAN)
        yield self.against_go("largestruct", "collected-typed", 768, GO_SCAN)
        for size in (8, 16, 32):
            yield self.against_go(f"malloc{size}", "fifo", size, None, ", freed by hand")
        for size in (8, 16, 32):
            yield self.against_go(f"typeinfo{size}", "typed-fifo", size, None, ", freed by hand")

    def against_go(
        self, name: str, workload: str, size: int, target: Target | None, suffix: str = ""
    ) -> Case:
        go = program_measure([self.programs.paths["go"], name, str(self.effort.milliseconds)],
                             environment={"GOMAXPROCS": "1"})  # fmt: skip
        return Case("go", name + suffix, self.c("gomem", workload, size), {"go": go},
                    targets={"go": target} if target else None)  # fmt: skip

    def fast_path(self) -> Iterator[Case]:
        for name in ("pair", "fifo", "lifo"):
            for size in (8, 16, 32, 512):
                yield self.against_mallocs("fast path", name, size,
                                           targets={"mimalloc": MIMALLOC} if size <= 32 else None)  # fmt: skip

    def mixed(self) -> Iterator[Case]:
        for name in ("fifo100k", "lifo100k"):
            yield self.against_mallocs("mixed", name, 32)
        for name in ("churn", "churn-zeroed", "churn-large", "churn-large-zeroed"):
            yield self.against_mallocs("mixed", name)

    def threads(self) -> Iterator[Case]:
        for threads in self.effort.threads:
            for name in ("larson", "xmalloc"):
                yield self.against_mallocs("threads", name, 0, threads,
                                           shown=f"{name}, {threads} threads")  # fmt: skip
        for name, size in (("threads-fifo", 32), ("threads-churn", 0)):
            for threads in self.effort.threads:
                one = self.c("gomem", name, size, 1)
                peers = {"itself, 1 thread": one, **self.mallocs(name, size, threads)}
                yield Case("threads", f"{name}, {threads} threads",
                           self.c("gomem", name, size, threads), peers,
                           targets={"itself, 1 thread": FLAT})  # fmt: skip

    def scaling(self) -> Iterator[Case]:
        for name, size in (("scale-fifo", 32), ("scale-churn", 0)):
            yield self.against_mallocs("scaling", name, size, 2, unit="x", targets={None: SCALE})
        yield Case("scaling", MACHINE_LIMIT, self.c("gomem", "scale-none", 0, 2), {}, "x")

    def live(self) -> Iterator[Case]:
        free = reporting.available_mib()
        for name in ("live", "live-holes"):
            for mib in self.effort.live_mib:
                if free < mib * 1.5 + 512:
                    self.notes.append(f"{name} {mib} MB is skipped: {free} MB of memory are free")
                    continue
                peers = {"itself, 1 MB": self.c("gomem", name, 1), **self.mallocs(name, mib)}
                if mib > 256:
                    peers = {k: v for k, v in peers.items() if k in ("itself, 1 MB", "mimalloc")}
                yield Case("live heap", f"{name}, {mib} MB", self.c("gomem", name, mib), peers,
                           targets={"itself, 1 MB": FLAT}, heavy=mib > 64)  # fmt: skip

    def loop(self, name: str, *arguments: Path) -> Measure:
        script = Path(__file__).with_name("python_loops.py")
        return program_measure([sys.executable, script, name, *arguments],
                               environment={"PYTHONPATH": str(self.programs.package)})  # fmt: skip

    def python(self) -> Iterator[Case]:
        measure = self.loop
        yield Case("python", "heap.alloc(16)", measure("alloc"), {}, targets={None: PYTHON_ALLOC},
                   heavy=True)  # fmt: skip
        yield Case("python", "heap.alloc(16), heap.free", measure("alloc_free"), {}, heavy=True)
        for heap in ("fresh", "warm"):
            yield Case("python", f"alloc_many of 1M x 16 B, {heap} heap",
                       measure(f"many_{heap}"), {"C loop": self.c("gomem", f"loop-{heap}", 16)},
                       targets={"C loop": ALLOC_MANY}, heavy=True)  # fmt: skip
        yield Case("python", "free_many of them", measure("free_many"),
                   {"C loop": self.c("gomem", "unloop", 16)}, heavy=True)  # fmt: skip

    def traces(self) -> Iterator[Case]:
        paths = sorted((ROOT / "gomem" / "data").glob("*.trace.gz"))
        if not paths:
            self.notes.append("recorded traces: none in gomem/data")
        for path in paths:
            yield from self.trace(path)

    def trace(self, path: Path) -> Iterator[Case]:
        name = path.name.removesuffix(".trace.gz")
        raw, operations = BUILD / f"{name}.trace", BUILD / f"{name}.ops"
        raw.write_bytes(gzip.decompress(path.read_bytes()))
        self.c("gomem", "trace-ops", 0, 1, raw, operations)()
        yield Case("traces", f"reading {name}", self.c("gomem", "trace-read", 0, 1, raw), {},
                   "MB/s", {None: TRACE_SPEED})  # fmt: skip
        yield Case("traces", f"replaying {name}", self.c("gomem", "replay", 0, 1, operations),
                   self.mallocs("replay", 0, 1, operations), heavy=True)  # fmt: skip
        yield Case("traces", f"peak of {name}", self.loop("replay_peak", raw),
                   {"go": self.loop("go_peak", raw)}, "MiB", {"go": REPLAY_PEAK}, heavy=True)  # fmt: skip
        yield Case("traces", f"resident after {name}",
                   self.c("gomem", "replay-peak", 0, 1, operations),
                   self.mallocs("replay-peak", 0, 1, operations), "MiB", heavy=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(
        reporting.command_line("measure gomem against Go and other allocators", "alloc", Bench)
    )
