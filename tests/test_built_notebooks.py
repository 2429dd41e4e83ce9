"""Stored outputs are those of the present scripts and library (`make lessons`)."""

import json
from pathlib import Path

import build_notebooks
import jupytext
import nbformat
import pytest
from build_notebooks import DIGESTS, digest, library, meaning, record_rungs, with_ids


def stale(recorded: dict[str, dict[str, str]]) -> list[str]:
    """The notebooks whose script or library changed after they were built."""
    now = {f"{p.parent.name}/{p.stem}": digest(p) for p in build_notebooks.scripts()}
    return sorted(
        name for name in now | recorded if now.get(name) != recorded.get(name)
    )


def test_every_notebook_was_built_after_the_last_change():
    recorded = json.loads(DIGESTS.read_text("utf-8"))
    assert stale(recorded) == [], "run `make lessons`"


def test_a_notebook_built_from_something_else_is_found():
    recorded = json.loads(DIGESTS.read_text("utf-8"))
    for sums in ({}, recorded["lessons/02_bigram"] | {"run": "0"}):
        assert stale(recorded | {"lessons/02_bigram": sums}) == ["lessons/02_bigram"]
    assert stale(recorded | {"lessons/77_gone": {}}) == ["lessons/77_gone"]


def test_meaning_ignores_words_and_layout_only():
    one = 'def f(x):\n    """Old words."""\n    return x + 1  # one more\n'
    two = 'def f( x ):\n    """New words."""\n\n    return (x + 1)\n'
    three = "def f(x):\n    return x + 2\n"
    assert meaning(one) == meaning(two) != meaning(three)


def test_library_follows_imports():
    names = {path.name for path in library("from lib.train import fit\n")}
    assert {"train.py", "data.py", "metrics.py"} <= names
    assert "attention.py" not in names
    assert library("import torch\n") == set()


def test_cells_keep_their_ids():
    old = [nbformat.v4.new_code_cell("a = 1", id="first")]
    old.append(nbformat.v4.new_code_cell("b = 2", id="second"))
    script = "# %%\nnew = 0\n\n# %%\na = 1\n\n# %%\na = 1\n\n# %%\nb = 2\n"
    cells = []
    for _ in range(2):
        notebook = jupytext.reads(script, fmt="py:percent")
        with_ids(notebook, old)
        cells.append([cell.id for cell in notebook.cells])
    assert cells[0] == cells[1]  # new ids are not random
    assert cells[0][1] == "first" and cells[0][3] == "second"
    assert len(set(cells[0])) == 4


def row(name: str, loss: float, seconds: float, lesson: str = "01_a") -> dict:
    return {
        "lesson": lesson,
        "name": name,
        "validation_loss": loss,
        "cpu_seconds": seconds,
    }


@pytest.fixture
def ladder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build_notebooks, "LADDER", tmp_path / "ladder.json")
    return tmp_path / "ladder.json"


def test_rungs_are_sorted_and_replace_those_of_their_lesson(ladder):
    record_rungs("01_a", [row("low", 1.0, 3.0), row("gone", 2.0, 3.0)])
    record_rungs("02_b", [row("other", 4.0, 1.0, "02_b")])
    record_rungs("01_a", [row("low", 1.0, 9.9), row("new", 3.0, 5.0)])
    rungs = json.loads(ladder.read_text("utf-8"))["rungs"]
    assert [r["name"] for r in rungs] == ["other", "new", "low"]
    assert rungs[2]["cpu_seconds"] == 3.0  # the same result keeps its first time


def test_a_new_result_gets_its_new_time(ladder):
    record_rungs("01_a", [row("low", 1.0, 3.0)])
    record_rungs("01_a", [row("low", 0.9, 9.9)])
    rungs = json.loads(ladder.read_text("utf-8"))["rungs"]
    assert [r["cpu_seconds"] for r in rungs] == [9.9]
