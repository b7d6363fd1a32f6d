"""How results are shown: tables for the terminal and for README.md, JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from building import build
from measuring import Bench, Row

QUESTIONS = {
    "go": "Against Go: an object's whole life, Go's time includes its collections (ns an object)",
    "fast path": "The fast path: objects of one size, malloc and free (ns a pair)",
    "mixed": "Many objects, mixed sizes, large ones (ns a malloc and a free)",
    "threads": "Threads: freed by another thread; each for itself (ns of a thread with a CPU)",
    "scaling": "Two threads: the work they do at once over that of one alone",
    "live heap": "Beside a live heap: 1000 objects of mixed sizes (ns a malloc and a free)",
    "python": "From Python (ns an object)",
    "traces": "Recorded Go programs",
    "trees": "Binary trees of 16-byte nodes",
    "live_graph": "A live graph of maps and lists, a tenth of it replaced again and again",
    "pauses": "Stops of the world while a graph of that size lives and changes",
    "barrier": "The write barrier",
    "workers": "Marking with two workers",
    "goroutines": "From Python (ns an item)",
    "channels": "In C, beside Go with GOMAXPROCS=1 (ns an item)",
}
HEADINGS = ("name", "gomem", "peer", "", "ratio", "spread", "target", "")


def place(topic: str) -> tuple[str, str]:
    """The marks in README.md between which a topic's figures are."""
    return f"<!-- {topic} figures: begin -->", f"<!-- {topic} figures: end -->"


@dataclass
class Report:
    machine: dict[str, str]
    quick: bool
    notes: list[str]
    rows: list[Row]

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "quick": self.quick,
            "notes": self.notes,
            "rows": [row.to_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> Report:
        return cls(d["machine"], d["quick"], d["notes"], [Row.from_json(r) for r in d["rows"]])

    def updated(self, other: Report) -> Report:
        """With other's groups instead of the same ones here."""
        groups = list(dict.fromkeys(row.group for row in [*self.rows, *other.rows]))
        replaced = {row.group for row in other.rows}
        rows = [row for group in groups
                for row in (other if group in replaced else self).rows if row.group == group]  # fmt: skip
        notes = list(dict.fromkeys([*self.notes, *other.notes]))
        return Report(self.machine, self.quick, notes, rows)

    def finish(self, json_path: str | None) -> int:
        """Prints, and writes the JSON (-: to stdout, and the text to stderr); the command's status: 1
        if a workload failed."""
        print(self.as_text(), file=sys.stderr if json_path == "-" else sys.stdout)
        text = json.dumps(self.to_json(), indent=1) + "\n"
        if json_path == "-":
            sys.stdout.write(text)
        elif json_path is not None:
            Path(json_path).write_text(text)
        return 1 if any(" failed: " in note for note in self.notes) else 0

    def _tables(self) -> list[tuple[str, list[tuple[str, ...]]]]:
        groups = list(dict.fromkeys(row.group for row in self.rows))
        return [(QUESTIONS.get(group, group), [_cells(r) for r in self.rows if r.group == group])
                for group in groups]  # fmt: skip

    def as_text(self) -> str:
        lines = []
        for question, table in self._tables():
            lines += ["", question, *_aligned([HEADINGS, *table])]
        lines += ["", "ratio: gomem / peer, the median over the rounds; spread: its quartiles"]
        return "\n".join([*lines, *self.notes])

    def as_markdown(self) -> str:
        lines = [", ".join(f"{key} {value}" for key, value in self.machine.items()) + "."]
        for question, table in self._tables():
            lines += ["", f"**{question}**", "", _markdown_row(HEADINGS),
                      _markdown_row(("---", "--:", "---", "--:", "--:", "---", "---", "---")),
                      *(_markdown_row(cells) for cells in table)]  # fmt: skip
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines)


def machine(versions: dict[str, str]) -> dict[str, str]:
    """What the figures depend on."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "CPU": f"{model} x {len(os.sched_getaffinity(0))}",
        "Linux": platform.release(),
        "Python": platform.python_version(),
        "load when it began": f"{os.getloadavg()[0]:.1f}",
        **{k: v for k, v in versions.items() if k != "gomem"},
    }


def _number(x: float) -> str:
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.3g}"


def _cells(row: Row) -> tuple[str, ...]:
    spread = "" if row.spread is None else f"{row.spread[0]:.3g}-{row.spread[1]:.3g}"
    return (
        row.name,
        f"{_number(row.gomem)} {row.unit}",
        row.peer or "",
        "" if row.peer_value is None else _number(row.peer_value),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        spread,
        row.target or "",
        "" if row.met is None else "ok" if row.met else "MISS",
    )


def _aligned(table: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table)]
    right = (1, 3, 4)
    return ["  " + "  ".join(cell.rjust(w) if i in right else cell.ljust(w)
                             for i, (cell, w) in enumerate(zip(cells, widths))).rstrip()
            for cells in table]  # fmt: skip


def _markdown_row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(f"**{cell}**" if cell == "MISS" else cell for cell in cells) + " |"


def available_mib() -> int:
    """Memory that programs can have now."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0


def write_readme(
    json_paths: list[Path],
    readme: Path,
    topic: str,
    draw: Callable[[Report, Path], str] | None = None,
) -> None:
    """Puts a run's figures between the topic's marks in README.md.

    Of more than one run, a later one's groups replace those of the same name. draw makes pictures in the
    folder of README.md, and says how it shows them.
    """
    first, *later = [Report.from_json(json.loads(path.read_text())) for path in json_paths]
    report = first
    for other in later:
        report = report.updated(other)
    begin, end = place(topic)
    before, found, rest = readme.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"{readme} has no place for figures of {topic}")
    shown = "" if draw is None else draw(report, readme.parent)
    readme.write_text(f"{before}{begin}\n{report.as_markdown()}\n{shown}{end}{after}")


def measure(
    kind: type[Bench[Any]], quick: bool, json_path: str | None, groups: tuple[str, ...]
) -> int:
    """Measures and prints; 1 if gomem's own program cannot be built or a workload fails."""
    try:
        programs = build(kind.suite)
    except OSError as e:
        print(e, file=sys.stderr)
        return 1
    bench = kind(programs, kind.quick if quick else kind.full)
    rows = bench.rows(groups)
    return Report(
        machine(programs.versions), quick, [*programs.skipped, *bench.notes], rows
    ).finish(json_path)


def command_line(
    description: str,
    topic: str,
    kind: type[Bench[Any]],
    draw: Callable[[Report, Path], str] | None = None,
) -> int:
    """What a script of benchmarks does when it is run; draw: see write_readme."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a coarse answer in under a minute")
    parser.add_argument("--json", metavar="PATH", help="also write the rows as JSON; - is stdout")
    parser.add_argument("--only", nargs="+", choices=kind.groups, metavar="GROUP",
                        help=f"of {', '.join(kind.groups)}")  # fmt: skip
    parser.add_argument("--markdown", nargs="+", metavar="JSON",
                        help="measure nothing: put the figures of these files into README.md")  # fmt: skip
    args = parser.parse_args()
    if args.markdown:
        readme = Path(__file__).with_name("README.md")
        write_readme(list(map(Path, args.markdown)), readme, topic, draw)
        return 0
    return measure(kind, args.quick, args.json, tuple(args.only or kind.groups))
