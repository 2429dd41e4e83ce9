"""One command gives lessons other numbers; no number of a lesson leads astray."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from course_data import is_finished, read_course
from notebooks import ROOT
from rename_lessons import LABEL, LIST, NAMED, STEM, rename, tracked

COURSE = """\
limits: {lessons: 60, solutions: 20}
parts: {I: Zero}
lessons:
  - number: 0
    slug: begin
    title: Begin
    part: I
    promise: Begin.
  - number: new
    slug: between
    title: Between
    part: I
    promise: Go between.
  - number: 1
    slug: big_and_small
    title: Big
    part: I
    promise: Grow.
  - number: 2
    slug: end
    title: End
    part: I
    promise: End.
plumbing: [checks.lesson_00, checks.lesson_01]
"""
LESSON = """\
# %% [markdown]
# # 01 · Big
#
# After lessons [00](00_begin.ipynb) and
# [02](../lessons/02_end.ipynb#more); see lessons
# 01 to
# 02, or lesson 00. In 02 days, 01 · 02. <!-- from: 01_big_and_small#a "b" -->
"""
RENAMED = """\
# %% [markdown]
# # 02 · Big
#
# After lessons [00](00_begin.ipynb) and
# [03](../lessons/03_end.ipynb#more); see lessons
# 02 to
# 03, or lesson 00. In 02 days, 01 · 02. <!-- from: 02_big#a "b" -->
"""


def write_tree(root: Path) -> None:
    """A course of three lessons, and a fourth that shall come between."""
    files = {
        "book/course.yml": COURSE,
        "lessons/01_big_and_small.py": LESSON,
        "solutions/01_big_and_small.py": "# # Solutions 01 · Big\n",
        "lib/checks/lesson_01.py": '"""The checks of lesson 01."""\n',
        "data/timings.json": '{"lessons/02_end": {"seconds": 1.02}}\n',
        "lessons/01_big_and_small.ipynb": json.dumps(
            {"cells": [{"source": ["# 01 · Big\n", "lesson 02"], "outputs": ["02"]}]}
        ),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)


def read(root: Path, name: str) -> str:
    return (root / name).read_text(encoding="utf-8")


def test_a_lesson_comes_in_between(tmp_path: Path) -> None:
    write_tree(tmp_path)
    rename(tmp_path, {"big_and_small": "big"})
    assert read(tmp_path, "lessons/02_big.py") == RENAMED
    assert read(tmp_path, "solutions/02_big.py") == "# # Solutions 02 · Big\n"
    assert (
        read(tmp_path, "lib/checks/lesson_02.py") == '"""The checks of lesson 02."""\n'
    )
    assert read(tmp_path, "data/timings.json") == (
        '{"lessons/03_end": {"seconds": 1.02}}\n'
    )
    (cell,) = json.loads(read(tmp_path, "lessons/02_big.ipynb"))["cells"]
    assert cell == {"source": ["# 02 · Big\n", "lesson 03"], "outputs": ["02"]}
    assert not [*tmp_path.rglob("*01*")]

    lessons = read_course(tmp_path).lessons
    assert [one.name for one in lessons] == [
        "00_begin",
        "01_between",
        "02_big",
        "03_end",
    ]
    assert [one.was for one in lessons] == [(), (), ("01_big_and_small",), ("02_end",)]
    assert "checks.lesson_02]" in read(tmp_path, "book/course.yml")


def test_twice_changes_nothing_and_back_again_forwards_nothing(tmp_path: Path) -> None:
    write_tree(tmp_path)
    rename(tmp_path, {})
    assert rename(tmp_path, {}) == []

    text = read(tmp_path, "book/course.yml")
    between = re.search(r"  - number: 1\n(?:    .*\n)+", text)[0]
    course = tmp_path / "book" / "course.yml"
    course.write_text(text.replace(between, ""), encoding="utf-8")
    rename(tmp_path, {})
    assert read(tmp_path, "lessons/01_big_and_small.py") == LESSON
    was = [one.was for one in read_course(tmp_path).lessons]
    assert was == [(), ("02_big_and_small",), ("03_end",)]


@pytest.mark.parametrize(
    "slugs, message",
    [
        ({"gone": "new"}, r"no lesson has the slug \['gone'\]"),
        ({"end": "begin"}, "two lessons would have one slug"),
    ],
)
def test_a_wrong_name_writes_nothing(tmp_path, slugs, message) -> None:
    write_tree(tmp_path)
    before = {
        path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()
    }
    with pytest.raises(ValueError, match=message):
        rename(tmp_path, slugs)
    after = {
        path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()
    }
    assert after == before


# No dangling numbers


def sentences(root: Path, name: str) -> str:
    """What a file says: of a notebook, its sources."""
    text = (root / name).read_text(encoding="utf-8")
    if not name.endswith(".ipynb"):
        return text
    return "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def dangling(text: str, names: set[str]) -> list[str]:
    """Mentions of lessons that the course has under other numbers, or not at all."""
    slugs = {name[3:] for name in names}
    named = re.findall(rf"(?:Home lesson: |(?:lessons|solutions)/){STEM}", text)
    found = [stem for stem in named if stem not in names]
    found += [
        stem
        for stem in re.findall(STEM, text)
        if stem not in names | {*named} and stem[3:] in slugs
    ]
    found += [
        match[0] for match in LABEL.finditer(text) if match[0][1:3] != match[2][:2]
    ]
    for match in NAMED.finditer(text):
        found += [n for n in re.findall(r"\d\d", match[2]) if int(n) >= len(names)]
    return found


# Names of lessons that are made up for a test, or that a lesson had before.
SKIPPED = ("book/course.yml", "tests/test_")


def test_no_number_of_a_lesson_dangles() -> None:
    names = {lesson.name for lesson in read_course().lessons}
    found = {
        name: problems
        for name in tracked(ROOT)
        if not name.startswith(SKIPPED)
        and (problems := dangling(sentences(ROOT, name), names))
    }
    assert found == {}


def test_every_finished_lesson_has_its_checks_and_planted_answers() -> None:
    done = {one.number for one in read_course().lessons if is_finished(one)}
    for folder in ("lib/checks", "tests/planted"):
        files = (ROOT / folder).glob("lesson_*.py")
        assert {int(path.stem[-2:]) for path in files} == done, folder


@pytest.mark.parametrize(
    "text, problem",
    [
        ("lessons/04_gone.ipynb", "04_gone"),
        ("Home lesson: 03_attention", "03_attention"),
        ("[05](../lessons/04_attention.ipynb)", "[05](../lessons/04_attention"),
        ("as in lessons 00 and\n# 05 you", "05"),
    ],
)
def test_a_dangling_number_is_found(text, problem) -> None:
    names = {"00_a", "01_b", "02_c", "03_d", "04_attention"}
    assert dangling(text, names) == [problem]
    assert dangling("[04](04_attention.ipynb), lessons 00 to 04; 05_x; 05", names) == []


def test_lists_of_numbers_are_read() -> None:
    for text in ("02", "02 and 03", "02, 03 and\n# 04", "02 to 05", "02, 03"):
        assert re.fullmatch(LIST, text)
    assert not re.fullmatch(LIST, "02 03")
