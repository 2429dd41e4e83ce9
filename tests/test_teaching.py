"""What a class gets is made from the sources: map, proofs, blank notebooks, slides."""

from __future__ import annotations

import copy
import importlib
import re
from pathlib import Path
from xml.etree import ElementTree

import handouts
import needs_svg
import notebook_parts
import outcome_data
import pytest
from course_data import Lesson, read_course
from notebooks import ROOT, code_cells, lesson_paths, read_ipynb
from outcome_data import outcome, planted, proof
from teaching_data import exercises, needs, script_of

from lib.checks.grading import grade_all, lesson_name

SITE = "https://course.example/"
LESSONS = read_course().lessons


def wanted() -> dict[int, list[int]]:
    """What each lesson says it needs."""
    return {one.number: [int(n) for n in needs(script_of(one))] for one in LESSONS}


# From outcome to proof


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda one: one.name)
def test_an_outcome_leads_to_exercises_checks_and_tests(lesson: Lesson) -> None:
    held, text = proof(lesson), script_of(lesson)
    assert [one.check for one in held.exercises] == [c for c in held.planted]
    wrong = importlib.import_module(f"planted.lesson_{lesson.number:02}").WRONG
    assert held.planted == {check: len(answers) for check, answers in wrong.items()}
    for verb, words in (("build", held.build), ("see", held.see)):
        assert f"**You will {verb}** {words[:20]}" in text
        assert words.endswith(".") and "](" not in words and "<!--" not in words
    imported = set().union(*outcome_data.tests_by_name().values())
    assert bool(held.tests) == bool(held.names)
    named = set().union(*(outcome_data.tests_by_name()[t] for t in held.tests))
    assert {*held.names} & imported == {*held.names} & named


def test_only_names_of_the_lesson_count() -> None:
    held = proof(read_course().lesson("06_attention"))
    assert "attention.causal_mask" in held.names
    assert "attention.MultiHeadAttention" not in held.names  # lesson 07 builds it
    assert held.tests[0] == "test_attention.py"
    doc = importlib.import_module("lib.attention").causal_mask.__doc__
    assert "Home lesson: 06_attention" in doc


def test_what_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="what you will see"):
        outcome("# - **You will build** a mask.\n", "see")
    assert outcome("# - **You will see** [a](b) <!-- from: c -->\n#  d.\n", "see") == (
        "a d."
    )
    (tmp_path / "lessons").mkdir()
    (tmp_path / "tests" / "planted").mkdir(parents=True)
    lesson = LESSONS[6]
    for file in (f"lessons/{lesson.name}.py", "tests/planted/lesson_06.py"):
        text = (ROOT / file).read_text("utf-8").replace('"check_local_mask"', '"other"')
        (tmp_path / file).write_text(text, "utf-8")
    assert planted(6, tmp_path)["other"] == planted(6)["check_local_mask"]
    with pytest.raises(ValueError, match="nothing is planted for check_local_mask"):
        proof(lesson, tmp_path)


def test_few_files_of_tests_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a": {"x", "y", "q", "r"}, "b": {"x", "y"}, "c": {"z", "x"}, "d": {"r"}}
    monkeypatch.setattr(outcome_data, "tests_by_name", lambda root: files)
    assert outcome_data.tests_of(["x", "y", "z", "untested"]) == ["b", "c"]
    assert outcome_data.tests_of([]) == []


# The picture of what needs what


def test_a_lesson_needs_only_earlier_ones() -> None:
    for number, sources in wanted().items():
        assert sources == sorted({*sources}) and all(s < number for s in sources)
        assert bool(sources) == (number > 0)


def test_all_needs_are_drawn() -> None:
    svg = needs_svg.draw(read_course(), wanted(), "../lessons/{}.html")
    root = ElementTree.fromstring(svg)
    links = [e for e in root.iter() if e.tag == "a"]
    assert [e.get("href") for e in links] == [
        f"../lessons/{one.name}.html" for one in LESSONS
    ]
    for link, (number, sources) in zip(links, wanted().items(), strict=True):
        words = link.get("aria-label")
        assert words.startswith(f"{number:02} · ")
        assert [int(n) for n in re.findall(r"\d\d", words.split(": needs")[1])] == (
            sources
        )
    paths = [e.get("class") for e in root.iter() if e.tag == "path"]
    drawn = [name for name in paths if name.startswith("e-")]
    assert len(drawn) == paths.count("tip") == sum(map(len, wanted().values()))
    for source in {s for sources in wanted().values() for s in sources}:
        n_times = sum(source in sources for sources in wanted().values())
        assert drawn.count(f"e-{source}") == n_times


@pytest.mark.parametrize("seed", range(20))
def test_lines_in_one_lane_never_overlap(seed: int) -> None:
    sources = {n: [(n * seed + 3) % n, n - 1] for n in range(1, 30)}
    last = {
        s: max(n for n in sources if s in sources[n] and n - s > 1)
        for s in range(30)
        if any(s in sources[n] and n - s > 1 for n in sources)
    }
    lanes = needs_svg.lanes(sources)
    assert lanes.keys() == last.keys()
    for one in lanes:
        for other in lanes:
            if one < other and lanes[one] == lanes[other]:
                assert last[one] <= other


# Blank notebooks


def blank(path: Path) -> dict:
    return handouts.blank(notebook_parts.read(path.with_suffix(".ipynb")), SITE)


@pytest.mark.parametrize("path", lesson_paths(), ids=lambda path: path.stem)
def test_a_blank_notebook_has_the_exercises_and_no_answers(path: Path) -> None:
    made, lesson = blank(path), read_ipynb(path)
    cells = made["cells"]
    code = [notebook_parts.source(c) for c in cells if c["cell_type"] == "code"]
    text = "\n".join(
        notebook_parts.source(c) for c in cells if c["cell_type"] == "markdown"
    )
    assert not any(c.get("outputs") or c.get("execution_count") for c in cells)
    kept = [c for c in code_cells(lesson) if "answer" not in c.metadata.get("tags", [])]
    assert code == [cell.source for cell in kept]
    for word in ("<details", "Solution](", "/solutions/", "Open in Colab", "<!--"):
        assert word not in text
    for one in exercises(path.read_text("utf-8")):
        assert f"### Exercise {one.number}: {one.title}\n" in text
    asked = notebook_parts.questions(notebook_parts.read(path.with_suffix(".ipynb")))
    assert asked and all(f"**{question}**" in text for question in asked)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if link[0] != "#"]
    assert links and all(link.startswith("https://") for link in links)
    for link in links:
        if link.startswith(SITE):
            page = Path(link.removeprefix(SITE).split("#")[0])
            known = (page.with_suffix(end) for end in (".md", ".py"))
            assert any((ROOT / name).exists() for name in known), link


def test_the_lesson_itself_is_left_alone() -> None:
    notebook = notebook_parts.read(lesson_paths()[6].with_suffix(".ipynb"))
    before = copy.deepcopy(notebook)
    assert handouts.blank(notebook, SITE) != before
    assert notebook == before


def test_folds_are_taken_out() -> None:
    fold = "<details><summary>{}</summary>\n\nsecret\n\n</details>\n\n"
    text = "Do. · [Solution](../solutions/x.ipynb#a)\n\n" + fold.format("Hint")
    text += fold.format("Another hint") + fold.format("What comes\nout?") + "End."
    assert handouts.unfolded(text) == "Do.\n\n**What comes out?**\n\nEnd."


@pytest.mark.parametrize(("number", "n"), [("06", 4), ("27", 3)])
def test_what_is_handed_out_can_be_graded(tmp_path: Path, number: str, n: int) -> None:
    assert handouts.main([number, "--out", str(tmp_path)]) == 0
    paths = sorted(tmp_path.rglob("*.ipynb"))
    said = {
        path.parent.name: [verdict.status for verdict in verdicts.values()]
        for path, verdicts in grade_all(lesson_name(number), paths, 900, 2)
    }
    assert said == {"blank": ["not attempted"] * n, "solutions": ["correct"] * n}


def test_an_unknown_lesson_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert handouts.main(["99", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "there is no lesson 99\n"
    assert not list(tmp_path.iterdir())


# Diagrams as files


@pytest.mark.parametrize("path", lesson_paths(), ids=lambda path: path.stem)
def test_a_diagram_stands_alone(path: Path) -> None:
    notebook = notebook_parts.read(path.with_suffix(".ipynb"))
    found = notebook_parts.pictures(notebook)
    assert found and notebook_parts.promise(notebook)
    for svg, alt in found:
        assert alt and notebook_parts.name_of(svg)
        style = notebook_parts.STYLE.search(svg)[0]
        lights = re.findall(r"--d-[\w-]+:(#\w+)", style.split("@media")[0])
        light, dark = notebook_parts.light(svg), notebook_parts.dark(svg)
        for made in (light, dark):
            root = ElementTree.fromstring(made)
            assert root.get("viewBox") and "class=" not in made
            assert "var(" not in made and "<style" not in made
        used = set(re.findall(r'"(#[0-9a-f]{6})"', light))
        assert used and used <= {*lights}
        assert not used & set(re.findall(r'"(#[0-9a-f]{6})"', dark))
