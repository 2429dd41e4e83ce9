"""The bug museum: its checks bite, its pages are made from it, and no bug can rot.

Each check rejects its bug, and mends that learners would try (`planted/museum.py`), and
accepts the mend. ``make mutants`` plants each bug in a copy of the library, where the
test that the exhibit names must fail.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import build_museum
import pytest
from cells import expect_none
from notebooks import ROOT, read_ipynb
from test_pairs import drift, flaws

from lib.checks import exercise
from lib.checks.museum import EXHIBITS, ROOMS, hunt
from lib.checks.museum.exhibit import Exhibit

FEWEST = 24
LONGEST_BUG = 25  # lines
SHORTEST_MESSAGE = 25  # characters
CRASH = ("Your code raised", "The check itself stopped")
MINUTE = 60
# A random test that fails looks for a simpler example, which takes long: not here.
FIRST_FAILURE = """
from hypothesis import Phase, settings
settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate])
settings.load_profile("mutants")
"""
WRONG = importlib.import_module("planted.museum").WRONG
all_exhibits = pytest.mark.parametrize("exhibit", EXHIBITS.values(), ids=EXHIBITS)


def verdict_on(exhibit: Exhibit, source: str) -> tuple[str, str]:
    """What the check says about some source: the status, and its words."""
    verdict = exercise(exhibit.check).run(exhibit.made_from(source))
    return verdict.status, verdict.message.partition(". ")[2]


def check_problems(exhibit: Exhibit) -> list[str]:
    """What a check accepts wrongly, rejects wrongly, or rejects without a reason."""
    problems = []
    wrong = {"the bug": exhibit.source}
    for number, pairs in enumerate(WRONG.get(exhibit.slug, []), start=1):
        wrong[f"wrong mend {number}"] = exhibit.changed(pairs)
    for name, source in wrong.items():
        status, words = verdict_on(exhibit, source)
        if status != "wrong":
            problems.append(f"{exhibit.slug}: {name} is {status}")
        elif words.startswith(CRASH) or len(words) < SHORTEST_MESSAGE:
            problems.append(f"{exhibit.slug}: {name} gets no reason: {words!r}")
    status, words = verdict_on(exhibit, exhibit.changed())
    if status != "correct":
        problems.append(f"{exhibit.slug}: the mend is {status}: {words}")
    if len(wrong) < 2:
        problems.append(f"{exhibit.slug}: no wrong mend is planted")
    return problems


def test_there_are_enough() -> None:
    assert len(EXHIBITS) == sum(map(len, ROOMS.values())) >= FEWEST
    assert all(len(room) >= 4 for room in ROOMS.values())
    assert WRONG.keys() == EXHIBITS.keys()


@all_exhibits
def test_a_check_rejects_the_bug_and_accepts_the_mend(exhibit: Exhibit) -> None:
    expect_none(check_problems(exhibit))
    assert len(exhibit.source.splitlines()) <= LONGEST_BUG


@all_exhibits
def test_the_bug_stands_in_the_library_as_it_says(exhibit: Exhibit) -> None:
    file, text, replacement = exhibit.mutant
    source = (ROOT / "lib" / file).read_text("utf-8")
    assert source.count(text) == 1
    ast.parse(source.replace(text, replacement))
    file, name = exhibit.caught_by.split("::")
    tests = (ROOT / "tests" / file).read_text("utf-8")
    assert re.search(rf"(?m)^def {name}\(", tests)


def test_hunt_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    exhibit = EXHIBITS["window"]
    hunt("window", exhibit.bug)
    hunt("window", exhibit.made_from(exhibit.changed()))
    hunt("window", ...)
    hunt("window", lambda length, window: 1 / 0)
    still, mended, none, crash = capsys.readouterr().out.splitlines()
    assert still.startswith("window: not mended yet. With length=6 and window=3")
    assert mended == "window: mended. As many as the window has, and no more."
    assert none == "window: not attempted yet"
    assert "window: not mended yet. Your code raised ZeroDivisionError" in crash
    with pytest.raises(ValueError, match="slug='door' must be one of causal-weights"):
        hunt("door", exhibit.bug)


def test_an_exhibit_with_a_fault_is_noticed() -> None:
    exhibit = EXHIBITS["window"]
    blind = replace(exhibit, check=lambda answer: "Fine.")
    said = check_problems(blind)
    assert [line.split(" is ")[0] for line in said[:2]] == [
        "window: the bug",
        "window: wrong mend 1",
    ]
    never = replace(exhibit, mend=(("window = 9", ""),))
    with pytest.raises(ValueError, match="stands 0 times"):
        never.changed()
    useless = replace(exhibit, mend=(("<= window", "<= 2 * window"),))
    assert "the mend is wrong" in check_problems(useless)[0]


# The pages


def test_the_rooms_are_what_the_builder_makes() -> None:
    wanted = build_museum.pages()
    written = {path: path.read_text("utf-8") for path in wanted if path.exists()}
    assert written == wanted, "run `make lessons`"
    scripts = {path for path in wanted if path.suffix == ".py"}
    assert scripts == {*(ROOT / "book" / "museum").glob("*.py")}


@pytest.mark.parametrize("room", ROOMS)
def test_a_rooms_notebook_is_its_script(room: str) -> None:
    script = ROOT / "book" / "museum" / f"{room}.py"
    expect_none(drift(script) + flaws(read_ipynb(script)))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_shows_each_bug_unsolved(room: str) -> None:
    cells = read_ipynb(ROOT / "book" / "museum" / f"{room}.py").cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    said = [out.get("text", "") for c in cells for out in c.get("outputs", [])]
    for exhibit in ROOMS[room]:
        assert exhibit.source in sources
        lines = [text for text in said if text.startswith(f"{exhibit.slug}: ")]
        assert len(lines) == 1 and "not mended yet. " in lines[0]
        _, words = verdict_on(exhibit, exhibit.source)
        assert words in lines[0]


def test_every_story_is_told() -> None:
    stories = build_museum.read_stories()
    assert stories.keys() == EXHIBITS.keys()
    lessons = {path.stem for path in (ROOT / "lessons").glob("*.py")}
    for slug, story in stories.items():
        assert story["lesson"] in lessons, slug
        name, _, address = story["source"].partition(" <")
        assert name == "A classic" or address.startswith("https://"), slug


# The bugs in the library


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the library and its tests; all else is linked."""
    for path in ROOT.iterdir():
        if path.name in ("lib", "tests"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, tmp_path / path.name, ignore=ignore)
        elif path.suffix in (".py", ".toml"):
            shutil.copy(path, tmp_path)
        elif not path.name.startswith("."):
            (tmp_path / path.name).symlink_to(path)
    with (tmp_path / "conftest.py").open("a", encoding="utf-8") as file:
        file.write(FIRST_FAILURE)
    return tmp_path


def run_test(copy: Path, node: str) -> tuple[int, str]:
    """Run a test of a copy; return its status and what it printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [*command, f"tests/{node}"],
        cwd=copy,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=5 * MINUTE,
    )
    return done.returncode, done.stdout + done.stderr


def broken_names(said: str) -> Iterator[str]:
    """The errors of a mutant that is no bug, but code that cannot run."""
    yield from re.findall(r"^E +(NameError|SyntaxError|ImportError).*", said, re.M)


@pytest.mark.mutants
@all_exhibits
def test_its_test_finds_the_bug_in_the_library(exhibit: Exhibit, copy: Path) -> None:
    file, text, replacement = exhibit.mutant
    path = copy / "lib" / file
    path.write_text(path.read_text("utf-8").replace(text, replacement), "utf-8")
    status, said = run_test(copy, exhibit.caught_by)
    assert status == 1, f"{exhibit.caught_by} does not fail:\n{said[-2000:]}"
    assert not [*broken_names(said)], said[-2000:]


@pytest.mark.mutants
def test_without_a_bug_the_copy_passes(copy: Path) -> None:
    status, said = run_test(copy, EXHIBITS["window"].caught_by)
    assert status == 0, said[-2000:]
