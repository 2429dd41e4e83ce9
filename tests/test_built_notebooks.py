"""Stored outputs are those of the present scripts and library (`make lessons`)."""

import json
from functools import cache
from pathlib import Path

import build_notebooks
import jupytext
import nbformat
import pytest
from build_notebooks import (
    DIGESTS,
    ROOT,
    digest,
    library,
    meaning,
    record_rungs,
    with_ids,
)


@cache
def present() -> dict[str, dict[str, str]]:
    """The sums of what the notebooks would be made from now."""
    return {f"{p.parent.name}/{p.stem}": digest(p) for p in build_notebooks.scripts()}


def stale(recorded: dict[str, dict[str, str]]) -> list[str]:
    """The notebooks whose script or library changed after they were built."""
    now = present()
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
    found = library("from lib.train import fit\n")
    names = {path.relative_to(ROOT / "lib").as_posix() for path in found}
    assert {"train/__init__.py", "text/batches.py", "evaluate/losses.py"} <= names
    assert {"__init__.py", "train/parallel.py"} <= names
    assert "block.py" not in names
    assert library("import torch\n") == set()


@pytest.mark.parametrize("edited", ["parts.py", "models/__init__.py", "models/gpt.py"])
def test_an_edit_in_a_package_is_noticed(tmp_path, monkeypatch, edited):
    monkeypatch.setattr(build_notebooks, "ROOT", tmp_path)
    files = {
        "lib/__init__.py": "",
        "lib/parts.py": "size = 1",
        "lib/models/__init__.py": "from lib.models.gpt import GPT",
        "lib/models/gpt.py": "from lib import parts\nGPT = parts.size",
        "lib/models/other.py": "size = 3",
        "lessons/01_a.py": "# %%\nfrom lib.models import GPT",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    script = tmp_path / "lessons/01_a.py"
    before = digest(script)
    (tmp_path / "lib/models/other.py").write_text("size = 4", "utf-8")
    assert digest(script) == before
    path = tmp_path / "lib" / edited
    path.write_text(f"{path.read_text('utf-8')}\nx = 2", "utf-8")
    after = digest(script)
    assert after["run"] != before["run"] and after["script"] == before["script"]


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
