"""No number in the prose is typed from memory: the rule of `prose_numbers.py`."""

import json
from functools import cache

from cells import expect_none, has_assert, has_claim, was_executed
from nbformat import NotebookNode, v4
from notebooks import (
    ROOT,
    code_cells,
    lesson_paths,
    pair_name,
    read_ipynb,
    solution_paths,
    tags,
)
from prose_numbers import (
    Number,
    Run,
    blocks,
    claims,
    is_backed,
    number_problems,
    numbers,
    paragraphs,
    share_noticed,
)
from small_lessons import code, complaint, lesson, prose

ASSERT_CELLS = 3
NOTICED = 0.95  # of all changed last digits

# Numbers on the pages of book/ that no run prints: why each may stand there.
ALLOWED: dict[tuple[str, str], str] = {}


def page_problems(page: str, text: str, found: list[Number]) -> list[str]:
    """Measured numbers on a page of the book that stand in no record and no output."""
    problems = []
    for block in blocks(text):
        for number, sentence in claims(block):
            allowed = (page, number.text) in ALLOWED or not number.measured
            if not allowed and not is_backed(number, found):
                problems.append(f"{page}: {number.text} has no record: {sentence[:70]}")
    return problems


def assert_problems(name: str, notebook: NotebookNode) -> list[str]:
    """Lessons that hardly assert what they claim, and runs that ended in an error."""
    cells = [cell for cell in code_cells(notebook) if "exercise" not in tags(cell)]
    asserting = sum(
        was_executed(cell) and (has_assert(cell) or has_claim(cell)) for cell in cells
    )
    problems = []
    if name.startswith("lessons/") and asserting < ASSERT_CELLS:
        wanted = f"at least {ASSERT_CELLS} executed cells must assert something"
        problems.append(f"{name}: {wanted}, {asserting} do")
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if output.output_type == "error":
                problems.append(f"{name}: a stored output is an error: {output.ename}")
    return problems


# The rule, on the course


@cache
def read_pairs() -> dict[str, NotebookNode]:
    """All lessons and solutions with their stored runs."""
    paths = lesson_paths() + solution_paths()
    return {pair_name(path): read_ipynb(path) for path in paths}


@cache
def read_runs() -> dict[str, Run]:
    """The lines of all their code and outputs."""
    return {name: Run(notebook) for name, notebook in read_pairs().items()}


def test_numbers_in_lessons_and_solutions_come_from_their_runs() -> None:
    pairs, runs = read_pairs(), read_runs()
    found = [number_problems(name, pairs[name], runs) for name in pairs]
    expect_none(sum(found, []))


def test_a_last_digit_that_changes_is_noticed() -> None:
    pairs, runs = read_pairs(), read_runs()
    course = [paragraphs(name, pairs[name], runs) for name in pairs]
    assert share_noticed(p for lesson in course for p in lesson) >= NOTICED


def test_numbers_on_the_pages_of_the_book_are_recorded() -> None:
    found = [number for run in read_runs().values() for number in run.numbers()]
    for record in ("ladder.json", "timings.json"):
        rows = json.loads((ROOT / "data" / record).read_text("utf-8"))
        found += numbers(json.dumps(rows))
    pages = [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))]
    pages.remove(ROOT / "book" / "cluster.md")  # test_cluster.py reckons its numbers
    problems = [page_problems(p.name, p.read_text("utf-8"), found) for p in pages]
    expect_none(sum(problems, []))


def test_lessons_assert_what_they_claim() -> None:
    pairs = read_pairs()
    expect_none(sum((assert_problems(name, pairs[name]) for name in pairs), []))


# The rule's own test, on small broken lessons

RUN = code(
    "one, rate, part, ids = 1, 1e-2, 0.4, 4_225  # 7.77 only in a comment\n"
    "name = 'at 8.88'\nprint('loss', 2.4819)",
    "loss 2.4819, accuracy 0.247, 1,115,394 characters\nrows 187, 71.4 seconds\n",
)


def problems_of(*cells: NotebookNode, **others: NotebookNode) -> list[str]:
    """What is said about a lesson of these cells."""
    notebook = lesson(*cells)
    runs = {f"lessons/{stem}": Run(other) for stem, other in others.items()}
    name = "lessons/02_x"
    return number_problems(name, notebook, {**runs, name: Run(notebook)})


def problems_after_run(text: str) -> list[str]:
    """What is said about this text, behind the run."""
    return problems_of(RUN, prose(text))


def test_numbers_of_the_run_are_accepted() -> None:
    for text in (
        "The loss is 2.4819 nats, about 2.48, even 2.5.",
        "The rate is 0.01, or `1e-2`; 4,225 ids, $187$ of them new; 1 %, 40 %.",
        "A text of 1,115,394 characters, 1.1 million, 1.115 MB or 1,115 thousand.",
        "Right are 24.7 %, or 25%; $24.7\\%$ exactly, $1{,}115{,}394$ in all.",
        "Loss $\\frac{2.4819}{187}$, and -2.48, **2.48**, _2.48_ (2.48).",
        "It took 71 seconds.",
    ):
        assert not problems_after_run(text), text


def test_numbers_from_memory_are_found() -> None:
    for text, number in (
        ("The loss is 2.47 nats.", "2.47"),
        ("The loss is 2.48190.\n\nIt is 2.482 or 2.481.", "2.481"),
        ("It has 4,226 parameters.", "4,226"),
        ("It has 5162 parameters.", "5162"),
        ("It learns that in 2000 steps.", "2000"),
        ("Right are 26 %.", "26 %"),
        ("Right are 2.5 percent.", "2.5 percent"),
        ("All, 100 %, are right.", "100 %"),
        ("A text of 1.2 million characters.", "1.2 million"),
        ("In math: $x = 3.14 \\times 2$.", "3.14"),
        ("In math: $4{,}226$ numbers.", "4,226"),
        ("In code: `x[19:]`.", "19"),
        ("Only in a comment: 7.77.", "7.77"),
        ("Only in a string that is not printed: 8.88.", "8.88"),
        ("> A quoted .45 counts.", ".45"),
        ("<details><summary>Why 0.3?</summary>\n\nIdeas.\n\n</details>", "0.3"),
        ("See [the table](../book/notation.md): 99 rows.", "99"),
    ):
        said = complaint(problems_after_run(text))
        assert f"lessons/02_x, cell 1: {number} has no output" in said


def test_an_output_that_is_rounded_more_does_not_back_a_number() -> None:
    assert "71.42" in complaint(problems_after_run("It took 71.42 seconds."))


def test_code_that_was_not_run_backs_nothing() -> None:
    idle = code("x = 0.5", executed=False)
    assert "0.5" in complaint(problems_of(idle, prose("Half is 0.5.")))


def test_pictures_back_nothing_but_html_does() -> None:
    picture, table = code("plot()", picture=True), code("t", html="<td w='33'>44</td>")
    assert not problems_of(table, prose("There are 44 rows."))
    assert "33" in complaint(problems_of(table, prose("There are 33 rows.")))
    assert "640" in complaint(problems_of(picture, prose("It is 640 wide.")))


def test_alt_texts_are_prose() -> None:
    cell = code("plot()", picture=True, alt="A curve that falls to 2.31.")
    assert "cell 0: 2.31" in complaint(problems_of(cell))


def test_names_and_references_are_no_claims() -> None:
    for text in (
        "# 42 · The answer\n\nTakes 45 minutes; runs in under 30 s.",
        "### Exercise 14: Count\n\n*core · 20 minutes* · [Solution](x#exercise-14)",
        "Lesson [13](x.md), lessons 16 to 31, 16_translation.ipynb come later.",
        "See section 3.2.1, equation (14), Figures 21 and 22, table 15, chapter 16.",
        "Shannon, 1948, and others (Vaswani et al., 2017; Radford et al. 2019).",
        "<a href='x' width='640'>Python 3.11-3.13</a>, torch 2.13.0, SHA-256, float32.",
        "13. First\n14. Second",
        "It was found in 1948 (section 6), see sections\n3.2 and 5.14.",
        "One of 12 heads has 3 rows.",
        "Done.\n\n## To read\n\n- Pages 379 to 423, about 3.5 nats.",
    ):
        assert not problems_of(prose(text)), text


def test_a_number_after_a_name_is_still_a_claim() -> None:
    assert "4,226" in complaint(problems_after_run("The table 4,226 rows long."))
    assert "640" in complaint(problems_after_run("Lesson 16 takes 640 steps."))


def test_a_cited_sentence_may_hold_any_number() -> None:
    for text in (
        "GPT-2 has [124 million](https://example.org) parameters.",
        "BLEU 28.4 in [the paper](../book/bibliography.md).",
    ):
        assert not problems_after_run(text)
    uncited = "It is [long](https://example.org). It has 124 million parameters."
    assert "124 million" in complaint(problems_after_run(uncited))
    uncited = "It is [long](https://example.org). 28.4 is its score."
    assert "28.4" in complaint(problems_after_run(uncited))


def section(title: str, *cells: NotebookNode) -> list[NotebookNode]:
    """A heading and what is below it."""
    return [prose(f"## {title}"), *cells]


def test_only_the_code_cells_beside_a_paragraph_back_it() -> None:
    far, before, after = (code("x", f"{n} rows\n") for n in (17, 28, 39))
    text = "There are 17, 28 and 39 rows."
    said = complaint(problems_of(far, before, prose(text), after))
    assert "17 has no output near" in said
    said = problems_of(*section("A", far, before), *section("B", prose(text), after))
    assert [line.split()[3] for line in said] == ["17", "28"]


def test_a_tie_says_which_section_counts_and_no_other() -> None:
    cells = [*section("How deep?", code("n = 17")), *section("B", code("x", "28 rows"))]
    assert "17" in complaint(problems_of(*cells, prose("It has 17 rows.")))
    tied = "It has 17 rows. <!-- from: how-deep -->"
    assert not problems_of(*cells, prose(tied))
    assert "28" in complaint(problems_of(*cells, prose(tied.replace("17", "28"))))
    both = "It has 17 <!-- from: how-deep --> or 28.\n<!-- from: b -->\n"
    assert not problems_of(*cells, prose(both))
    next_paragraph = "Few. <!-- from: how-deep -->\n\n- It has 17 rows."
    assert len(problems_of(*cells, prose(next_paragraph))) == 2


def test_words_of_a_tie_say_which_lines_count() -> None:
    run = code("for n in (17, 28): 1", "1 head   2.41\n4 heads  2.32\n")
    for line, number in (("4 heads", "2.32"), ("4 heads 2", "2.32"), ("for n", "17")):
        text = f'It is {number}. <!-- from: a\n"{line}" -->'
        assert not problems_of(*section("A", run, prose(text)))
        wrong = problems_of(*section("A", run, prose(text.replace(number, "2.41"))))
        assert "2.41 has no output" in complaint(wrong)


def test_a_tie_to_another_notebook_is_followed() -> None:
    other = lesson(*section("Train", code("print()", "loss 3.3512\n")))
    text = "Lesson [01](01_text.ipynb) stopped at 3.35."
    for place in ("01_text#train", "lessons/01_text#train"):
        tied = f"{text} <!-- from: {place} -->"
        assert not problems_of(prose(tied), **{"01_text": other})
        wrong = problems_of(prose(tied.replace("3.35", "3.25")), **{"01_text": other})
        assert "3.25" in complaint(wrong)
    assert "3.35" in complaint(problems_of(prose(text), **{"01_text": other}))


def test_a_tie_that_leads_nowhere_is_found() -> None:
    cells = section("A", code("x", "17 rows"))
    for tie, said in (
        ("b", "names no section with code"),
        ("03_y#a", "names no section with code"),
        ('a "columns"', "no line has these words"),
        ("a, b", "is not like"),
    ):
        found = problems_of(*cells, prose(f"It has 17. <!-- from: {tie} -->"))
        assert said in found[0] and "17 has no output" in found[1]
    needless = problems_of(*cells, prose("It has rows. <!-- from: a -->"))
    assert "ties no number" in complaint(needless)
    hidden = "It has\n<!-- from: a --> 17 rows."
    assert "is not rendered" in complaint(problems_of(*cells, prose(hidden)))


def test_a_tie_of_an_alt_text_is_a_tag() -> None:
    far = section("A", code("n = 17"), code("x"))
    for tags, problems in (([], 1), (["from: a"], 0)):
        cell = code("plot()", picture=True, alt="It has 17 dots.", tags=tags)
        assert len(problems_of(*far, prose("Look."), cell)) == problems


def test_a_decimal_of_one_digit_is_not_rounded() -> None:
    run = code("x", "loss 0.61, half 0.5, share 0.047, rate 0.05\n")
    assert not problems_of(run, prose("It is 0.61, 0.5 and 5 %."))
    assert "0.6 " in complaint(problems_of(run, prose("It is 0.6.")))
    assert "0.0 " in complaint(problems_of(code("n = 0"), prose("It is 0.0.")))


def test_what_a_model_wrote_backs_no_number() -> None:
    text = prose("It has 17 rows.")
    assert not problems_of(code("x", "17"), text)
    assert "17" in complaint(problems_of(code("x", "17", tags=["sample"]), text))


def test_the_share_of_noticed_digits_counts_all_other_digits() -> None:
    for printed, noticed in (("2.41", 1), ("2.41 2.42 2.43", 7 / 9), ("", 1)):
        notebook = lesson(code("x", printed), prose("It is 2.41."))
        found = list(paragraphs("x", notebook, {"x": Run(notebook)}))
        assert abs(share_noticed(found) - noticed) < 1e-9
    notebook = lesson(code("x", "13 14 15"), prose("It is 14."))  # 10 to 12 are words
    found = list(paragraphs("x", notebook, {"x": Run(notebook)}))
    assert abs(share_noticed(found) - 4 / 6) < 1e-9


def test_pages_of_the_book_are_checked() -> None:
    found = list(numbers('{"validation_loss": 2.4819, "parameters": 4225}'))
    assert not page_problems("a.md", "At 2.48 with 4,225 numbers in 99 lines.", found)
    for text in ("At 2.47 nats.", "It has 4,226 parameters."):
        assert "has no record" in complaint(page_problems("a.md", text, found))


def test_a_lesson_that_asserts_little_or_failed_is_found() -> None:
    proof = code("assert 1 + 1 == 2")
    claimed = code("claim(1 < 2, 'so it is')")
    assert not assert_problems("lessons/02_x", lesson(proof, proof, claimed))
    not_run = code("assert True", executed=False)
    a_check = code("assert check(1)", tags=["exercise"])
    few = lesson(proof, proof, not_run, a_check, code("print('assert')"))
    assert "2 do" in complaint(assert_problems("lessons/02_x", few))
    assert not assert_problems("solutions/02_x", few)
    failed = code("1 / 0")
    failed.outputs = [v4.new_output("error", ename="ZeroDivisionError", evalue="")]
    said = complaint(assert_problems("solutions/02_x", lesson(failed)))
    assert "ZeroDivisionError" in said
