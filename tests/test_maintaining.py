"""The maintainers' page names every command and every recorded file, as they are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from notebooks import ROOT

PAGE = ROOT / "MAINTAINING.md"
ROW = re.compile(r"^\| (`[^|]+`) \| ([^|]+) \|", re.M)
QUOTED = re.compile(r"`([^`]+)`")
TOOL = re.compile(r"book/_tools/\w+\.py")
INTERNAL = {"help", "needs"}
CHOSEN = {"plain.txt"}  # nobody's output
# What these commands write has names that the caller gives.
NAMED = {
    "base": "ship",
    "base-fp16": "ship",
    "gpt-mini": "ship",
    "gpt-mini-fp16": "ship",
    "translator": "lib.translate",
    "words": "workbook",
}


def targets(makefile: str) -> set[str]:
    """Return the targets of a Makefile that a person calls."""
    return set(re.findall(r"^([a-z]+):", makefile, re.M)) - INTERNAL


def command_flaws(page: str, makefile: str) -> Iterator[str]:
    """Yield targets that have no row or two, and rows of no target."""
    rows = re.findall(r"^\| `make ([a-z]+)` \|", page, re.M)
    known = targets(makefile)
    yield from (f"no row for make {name}" for name in sorted(known - {*rows}))
    yield from (f"no target {name}" for name in sorted({*rows} - known))
    yield from (f"two rows for make {name}" for name in sorted(repeated(rows)))
    listed = re.findall(r"^#   make ([a-z]+)", makefile, re.M)
    for name in sorted(known - {*listed}):
        yield f"the Makefile's list lacks make {name}"


def repeated(names: list[str]) -> set[str]:
    """Return what a list holds more than once."""
    return {name for name in names if names.count(name) > 1}


def records(page: str) -> dict[str, str]:
    """Return who writes each file of `data/`, as the table says."""
    table = page.split("| File in `data/` |")[1].split("\n\n")[0]
    return {
        name: writer
        for files, writer in ROW.findall(table)
        for name in QUOTED.findall(files)
    }


def writes(source: str, name: str) -> bool:
    """Whether a tool says in its first lines that it writes `data/<name>`."""
    said = " ".join((ast.get_docstring(ast.parse(source)) or "").split())
    return f"``data/{name}``" in said and bool(re.search(r"\bwrites?\b", said))


def record_flaws(page: str, root: Path) -> Iterator[str]:
    """Yield files of `data/` without a row, and writers that do not write them."""
    kinds = (".json", ".safetensors", ".txt")
    kept = {path.name for path in (root / "data").iterdir() if path.suffix in kinds}
    said = records(page)
    yield from (f"no row for {name}" for name in sorted(kept - CHOSEN - set(said)))
    yield from (f"there is no data/{name}" for name in sorted(set(said) - kept))
    for name, writer in said.items():
        tools = TOOL.findall(writer)
        lost = [tool for tool in tools if not (root / tool).is_file()]
        yield from (f"{name}: there is no {tool}" for tool in lost)
        stem = Path(name).stem
        if stem in NAMED:
            if NAMED[stem] not in writer:
                yield f"{name}: not written by {NAMED[stem]}"
        elif (
            lost
            or not tools
            or not all(writes((root / tool).read_text("utf-8"), name) for tool in tools)
        ):
            yield f"{name}: {writer} does not say that it writes it"


def test_every_command_has_a_row():
    page, makefile = PAGE.read_text("utf-8"), (ROOT / "Makefile").read_text("utf-8")
    assert list(command_flaws(page, makefile)) == []
    assert len(targets(makefile)) > 15


def test_every_recorded_file_has_its_writer():
    assert list(record_flaws(PAGE.read_text("utf-8"), ROOT)) == []


def test_the_tests_and_files_that_it_names_exist():
    text = PAGE.read_text("utf-8")
    for name in set(re.findall(r"\btest_\w+\.py\b", text)):
        assert (ROOT / "tests" / name).is_file(), name
    for name in set(re.findall(r"`((?:book|tests|data)/[\w/.-]+)`", text)):
        assert (ROOT / name).exists(), name


# The tests' own tests


MAKEFILE = "#   make a\n#   make b\nhelp:\n\na: x\nb: y\n"
ROWS = "| `make a` | . |\n| `make b` | . |\n"


@pytest.mark.parametrize(
    "page, makefile, said",
    [
        (ROWS, MAKEFILE + "c: z\n", "no row for make c"),
        (ROWS, MAKEFILE + "c: z\n", "the Makefile's list lacks make c"),
        (ROWS + "| `make c` | . |\n", MAKEFILE, "no target c"),
        (ROWS + "| `make a` | . |\n", MAKEFILE, "two rows for make a"),
    ],
)
def test_a_command_without_its_row_is_found(page, makefile, said):
    assert not [*command_flaws(ROWS, MAKEFILE)]
    assert said in [*command_flaws(page, makefile)]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A course with one record and the tool that writes it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "runs.json").write_text("{}", encoding="utf-8")
    tool = tmp_path / "book" / "_tools" / "runs.py"
    tool.parent.mkdir(parents=True)
    tool.write_text('"""It writes\n``data/runs.json``."""', encoding="utf-8")
    return tmp_path


TABLE = "| File in `data/` | Written by |\n|---|---|\n| `runs.json` | `{}` |\n\n"


@pytest.mark.parametrize(
    "writer, docstring, said",
    [
        ("book/_tools/run.py", None, "there is no book/_tools/run.py"),
        ("book/_tools/runs.py", '"""It writes ``data/run.json``."""', "does not say"),
        ("book/_tools/runs.py", '"""It reads ``data/runs.json``."""', "does not say"),
        ("make", None, "does not say"),
    ],
)
def test_a_wrong_writer_is_found(small, writer, docstring, said):
    right = TABLE.format("book/_tools/runs.py")
    assert not [*record_flaws(right, small)]
    if docstring:
        (small / "book" / "_tools" / "runs.py").write_text(docstring, encoding="utf-8")
    assert said in " · ".join(record_flaws(TABLE.format(writer), small))


def test_a_record_without_a_row_is_found(small):
    right = TABLE.format("book/_tools/runs.py")
    (small / "data" / "more.safetensors").write_bytes(b"")
    assert [*record_flaws(right, small)] == ["no row for more.safetensors"]
    (small / "data" / "runs.json").unlink()
    assert "there is no data/runs.json" in [*record_flaws(right, small)]
