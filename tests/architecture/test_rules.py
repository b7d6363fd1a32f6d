"""The rules of HACKING.md that can be read off the sources, and from what the compiler made of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import cdriver
import pytest
from rooms import HACKING, c_files, name, without_comments

SOURCES = [p for p in c_files() if p.suffix in (".c", ".h")]
MAX_FILE, MAX_FUNCTION = 700, 80

# The public header is one file, so that a C user finds everything in one place.
TOO_LONG = {"gomem.h"}


def comment_faults(text: str) -> list[str]:
    """What is wrong with the comment a file opens with."""
    match = re.match(r"/\*.*?\*/", text, re.DOTALL)
    if match is None:
        return ["does not open with a comment"]
    faults = []
    lines = match[0].splitlines()
    if not 3 <= len(lines) <= 25:
        faults.append(f"opens with a comment of {len(lines)} lines, not 3 to 25")
    for word in ("Concurrency:", "Go:"):
        if not any(line.removeprefix(" *").strip().startswith(word) for line in lines):
            faults.append(f"has no line {word}")
    return faults


def functions(text: str) -> list[tuple[str, int]]:
    """Names and lengths in lines: from the first line at the margin to the closing brace there."""
    lines, found = without_comments(text).splitlines(), []
    for i, line in enumerate(lines):
        if line != "{":
            continue
        start = i
        while start > 0 and lines[start - 1].strip() and not lines[start - 1].startswith("}"):
            start -= 1
        end = next(k for k in range(i, len(lines)) if lines[k] == "}")
        names = re.findall(r"(\w+)\(", " ".join(lines[start:i]))
        found.append((names[-1] if names else "?", end - start + 1))
    return found


def faults_of_files(faults: Callable[[str], list[str]], *, but: str | tuple[str, ...] = "/") -> str:
    """What is wrong in any of the files, those apart whose names begin with ``but``."""
    files = [p for p in SOURCES if not name(p).startswith(but)]
    return "\n".join(f"{name(p)} {fault}" for p in files for fault in faults(p.read_text()))


def test_opening_comments() -> None:
    assert faults_of_files(comment_faults) == ""


def test_lengths_of_files() -> None:
    long = {name(p) for p in SOURCES if p.read_text().count("\n") > MAX_FILE}
    assert long <= TOO_LONG, f"files of more than {MAX_FILE} lines"
    assert long >= TOO_LONG, "short enough now: take it out of TOO_LONG"


def long_functions(text: str) -> list[str]:
    return [f"{f}: {n} lines" for f, n in functions(text) if n > MAX_FUNCTION]


def test_lengths_of_functions() -> None:
    assert faults_of_files(long_functions) == ""


def raw_atomics(text: str) -> list[str]:
    pattern = r"\b(?:__atomic_\w+|__sync_\w+|_Atomic|atomic_\w+\(|stdatomic)"
    return re.findall(pattern, without_comments(text))


def test_atomics_have_orders_in_their_names() -> None:
    assert faults_of_files(raw_atomics, but=("base/atomic.h", "gomem.h")) == ""


def python_headers(text: str) -> list[str]:
    return re.findall(r"#\s*include\s*[<\"](?:Python|structmember)\.h", text)


def test_python_stays_in_its_rooms() -> None:
    files = {name(p).partition("/")[0] for p in SOURCES if python_headers(p.read_text())}
    assert files <= {"python", "testing"}


# --- Variables ---


def allowed_variables() -> set[str]:
    """The files that rule 8 names, as objects of the core."""
    rule = HACKING[HACKING.index("\n8. No globals") :]
    rule = rule[: rule.index("\n9. ")]
    named = re.findall(r"`([\w/]+\.c)`", rule)
    files = {name(p) for p in c_files()}
    return {f for n in named for f in files if f == n or f.endswith(f"/{n}")}


def variables(obj: Path) -> list[tuple[str, str]]:
    """Writable variables of an object file: (name, section)."""
    table = subprocess.run(
        ["objdump", "-t", obj], check=True, capture_output=True, text=True
    ).stdout
    found = []
    for line in table.splitlines():
        match = re.match(r"[0-9a-f]+ (.{7}) (\S+)\s+([0-9a-f]+)\s+(?:\.hidden )?(\S+)$", line)
        if match is None or "d" in match[1] or int(match[3], 16) == 0:
            continue
        section = match[2]
        writable = section.startswith((".data", ".bss", ".tdata", ".tbss", "*COM*"))
        if writable and not section.startswith(".data.rel.ro"):
            found.append((match[4], section))
    return found


@pytest.mark.parametrize("profile", ["check", "release"])
def test_no_globals(profile: str) -> None:
    """Two thread-local variables, in the files that HACKING.md names, are all there are."""
    allowed, seen = allowed_variables(), set()
    assert len(allowed) == 2
    for obj in cdriver.build_core(profile):
        source = "/".join(obj.with_suffix(".c").parts[-2:])
        for variable, section in variables(obj):
            assert source in allowed, f"{source} has the variable {variable} in {section}"
            assert section in (".tbss", ".tdata"), f"{source}: {variable} is not thread-local"
            seen.add(source)
    assert seen == (allowed if profile == "check" else {"sched/p.c"})


# --- The tests themselves ---


def test_faults_are_found(tmp_path: Path) -> None:
    good = "/* What it is.\n *\n * Concurrency: none.\n * Go: none.\n */\n"
    assert comment_faults(good) == []
    assert comment_faults("#include <x.h>\n" + good) == ["does not open with a comment"]
    assert comment_faults("/* x */") == [
        "opens with a comment of 1 lines, not 3 to 25",
        "has no line Concurrency:",
        "has no line Go:",
    ]
    assert "27 lines" in comment_faults(good.replace(" *\n", " *\n" * 23))[0]
    body = "    x();\n" * 90
    assert functions(f"static int f(int a,\n             int b)\n{{\n{body}}}\n") == [("f", 94)]
    assert functions("struct x {\n    int y;\n};\n") == []
    assert raw_atomics("__atomic_load_n(p, 1)") and raw_atomics("_Atomic int x;")
    assert not raw_atomics("/* __atomic_load_n */ load_relaxed(p)")
    assert python_headers("#include <Python.h>") and not python_headers("#include <stdio.h>")

    source = tmp_path / "x.c"
    source.write_text(
        "int a = 1; static int b; int *get(void) { static int c; return &b + c++; }\n"
        "const int d = 2; static const char *const e[] = {\"x\"}; const char *f(int i)\n"
        "{ return e[i]; } _Thread_local int g;\n"
    )  # fmt: skip
    obj = tmp_path / "x.o"
    subprocess.run(["gcc", "-fPIC", "-c", source, "-o", obj], check=True)
    assert {v.partition(".")[0] for v, _ in variables(obj)} == {"a", "b", "c", "g"}
