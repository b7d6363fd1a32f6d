"""HACKING.md's table of rooms, and the C sources as the tests of this folder see them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
HACKING = (ROOT / "HACKING.md").read_text()


def c_files() -> list[Path]:
    return sorted(p for p in CSRC.rglob("*") if p.suffix in (".c", ".h", ".def"))


def name(path: Path) -> str:
    return path.relative_to(CSRC).as_posix()


def room_of(path_in_csrc: str) -> str:
    """The room of heap/malloc.c is heap; that of gomem.h is gomem.h."""
    return path_in_csrc.partition("/")[0]


def parse_table(text: str) -> dict[str, list[str]]:
    """The rooms and what their files may include beside their own room."""
    rows = re.findall(r"^\| `([\w.]+)/?` \|.*\| *(.*?) *\|$", text, re.MULTILINE)
    everything = [room for room, _ in rows]
    table: dict[str, list[str]] = {}
    for i, (room, allowed) in enumerate(rows):
        if allowed == "—":
            table[room] = ["gomem.h"] if room != "gomem.h" else []
        elif allowed == "any":
            table[room] = everything
        elif allowed == "all above":
            table[room] = everything[:i]
        elif match := re.fullmatch(r"([\w.]+) only", allowed):
            table[room] = [match[1]]
        else:
            table[room] = ["gomem.h", "base", *allowed.split()]
    for room, allowed_rooms in table.items():
        unknown = set(allowed_rooms) - set(everything)
        if unknown:
            raise ValueError(f"room {room} may include {unknown}, which the table has not")
    return table


def includes(text: str) -> list[str]:
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]+["<]([^">]+)[">]', text, re.MULTILINE)


def without_comments(text: str) -> str:
    """The same with comments and strings blanked, lines kept."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.DOTALL)
