"""The contents of the site: finished lessons and all solutions, in order."""

from pathlib import Path

import yaml
from course_data import is_finished, read_course
from notebooks import ROOT, lesson_paths, pair_name, read_py, solution_paths


def read_toc(root: Path) -> list[tuple[str, str]]:
    """Each page of `_toc.yml` after the first one, with the title of its part."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    return [
        (part["caption"], c["file"]) for part in toc["parts"] for c in part["chapters"]
    ]


def first_heading(path: Path) -> str:
    """The text of the first heading of a notebook."""
    return read_py(path).cells[0].source.splitlines()[0].removeprefix("# ")


def toc_problems(root: Path) -> list[str]:
    """Where contents, course and notebooks of a tree disagree."""
    course, pages = read_course(root), read_toc(root)
    done = [lesson for lesson in course.lessons if is_finished(lesson, root)]
    wanted = [
        (f"Part {one.part}: {course.parts[one.part]}", f"lessons/{one.name}")
        for one in done
    ]
    wanted += [("Solutions", pair_name(path)) for path in solution_paths(root)]
    listed = [entry for entry in pages if not entry[1].startswith("book/")]
    problems = []
    if listed != wanted:
        problems.append(f"_toc.yml lists {listed}, but there are {wanted}")
    problems += [
        f"_toc.yml: there is no {page}.md"
        for _, page in pages
        if page.startswith("book/")
        and not any((root / f"{page}{end}").exists() for end in (".md", ".ipynb"))
    ]
    return problems + title_problems(root)


def title_problems(root: Path) -> list[str]:
    """Lessons that are not in `book/course.yml`, or have another title there."""
    course, problems = read_course(root), []
    for path in lesson_paths(root):
        lesson = course.lesson(path.stem)
        if lesson is None:
            problems.append(f"{path.stem} is not in book/course.yml")
        elif first_heading(path) != lesson.heading:
            problems.append(
                f"{path.stem} begins {first_heading(path)!r}, not {lesson.heading!r}"
            )
    return problems


def test_contents_course_and_notebooks_agree() -> None:
    assert toc_problems(ROOT) == []


def test_the_course_is_numbered_without_gaps() -> None:
    course = read_course()
    assert [one.number for one in course.lessons] == list(range(len(course.lessons)))
    assert list(dict.fromkeys(one.part for one in course.lessons)) == list(course.parts)


# The test's own test, on a small tree

COURSE = """
limits: {lessons: 60, solutions: 20}
parts: {I: Zero}
lessons:
  - {number: 0, slug: a, title: First, part: I, promise: Begin.}
  - {number: 1, slug: b, title: Second, part: I, promise: Go on.}
plumbing: []
"""
TOC = """
root: book/intro
parts:
  - caption: "Part I: Zero"
    chapters: [{file: lessons/00_a}]
  - caption: Solutions
    chapters: [{file: solutions/00_a}]
"""


def write_tree(root: Path) -> None:
    """A course of two lessons, the first of them finished."""
    for name in ("book", "lessons", "solutions"):
        (root / name).mkdir()
    (root / "book" / "course.yml").write_text(COURSE, encoding="utf-8")
    (root / "_toc.yml").write_text(TOC, encoding="utf-8")
    lesson = "# %% [markdown]\n# # 00 · First\n"
    (root / "lessons" / "00_a.py").write_text(lesson, encoding="utf-8")
    (root / "solutions" / "00_a.py").write_text(lesson, encoding="utf-8")


def test_a_disagreement_is_found(tmp_path: Path) -> None:
    write_tree(tmp_path)
    assert toc_problems(tmp_path) == []

    second = tmp_path / "lessons" / "01_b.py"
    second.write_text("# %% [markdown]\n# # 01 · Other\n", encoding="utf-8")
    unlisted, title = toc_problems(tmp_path)
    assert "lessons/01_b" in unlisted
    assert title == "01_b begins '01 · Other', not '01 · Second'"

    second.rename(tmp_path / "lessons" / "02_c.py")
    assert toc_problems(tmp_path) == ["02_c is not in book/course.yml"]


def test_a_wrong_order_is_found(tmp_path: Path) -> None:
    write_tree(tmp_path)
    swapped = TOC.replace("lessons/00_a", "x").replace("solutions/00_a", "lessons/00_a")
    text = swapped.replace("{file: x}", "{file: solutions/00_a}, {file: book/gone}")
    (tmp_path / "_toc.yml").write_text(text, encoding="utf-8")
    order, gone = toc_problems(tmp_path)
    assert order.startswith("_toc.yml lists") and gone.endswith("no book/gone.md")
