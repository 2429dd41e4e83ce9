"""A lesson has all its parts, from the title to what to read next, in plain markdown.

Checked elsewhere: "runs in under N s" in test_timings.py, the badge's address in
test_colab.py, checks and links of the exercises in test_exercises_bite.py.
"""

import re

import yaml
from cells import Section, expect_none, outline
from nbformat import NotebookNode
from notebooks import ROOT, lesson_paths, read_ipynb, tags
from small_lessons import code, complaint, lesson, prose

HEADER = ("You will build", "You will see", "Needs", "Takes")
BADGE = re.compile(r"\[!\[[^\]]+\]\([^)]+\)\]\(https://colab\.research\.google\.com/")
MARK = re.compile(r"(?m)^\*(warm-up|core|stretch) · \d+ minutes\* · \[Solution\]\(")
MYST = re.compile(r"(?m)^(?:```+|:::+)\{|(?<!`)\{[a-z:]+\}`[^`]")
SHORTEST_ALT = 20  # characters that can say what a picture shows
CODE_CELLS_IN_A_ROW = 2  # one that defines, one that uses it


def header_problems(notebook: NotebookNode, name: str, title: str) -> list[str]:
    """What is missing in the first cell; `name` as in "02_bigram"."""
    first = notebook.cells[0].source
    problems = []
    if not first.startswith(f"# {name[:2]} · {title}\n"):
        problems.append(f"the first line is not `# {name[:2]} · {title}`")
    if not BADGE.search(first):
        problems.append("the first cell has no Colab badge")
    absent = [words for words in HEADER if words not in first]
    return problems + [f"the first cell does not say *{words}*" for words in absent]


def whole(sections: list[Section], title: str) -> str:
    """The prose of a `##` section whose title begins so, with its subsections."""
    text, inside = "", False
    for section in sections:
        if section.level <= 2:
            inside = section.level == 2 and section.title.startswith(title)
        text += f"{section.title}\n{section.prose}" if inside else ""
    return text


def count_problem(what: str, count: int, least: int, most: int) -> list[str]:
    """A sentence if the count is out of bounds."""
    if least <= count <= most:
        return []
    return [f"{what}: {count}, it should be {least} to {most}"]


def section_problems(sections: list[Section]) -> list[str]:
    """Parts that are missing, out of place, or of the wrong size."""
    problems = [
        f"there is no section `## {title}`"
        for title in ("Check", "Predict, then run", "Exercises", "Recap", "To read")
        if not whole(sections, title)
    ]
    top = [section.title for section in sections if section.level == 2]
    core = [title for title in top if not title.startswith("Deeper: ")]
    if core[-2:] != ["Recap", "To read"] or top[: len(core)] != core:
        problems.append(
            "the last sections are not `## Recap`, `## To read`, and then `## Deeper: `"
        )
    questions = whole(sections, "Predict, then run").count("<details>")
    problems += count_problem("folded answers in Predict, then run", questions, 2, 4)
    references = re.findall(r"(?m)^[-*] ", whole(sections, "To read"))
    problems += count_problem("items in To read", len(references), 2, 5)
    if "classic bug" not in " ".join(s.title + s.prose for s in sections).lower():
        problems.append("no sentence names the classic bug")
    return problems


def exercise_problems(sections: list[Section]) -> list[str]:
    """Exercises that are too few, misnumbered, unmarked or without a folded hint."""
    exercises = [s for s in sections if s.title.startswith("Exercise ")]
    problems = count_problem("exercises", len(exercises), 3, 5)
    for number, exercise in enumerate(exercises, start=1):
        if exercise.level != 3 or not exercise.title.startswith(f"Exercise {number}: "):
            problems.append(f"`{exercise.title}` is not `### Exercise {number}: ...`")
        if not MARK.search(exercise.prose):
            line = "*core · 10 minutes* · [Solution](...)"
            problems.append(f"{exercise.title}: no line like `{line}`")
        if "<details><summary>Hint</summary>" not in exercise.prose:
            problems.append(f"{exercise.title}: no folded hint")
    return problems


def picture_problems(notebook: NotebookNode) -> list[str]:
    """Pictures that are missing, or that a reader who cannot see them does not get."""
    problems, pictures = [], 0
    for index, cell in enumerate(notebook.cells):
        image, shown = cell.metadata.get("mystnb", {}).get("image", {}), []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for tag in re.findall(r"<img\b[^>]*>", data.get("text/html", "")):
                alt = re.search(r"\balt=(['\"])(.*?)\1", tag)
                if not alt or len(alt[2]) < SHORTEST_ALT:
                    problems.append(f"cell {index}: an <img> without an alt text")
            if any(kind.startswith("image/") for kind in data):
                pictures += 1
                if len(image.get("alt", "")) < SHORTEST_ALT:
                    problems.append(f"cell {index}: a picture without an alt text")
                if data in shown:
                    problems.append(f"cell {index}: a picture that is shown twice")
                shown.append(data)
    return problems if pictures else [*problems, "there is no picture"]


def flow_problems(notebook: NotebookNode) -> list[str]:
    """Code that nobody explains, and markdown that only the site can show."""
    problems, in_a_row = [], 0
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            in_a_row = 0
            if MYST.search(cell.source):
                problems.append(f"cell {index}: a MyST directive or role")
        elif "remove-cell" not in tags(cell):
            in_a_row += 1
            if in_a_row > CODE_CELLS_IN_A_ROW:
                problems.append(f"cell {index}: the third code cell without a word")
    return problems


def anatomy_problems(name: str, notebook: NotebookNode, title: str) -> list[str]:
    """Everything that a lesson lacks."""
    sections = outline(notebook)
    problems = header_problems(notebook, name, title)
    problems += section_problems(sections) + exercise_problems(sections)
    problems += picture_problems(notebook) + flow_problems(notebook)
    return [f"{name}: {problem}" for problem in problems]


def test_lessons_have_all_their_parts() -> None:
    course = yaml.safe_load((ROOT / "book" / "course.yml").read_text("utf-8"))
    titles = {int(row["number"]): row["title"] for row in course["lessons"]}
    problems = [] if lesson_paths() else ["there is no lesson"]
    for path in lesson_paths():
        title = titles[int(path.stem[:2])]
        problems += anatomy_problems(path.stem, read_ipynb(path), title)
    expect_none(problems)


# The test's own test, on small broken lessons

BADGE_LINE = "[![Open](b.svg)](https://colab.research.google.com/github/a/b.ipynb)"
FIRST = f"# 02 · Bigram\n\n{BADGE_LINE}\n\n" + "\n".join(f"- {h} x" for h in HEADER)
MIDDLE = "## Check\n\nThe classic bug is here."
ANSWER = "<details><summary>Why?</summary>\n</details>\n"
PREDICT = f"## Predict, then run\n\n{ANSWER}{ANSWER}"
EXERCISES = "## Exercises\n" + "".join(
    f"\n### Exercise {number}: Count\n\n*core · 10 minutes* · [Solution](x)\n\n"
    "<details><summary>Hint</summary>\n\nCount.\n\n</details>\n"
    for number in (1, 2, 3)
)
END = "## Recap\n\nDone.\n\n## To read\n\n- One\n- Two\n"
ALT = "A curve that falls from left to right."
PICTURE = code("plot()", picture=True, alt=ALT)
PARTS = (FIRST, MIDDLE, PREDICT, EXERCISES, END)


def problems_of(*cells: NotebookNode, old: str = "", new: str = "") -> list[str]:
    """What is said about a lesson of all parts, one of them changed, and cells."""
    texts = [prose(part.replace(old, new) if old else part) for part in PARTS]
    return anatomy_problems("02_bigram", lesson(*texts, *cells), "Bigram")


def test_a_complete_lesson_is_accepted() -> None:
    assert not problems_of(PICTURE)
    assert not problems_of(PICTURE, old="- Two\n", new="- Two\n\n## Deeper: why\n")


def test_a_missing_part_is_found() -> None:
    for old, new, words in (
        ("# 02 · Bigram", "# 3 · Bigram", "the first line is not"),
        (BADGE_LINE, "", "no Colab badge"),
        ("Needs", "Wants", "does not say *Needs*"),
        ("## Check", "## Prove", "no section `## Check`"),
        ("classic bug", "usual error", "no sentence names the classic bug"),
        (ANSWER, "", "Predict, then run: 0"),
        (ANSWER, ANSWER * 3, "Predict, then run: 6"),
        ("- Two\n", "", "items in To read: 1"),
        ("- Two\n", "- Two\n" * 5, "items in To read: 6"),
        ("Done.\n", "Done.\n\n## One more thing\n", "the last sections"),
        ("## Recap", "## Deeper: why\n\nSo.\n\n## Recap", "the last sections"),
        ("### Exercise 2:", "### Task 2:", "Exercise 3: Count` is not `### Exercise 2"),
        ("### Exercise 3:", "#### Exercise 3:", "is not `### Exercise 3"),
        ("2: Count\n\n*core ·", "2: Count\n\n*hard ·", "2: Count: no line like"),
    ):
        said = "\n".join(problems_of(PICTURE, old=old, new=new))
        assert words in said, (old, said)


def test_an_exercise_without_a_hint_is_found() -> None:
    said = problems_of(PICTURE, old="Hint", new="Idea")
    assert len(said) == 3 and "Exercise 1: Count: no folded hint" in said[0]


def test_a_picture_without_words_is_found() -> None:
    assert "no picture" in complaint(problems_of())
    bare = code("plot()", picture=True)
    short = code("plot()", picture=True, alt="A figure")
    frames = code("slider()", html=f"<img src='data:' alt='{ALT}'>")
    empty = code("slider()", html="<img alt=''>")
    assert not problems_of(PICTURE, frames)
    for bad in (bare, short, empty):
        assert "without an alt text" in complaint(problems_of(PICTURE, bad))


def test_a_picture_that_is_shown_twice_is_found() -> None:
    twice = code("plot()", picture=True, alt=ALT)
    twice.outputs *= 2
    assert "shown twice" in complaint(problems_of(twice))


def test_code_without_words_and_words_without_a_reader_are_found() -> None:
    assert "third code cell" in complaint(problems_of(PICTURE, PICTURE, PICTURE))
    hidden = code("x = 1", tags=["remove-cell"])
    assert not problems_of(PICTURE, PICTURE, hidden)
    for myst in ("```{note}\nNo.\n```", ":::{tip}\nNo.\n:::", "See {ref}`this`."):
        assert "MyST" in complaint(problems_of(PICTURE, prose(myst)))
    assert not problems_of(PICTURE, prose("A set `{a}` and ```python\nx\n```"))
