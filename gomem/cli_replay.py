"""``python -m gomem replay``: a Go program's recorded allocations on gomem's heap."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import Any

import gomem
from gomem import cli_output, gotrace


def _json(comparison: Any) -> str:
    rows = [
        {"name": name, "go": go, "gomem": ours, "bytes": is_bytes}
        for name, go, ours, is_bytes in comparison.rows()
    ]
    data = {
        "trace": comparison.trace.path,
        "go_version": comparison.trace.go_version,
        "events": len(comparison.trace.events),
        "seconds": comparison.seconds,
        "peak_ratio": comparison.peak_ratio,
        "rows": rows,
        "classes": [vars(row) for row in comparison.classes],
    }
    return json.dumps(data, indent=1) + "\n"


def _run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from gomem import report

    class Bar(tqdm):  # type: ignore[misc]
        # A monitor's thread would stay, and a thread may wake goroutines: no deadlock would be seen.
        monitor_interval = 0

    cli_output.check(args.html, args.json)
    trace = gotrace.read(args.trace)
    if trace.truncated:
        offset = trace.facts["truncated_at"]
        print(f"gomem: {trace.path} ends too early, at byte {offset:,}", file=sys.stderr)
    heap = gomem.Heap(
        procs=args.procs or trace.procs,
        gogc="off",  # what dies, and when, is in the trace
        memory_limit=args.memory_limit,
        max_memory=args.max_memory,
    )
    with (
        heap,
        # None: no bar where nobody sees it, as in a file
        Bar(
            total=len(trace.events), unit=" events", unit_scale=True, leave=False, disable=None
        ) as bar,
    ):
        comparison = report.compare(
            trace, heap, samples=args.samples, progress=lambda done, _: bar.update(done - bar.n)
        )
        if args.verify:
            heap.verify()
    people = cli_output.for_people(args.html, args.json)
    print(report.text(comparison), file=people)
    for path, contents in ((args.html, report.html), (args.json, _json)):
        if path is not None:
            cli_output.write(path, contents(comparison))
            if path != cli_output.STDOUT:
                print(f"Wrote {path}", file=people)
    return 0


def _positive(text: str) -> int:
    value = int(text) if re.fullmatch(r"\d{1,18}", text) else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text[:40]!r}")
    return value


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "replay",
        help="replay a Go execution trace on gomem's heap",
        description="Replays the allocations of a Go program, recorded in an execution trace, on "
        "gomem's heap, and prints both side by side. Record one with GODEBUG=traceallocfree=1 go "
        "test -run=NONE -bench=. -trace=my.trace, or trace.Start in a program (Go 1.23 or later).",
    )
    p.add_argument(
        "trace",
        nargs="?",
        default=str(gotrace.EXAMPLE),
        help="an execution trace, gzipped or not; by default one that comes with gomem",
    )
    p.add_argument("--html", metavar="PATH", help="also write one self-contained page; - is stdout")
    p.add_argument("--json", metavar="PATH", help="also write the figures; - is stdout")
    p.add_argument(
        "--procs", type=_positive, help="number of Ps; by default as many as in the trace"
    )
    p.add_argument("--samples", type=_positive, default=1000, help="how often to look at the heap")
    p.add_argument("--memory-limit", metavar="BYTES", help="soft limit, such as 64MiB (GOMEMLIMIT)")
    p.add_argument("--max-memory", metavar="BYTES", help="hard limit on mapped memory")
    p.add_argument("--verify", action="store_true", help="check all of the heap's structures after")
    p.set_defaults(run=_run)
