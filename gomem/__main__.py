"""The command line: ``python -m gomem``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

import gomem
from gomem import cli_output


def _sizeclasses(args: argparse.Namespace) -> int:
    rules = gomem.SizeClassRules.tcmalloc() if args.tcmalloc else gomem.SizeClassRules.go()
    changes = {
        name: value
        for name in ("page_size", "max_small_size", "max_waste")
        if (value := getattr(args, name)) is not None
    }
    if changes:
        from dataclasses import replace

        rules = replace(rules, **changes)
    table = gomem.SizeClasses(rules)
    if args.json is not None:
        cli_output.write(args.json, table.to_json() + "\n")
    people = cli_output.for_people(args.json)
    print(
        f"{'class':>7}  {'bytes/obj':>9}  {'bytes/span':>10}  {'objects':>7}  "
        f"{'tail waste':>10}  {'max waste':>9}  {'min align':>9}",
        file=people,
    )
    for c in list(table)[1:]:
        print(
            f"{c.index:7}  {c.size:9}  {c.span_bytes:10}  {c.objects:7}  {c.tail_waste:10}  "
            f"{100 * c.max_waste:8.2f}%  {c.min_align:9}",
            file=people,
        )
    return 0


def _info(args: argparse.Namespace) -> int:
    for name, value in gomem.build_info().items():
        print(f"{name}: {value}")
    return 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m gomem",
        description="Go's memory system as a C library with a Python face.",
    )
    commands = p.add_subparsers(required=True, metavar="command")

    from gomem import cli_bench, cli_replay

    cli_replay.add_parser(commands)
    cli_bench.add_parser(commands)

    sizes = commands.add_parser(
        "sizeclasses", help="print Go's table of size classes, or one made from other rules"
    )
    sizes.add_argument("--tcmalloc", action="store_true", help="start from TCMalloc's rules")
    sizes.add_argument("--page-size", type=int, help="bytes of a page")
    sizes.add_argument("--max-small-size", type=int, help="bytes of the largest class")
    sizes.add_argument("--max-waste", type=float, help="largest share of a span lost at its end")
    sizes.add_argument("--json", metavar="PATH", help="also write the table to a file; - is stdout")
    sizes.set_defaults(run=_sizeclasses)

    info = commands.add_parser("info", help="print how this gomem was built")
    info.set_defaults(run=_info)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    try:
        try:
            return _main(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # who reads this wants no more: an end as other tools have it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _main(argv: Sequence[str] | None) -> int:
    args = parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, MemoryError) as error:
        print(f"gomem: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gomem: interrupted", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
