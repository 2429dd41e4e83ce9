"""A minute a lesson: every notebook was measured and is within its limit.

`make times` writes ``data/timings.json``; the limits are in ``book/course.yml``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import times
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebooks import ROOT, lesson_paths, pair_name, read_py, solution_paths

COURSE_LIMIT = 15 * 60  # seconds, all lessons together
PROMISE = re.compile(r"runs in under (\d+) s\b")


def limits(root: Path) -> dict[str, float]:
    """Return the limit of every notebook of the tree, in seconds."""
    course = yaml.safe_load((root / "book" / "course.yml").read_text("utf-8"))
    own = {
        f"lessons/{lesson['number']:02d}_{lesson['slug']}": lesson["limit"]
        for lesson in course["lessons"]
        if "limit" in lesson
    }
    names = map(pair_name, lesson_paths(root) + solution_paths(root))
    return {n: own.get(n, course["limits"][n.split("/")[0]]) for n in names}


def promises(root: Path) -> dict[str, int | None]:
    """Return the seconds that the head of each lesson promises, None where missing."""
    found = {}
    for path in lesson_paths(root):
        match = PROMISE.search(read_py(path).cells[0].source)
        found[pair_name(path)] = int(match[1]) if match else None
    return found


def complaints(root: Path) -> Iterator[str]:
    """Yield what is wrong with the recorded times of a tree."""
    records = json.loads((root / times.TIMINGS).read_text("utf-8"))["notebooks"]
    allowed = limits(root)
    for name in records.keys() - allowed.keys():
        yield f"{name}: measured, but there is no such notebook"
    for name in allowed.keys() - records.keys():
        yield f"{name}: never measured; run `make times NAMES={name}`"
    for name in records.keys() & allowed.keys():
        if (seconds := records[name]["seconds"]) > allowed[name]:
            yield f"{name}: takes {seconds} s, allowed are {allowed[name]} s"
    for name, promised in promises(root).items():
        if promised is None:
            yield f"{name}: its head does not say 'runs in under N s'"
        elif name in records and promised < records[name]["seconds"]:
            yield f"{name}: promises {promised} s, takes {records[name]['seconds']} s"
    total = sum(r["seconds"] for n, r in records.items() if n.startswith("lessons/"))
    if total > COURSE_LIMIT:
        yield f"all lessons together take {total:.0f} s, allowed are {COURSE_LIMIT} s"


def test_every_notebook_was_measured_and_is_within_its_limit() -> None:
    assert sorted(complaints(ROOT)) == []


# The test's own test: a small tree of one lesson, and each way to break it.

LESSON = "lessons/09_small"
COURSE = """\
limits: {lessons: 60, solutions: 20}
lessons: [{number: 9, slug: small, limit: 10}, {number: 10, slug: large}]
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with one lesson that promises 9 s, and a limit of 10 s for it."""
    for folder in ("lessons", "book", "data"):
        (tmp_path / folder).mkdir()
    (tmp_path / "book" / "course.yml").write_text(COURSE, encoding="utf-8")
    head = "# %% [markdown]\n# # 09 · Small\n# *Takes:* 5 minutes; runs in under 9 s\n"
    (tmp_path / f"{LESSON}.py").write_text(head, encoding="utf-8")
    return tmp_path


def judged(tree: Path, **seconds: float) -> str:
    """Record these seconds, `lessons__09_small=8.5`; return the complaints."""
    records = {
        name.replace("__", "/"): {"seconds": s, "peak_mb": 100}
        for name, s in seconds.items()
    }
    content = {"machine": "a small one", "notebooks": records}
    (tree / times.TIMINGS).write_text(json.dumps(content), encoding="utf-8")
    return " · ".join(sorted(complaints(tree)))


def test_a_quick_lesson_passes(tree: Path) -> None:
    assert judged(tree, lessons__09_small=8.5) == ""


@pytest.mark.parametrize(
    ("seconds", "complaint"),
    [
        ({}, "never measured"),
        ({"lessons__09_small": 10.5}, "allowed are 10 s"),
        ({"lessons__09_small": 9.5}, "promises 9 s"),
        ({"lessons__09_small": 8, "lessons__08_gone": 3}, "no such notebook"),
        ({"lessons__09_small": 8, "lessons__08_gone": 893}, "all lessons together"),
    ],
)
def test_each_fault_is_found(
    tree: Path, seconds: dict[str, float], complaint: str
) -> None:
    assert complaint in judged(tree, **seconds)


def test_a_lesson_without_a_promise_is_found(tree: Path) -> None:
    (tree / f"{LESSON}.py").write_text("# %% [markdown]\n# # 09 · Small\n", "utf-8")
    assert "runs in under" in judged(tree, lessons__09_small=8)


def test_a_solution_has_a_limit_of_its_own(tree: Path) -> None:
    (tree / "solutions").mkdir()
    (tree / "solutions" / "09_small.py").write_text("# %%\n", encoding="utf-8")
    found = judged(tree, lessons__09_small=8, solutions__09_small=20.5)
    assert found == "solutions/09_small: takes 20.5 s, allowed are 20 s"


# The command that measures.


def add_notebook(tree: Path, name: str, source: str) -> None:
    cells = [new_markdown_cell("# · é"), new_code_cell(source)]
    path = tree / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)


def test_times_measures_seconds_and_memory(tree: Path) -> None:
    source = "import time; block = bytearray(150_000_000); time.sleep(0.5)"
    add_notebook(tree, LESSON, source)
    assert times.main([], tree) == 0
    recorded = json.loads((tree / times.TIMINGS).read_text("utf-8"))
    assert re.fullmatch(r"\d+ cores, Python 3\.\d+, torch [\d.]+", recorded["machine"])
    record = recorded["notebooks"][LESSON]
    assert 0.5 < record["seconds"] < 30
    assert 200 < record["peak_mb"] < 1000
    assert list(tree.glob("data/*")) == [tree / times.TIMINGS]


def test_times_keeps_the_records_of_notebooks_that_are_not_named(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_notebook(tree, LESSON, "1")
    add_notebook(tree, "lessons/10_large", "1")
    old, new = {"seconds": 7.0, "peak_mb": 70}, {"seconds": 3.0, "peak_mb": 30}
    monkeypatch.setattr(times, "measure", lambda path: new)
    times.write({LESSON: old, "lessons/10_large": old, "lessons/08_gone": old}, tree)
    assert times.main(["10_large"], tree) == 0
    records = json.loads((tree / times.TIMINGS).read_text("utf-8"))["notebooks"]
    assert records == {LESSON: old, "lessons/10_large": new}


def test_times_writes_nothing_when_a_cell_fails(
    tree: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add_notebook(tree, LESSON, "1 / 0")
    assert times.main([], tree) == 1
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert not (tree / times.TIMINGS).exists()


def test_times_refuses_unknown_names_and_records_of_another_machine(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_notebook(tree, LESSON, "1")
    assert times.main(["11_none"], tree) == 1
    assert "no notebook is called 11_none" in capsys.readouterr().err
    times.write({}, tree)
    monkeypatch.setattr(times, "machine", lambda: "64 cores")
    assert times.main([LESSON], tree) == 1
    assert "do not mix" in capsys.readouterr().err
