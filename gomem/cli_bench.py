"""``python -m gomem bench``: runs the benchmarks of the source tree."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from gomem import cli_output


def _benchmarks() -> Path:
    """The folder of benchmarks: they compile peers from source, so they live in the source tree."""
    for folder in (Path(__file__).resolve().parent.parent, Path.cwd()):
        if (folder / "benchmarks" / "bench_alloc.py").exists():
            return folder / "benchmarks"
    raise FileNotFoundError(
        "the benchmarks are part of gomem's source tree: run this in a clone of it"
    )


def _run(args: argparse.Namespace) -> int:
    cli_output.check(args.json)
    path = _benchmarks() / f"bench_{args.topic}.py"
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where its dataclasses look themselves up
    spec.loader.exec_module(module)
    status: int = module.main(quick=args.quick, json_path=args.json)
    return status


def add_parser(commands: Any) -> None:
    p = commands.add_parser("bench", help="measure gomem against Go and others")
    p.add_argument("topic", choices=["alloc", "gc", "sync"],
                   help="allocation, the collector, or goroutines and channels")  # fmt: skip
    p.add_argument("--quick", action="store_true", help="a coarse answer in under a minute")
    p.add_argument("--json", metavar="PATH", help="also write the rows as JSON; - is stdout")
    p.set_defaults(run=_run)
