"""Grading a class: right, wrong, missing, hanging and crashing answers."""

from __future__ import annotations

import ast
import csv
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from notebooks import ROOT, lesson_paths
from teaching_data import exercises

from lib.checks.__main__ import checks_command
from lib.checks.grading import check_calls, code_cells, lesson_name, needed
from lib.command_line import run_command

HEAD = "def local_mask(length, window):\n"
ANSWERS = {  # to the second exercise
    "ada": f"{HEAD}    return causal_mask(length)",
    "dora": f"import os\n{HEAD}    os._exit(7)",
    "eva": f"raise RuntimeError('half-way')\n{HEAD}    pass",
}


def hand_in(folder: Path, name: str, answer: str) -> None:
    """Write the solutions of lesson 06 with another answer to its second exercise."""
    notebook = json.loads(
        (ROOT / "solutions" / "06_attention.ipynb").read_text("utf-8")
    )
    for cell in notebook["cells"]:
        if "def local_mask" in "".join(cell["source"]):
            cell["source"] = answer
    (folder / f"{name}.ipynb").write_text(json.dumps(notebook), "utf-8")


@pytest.fixture
def grade(monkeypatch, capsys) -> Callable[..., str]:
    """Grade with the command, which starts a process for each notebook."""

    def graded(*arguments: str) -> str:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", ["lib.checks", *arguments])
        with pytest.raises(SystemExit) as end:
            run_command(checks_command)
        output, error = capsys.readouterr()
        assert not end.value.code, error
        return output

    return graded


def test_a_class_is_graded(tmp_path: Path, grade) -> None:
    folder, out = tmp_path / "handed in", tmp_path / "marks.csv"
    folder.mkdir()
    for name, answer in ANSWERS.items():
        hand_in(folder, name, answer)
    (folder / "hans.ipynb").write_text("{", "utf-8")
    said = grade("lesson_06", str(folder), "--out", str(out), "--seconds", "60")
    lines = {line.split("/")[-1]: line[:3] for line in said.splitlines()}
    assert lines == {
        "ada.ipynb": "3/4",
        "dora.ipynb": "1/4",
        "eva.ipynb": "3/4",
        "hans.ipynb": "0/4",
    }
    wrong = said_of_the_second(out)
    assert wrong["ada"][0] == "wrong" and wrong["ada"][1].startswith("not yet. ")
    assert "status 7" in wrong["dora"][1]
    assert "no local_mask: NameError" in wrong["eva"][1]
    assert "hans.ipynb is no notebook" in wrong["hans"][1]


def said_of_the_second(out: Path) -> dict[str, tuple[str, str]]:
    """Status and message of each notebook's second exercise."""
    with out.open(encoding="utf-8", newline="") as file:
        return {
            Path(row["notebook"]).stem: (row["status"], row["message"])
            for row in csv.DictReader(file)
            if row["check"] == "check_local_mask"
        }


def test_an_endless_answer_is_stopped(tmp_path: Path, grade) -> None:
    out = tmp_path / "marks.csv"
    hand_in(tmp_path, "cem", f"{HEAD}    while True:\n        pass")
    grade("06", str(tmp_path), "--out", str(out), "--seconds", "9")
    assert said_of_the_second(out) == {"cem": ("not run", "stopped after 9 seconds")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["99", "lessons"], "lesson='99' must be one of 00_quickstart, "),
        (["06", "nowhere"], "path='nowhere' is neither a notebook nor a folder"),
        (["06", "data"], "there is no notebook in these folders"),
        (["06", "lessons", "--seconds", "0"], "seconds=0.0 must be above 0"),
        (["06", "lessons", "--seconds", "nan"], "seconds=nan must be above 0"),
        (["06", "lessons", "--at-once", "0"], "at_once=0 must be 1 or more"),
    ],
)
def test_wrong_input_ends_in_one_line(monkeypatch, arguments, words) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["lib.checks", *arguments])
    with pytest.raises(SystemExit, match=f"^error: {re.escape(words)}") as end:
        run_command(checks_command)
    assert "\n" not in end.value.code  # which Python writes to stderr, with status 1


def test_a_lesson_has_several_names() -> None:
    for name in ("06", "lesson_06", "06_attention"):
        assert lesson_name(name) == "06_attention"


@pytest.mark.parametrize(
    ("cells", "names", "wanted"),
    [
        (["x = 1", "y = x", "z = 3", "f = y"], {"f"}, [0, 1, 3]),
        (["import math as m", "def f():\n    return m.pi", "m2 = 1"], {"f"}, [0, 1]),
        (["x = train()", "x = 2", "f = x"], {"f"}, [1, 2]),
        (["x = [1]", "x[0] = 2", "y = x[0]"], {"y"}, [0, 1, 2]),
        (["n = 1", "n += 1", "n = n + 1", "m = n"], {"m"}, [0, 1, 2, 3]),
        (["class A: pass", "class B(A): pass", "b = B()"], {"b"}, [0, 1, 2]),
        (["k = 3", "def f(n=k): return n"], {"f"}, [0, 1]),
        (["n = 1", "def f(n): return n"], {"f"}, [1]),
        (["n = 1", "f = [n for n in range(3)]"], {"f"}, [1]),
        (["n = 1", "def f():\n    global n\n    n = 2"], {"n"}, [1]),
        (["from a import b", "c = (", "f = b"], {"f"}, [0, 2]),
        (["a, *b = range(3)", "for i in b: last = i"], {"last"}, [0, 1]),
    ],
)
def test_only_what_an_answer_needs_is_run(
    cells: list[str], names: set[str], wanted: list[int]
) -> None:
    assert needed(cells, names) == wanted


def test_no_answer_of_the_first_lessons_needs_a_training() -> None:
    for lesson in ("02_bigram", "06_attention", "10_gpt"):
        calls = check_calls(lesson)
        parts = [part for call in calls.values() for part in ast.walk(call)]
        names = {part.id for part in parts if isinstance(part, ast.Name)} - calls.keys()
        cells = code_cells(ROOT / "lessons" / f"{lesson}.ipynb")
        chosen = [cells[n] for n in needed(cells, names)]
        assert not [cell for cell in chosen if "fit(" in cell or "train(" in cell]


def test_every_exercise_has_its_check() -> None:
    for path in lesson_paths():
        script = path.read_text("utf-8")
        checks = [one.check for one in exercises(script)]
        assert len(checks) >= 3 and len(set(checks)) == len(checks), path
        assert {*checks} <= check_calls(path.stem).keys(), path
    with pytest.raises(ValueError, match="has no check"):
        exercises("# ### Exercise 1: A\n#\n# *core · 5 minutes* · x\n")
