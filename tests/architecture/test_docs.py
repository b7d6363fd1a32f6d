"""Documents against the tree: files they name exist, code they show can be parsed."""

from __future__ import annotations

import ast
import doctest
import re
import shlex
import subprocess
import textwrap
from pathlib import Path

import pytest
from rooms import CSRC, ROOT, c_files, name

DOCUMENTS = ["HACKING.md", "csrc/README.md", "README.md"]


def read(document: str) -> str:
    return (ROOT / document).read_text()


def named_files(text: str) -> list[str]:
    """Names of C files in backquotes, of ours: heap/malloc.c, or malloc.c."""
    names = re.findall(r"`(?:csrc/)?((?:[\w.]+/)*\w+\.(?:c|h|def))`", text)
    return [n for n in names if n != "Python.h"]


def exists(file: str, files: set[str]) -> bool:
    return file in files or any(f.endswith(f"/{file}") for f in files) or (ROOT / file).exists()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_exist(document: str) -> None:
    files = {name(p) for p in c_files()}
    files |= {p.relative_to(ROOT).as_posix() for p in (ROOT / "tests").rglob("*.[ch]")}
    missing = {f for f in named_files(read(document)) if not exists(f, files)}
    assert not missing, f"{document} names files that do not exist"


def test_the_tour_names_every_room() -> None:
    text = read("csrc/README.md")
    rooms = {p.name for p in CSRC.iterdir() if p.is_dir()}
    unnamed = {room for room in rooms if f"{room}/" not in text}
    assert not unnamed


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, contents) of the fenced blocks."""
    found = re.findall(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [(language, textwrap.dedent(contents)) for _, language, contents in found]


def shell_commands(contents: str) -> str:
    """What is typed: after prompts where there are any, else everything."""
    typed = re.findall(r"^\$ (.*(?:\\\n.*)*)", contents, re.MULTILINE)
    return "\n".join(typed) if typed else contents


def fault(language: str, contents: str) -> str | None:
    """Why a block cannot be parsed."""
    if language in ("python", "py", "pycon"):
        if ">>> " in contents:
            examples = doctest.DocTestParser().get_examples(contents)
            contents = "".join(example.source for example in examples)
        try:
            ast.parse(contents)
        except SyntaxError as error:
            return str(error)
    if language in ("sh", "bash", "shell", "console"):
        commands = shell_commands(contents)
        done = subprocess.run(
            ["bash", "-n"], input=commands, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            return done.stderr
        return wrong_subcommand(commands)
    return None


def wrong_subcommand(commands: str) -> str | None:
    """gomem's own commands exist."""
    source = (ROOT / "gomem" / "__main__.py").read_text()
    known = set(re.findall(r"add_parser\(\s*\"(\w+)\"", source))
    for line in commands.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for start in (["gomem"], ["python", "-m", "gomem"]):
            if words[: len(start)] == start and len(words) > len(start):
                word = words[len(start)]
                if known and not word.startswith("-") and word not in known:
                    return f"gomem has no command {word}"
    return None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_code_can_be_parsed(document: str) -> None:
    for language, contents in blocks(read(document)):
        assert fault(language, contents) is None, contents


def test_the_c_program_runs(tmp_path: Path) -> None:
    """README.md's, compiled as README.md says."""
    of_readme = blocks(read("README.md"))
    (program,) = [contents for language, contents in of_readme if language == "c"]
    (command,) = [contents for _, contents in of_readme if contents.startswith("cc ")]
    (tmp_path / "hello.c").write_text(program)
    (tmp_path / "csrc").symlink_to(CSRC)
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert re.fullmatch(r"0xc0\w+: 0\n", done.stdout)


def test_paths_in_commands_exist() -> None:
    """Files of ours that README.md's commands are given."""
    for language, contents in blocks(read("README.md")):
        if language in ("sh", "bash", "shell", "console"):
            ours = r"(?<![\w/.-])((?:tests|tools|benchmarks|csrc|gomem)/[\w./-]+)"
            for path in re.findall(ours, shell_commands(contents)):
                assert (ROOT / path).exists(), path


def test_the_test_itself() -> None:
    assert named_files("see `heap/malloc.c`, `tiny.h` and `x.py`") == ["heap/malloc.c", "tiny.h"]
    files = {"heap/malloc.c"}
    assert exists("malloc.c", files) and not exists("alloc.c", files)
    text = "a\n```python\n>>> 1 +\n```\n```sh\nif\n```\n```sh\n$ ls\nout (put\n```\n"
    assert [fault(*b) is None for b in blocks(text)] == [False, False, True]
    assert fault("sh", "gomem nonsense x") is not None or not Path("gomem/__main__.py").exists()
