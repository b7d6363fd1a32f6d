"""Makes the files of tests/golden from the Go that is installed: python tools/golden.py

sizeclasses.json     the table of size classes, as Go's generated file has it
memstats.json        the fields of runtime.MemStats
metrics.json         the metrics of runtime/metrics
malloc_roundup.json  slots of allocations, alignments, packing of tiny objects: measured
finalizers.json      what small programs with finalizers, cleanups and weak pointers do
pacer.json           what Go's pacer does in the scenarios of its own tests, cycle by cycle
pacer_settings.json  and when its settings change at any moment
values/*.json        slices, maps, buffers, strings, pools, panics, results of benchmarks: measured
sync.json            panics of channels, reports of deadlocks, orders of goroutines
sorts.json           orders in which slices.SortFunc leaves elements of which some are equal

The first is read from GOROOT, that of the pacer from the log of Go's tests, the others are what the
programs tools/golden_*.go print. Facts only.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"


def go(*args: str) -> str:
    return subprocess.run(["go", *args], check=True, capture_output=True, text=True).stdout.strip()


def go_version() -> str:
    """The language's version: go1.26 of go1.26.8."""
    match = re.match(r"go\d+\.\d+", go("env", "GOVERSION"))
    assert match is not None
    return match[0]


def evaluate(expression: str) -> int:
    """A Go constant expression of the kind ^uint32(0)/48 + 1."""
    expression = expression.strip().replace("^uint32(0)", str(2**32 - 1)).replace("/", "//")
    if not re.fullmatch(r"[\d\s/+*-]+", expression):
        raise ValueError(f"no constant: {expression}")
    return int(eval(expression, {}))


def sizeclasses() -> dict[str, Any]:
    """Go's file of size classes as numbers."""
    text = (Path(go("env", "GOROOT")) / "src/internal/runtime/gc/sizeclasses.go").read_text()
    rows = re.findall(
        r"^//\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)%\s+(\d+)$", text, re.MULTILINE
    )
    columns = ("class", "size", "span_bytes", "objects", "tail_waste", "max_waste", "min_align")
    classes = [
        {c: float(v) if c == "max_waste" else int(v) for c, v in zip(columns, row)} for row in rows
    ]
    constants = {n: int(v) for n, v in re.findall(r"^\t(\w+)\s+= (\d+)$", text, re.MULTILINE)}
    arrays = {
        name: [evaluate(item) for item in items.split(",")]
        for name, items in re.findall(r"^var (\w+) = \[.*?\]uint\d+\{(.*)\}$", text, re.MULTILINE)
    }
    return {"classes": classes, "constants": constants, "arrays": arrays}


def printed(program: str) -> dict[str, Any]:
    """What a program of tools/ prints."""
    result: dict[str, Any] = json.loads(go("run", str(ROOT / "tools" / program)))
    return result


def pacer() -> dict[str, Any]:
    """The cycles that Go's own simulations of its pacer log, by scenario.

    A cycle is [number, per cent of CPU, live heap, trigger, peak, goal], bytes.
    """
    log = go("test", "-json", "-v", "-run", "^TestGcPacer$", "runtime")
    line = re.compile(r"GC (\d+) ([\d.]+)% (\d+)->(\d+)->(\d+) \(goal: (\d+)\)")
    scenarios: dict[str, list[list[float]]] = {}
    for event in map(json.loads, log.splitlines()):
        found = line.search(event.get("Output", ""))
        if found is not None:
            cycle = [float(v) if "." in v else int(v) for v in found.groups()]
            scenarios.setdefault(event["Test"].partition("/")[2], []).append(cycle)
    return {name: scenarios[name] for name in sorted(scenarios)}


def settings() -> dict[str, Any]:
    """What Go's pacer says when its settings change: tools/golden_pacer, as a test of the runtime."""
    runtime = Path(go("env", "GOROOT")) / "src" / "runtime"
    ours = (ROOT / "tools" / "golden_pacer").glob("*.go")
    overlay = {"Replace": {str(runtime / f"gomem_{path.name}"): str(path) for path in ours}}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(overlay, file)
        file.flush()
        log = go(
            "test", "-json", "-v", f"-overlay={file.name}", "-run", "^TestSettings$", "runtime"
        )
    lines = "".join(event.get("Output", "") for event in map(json.loads, log.splitlines()))
    programs = [json.loads(found) for found in re.findall(r"settings (\[.*\])\n", lines)]
    rows = [
        [
            [s["step"], *map(int, s["given"].values()), s["goal"], s["trigger"], s["ratio"]]
            for s in p
        ]
        for p in programs
    ]
    names = [re.sub("(?<!^)(?=[A-Z])", "_", name).lower() for name in programs[0][0]["given"]]
    return {"columns": ["step", *names, "goal", "trigger", "ratio"], "programs": rows}


def values() -> dict[str, Any]:
    """What tools/golden_values.go prints: the contents of the files in values/, by name."""
    return printed("golden_values.go")


def everything() -> dict[str, Any]:
    """The contents of the files, by name."""
    measured = printed("golden_runtime.go")
    return {
        "sizeclasses": sizeclasses(),
        "memstats": measured["memstats"],
        "metrics": measured["metrics"],
        "malloc_roundup": measured["malloc"],
        "finalizers": printed("golden_finalizers.go"),
        "pacer": {"random": measured["random"], "scenarios": pacer()},
        "pacer_settings": settings(),
        "sync": printed("golden_sync.go"),
        "sorts": printed("golden_sorts.go"),
    }


def dump(value: Any, indent: str = "") -> str:
    """JSON with lists of plain things on one line."""
    inner = indent + " "
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()):
        items = [f"{inner}{json.dumps(k)}: {dump(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(v, dict) for v in value):
        return "[\n" + ",\n".join(inner + dump(v, inner) for v in value) + f"\n{indent}]"
    return json.dumps(value)


def main() -> None:
    (GOLDEN / "values").mkdir(parents=True, exist_ok=True)
    version = go_version()
    files = everything() | {f"values/{name}": contents for name, contents in values().items()}
    for name, contents in files.items():
        if isinstance(contents, list):
            contents = {"rows": contents}
        path = GOLDEN / f"{name}.json"
        path.write_text(dump({"go": version, **contents}) + "\n")
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
