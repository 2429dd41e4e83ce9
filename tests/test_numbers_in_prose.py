"""Rule 2: no number is typed from memory.

A number in the prose of a lesson stands in a stored output of that lesson, or in its
code: 2.48 is there when 2.4819 is, 25 % when 0.25 is. Checked are decimals, percents,
numbers with a thousands separator, and integers from 13 on; smaller ones are words.

Not claims, and so not checked: numbers of sections, equations, figures, lessons and
exercises, years of references, minutes in the header, everything from "To read" on, and
sentences that cite their source with a link to the web or to the bibliography. A
sentence that links to another notebook may quote that notebook's outputs.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from cells import expect_none, has_assert, parse, printed, was_executed
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
from small_lessons import code, complaint, lesson, prose

FIRST_INTEGER = 13
ASSERT_CELLS = 3
SCALES = {"thousand": 3, "k": 3, "K": 3, "kB": 3, "million": 6, "M": 6, "MB": 6}
SCALES |= {"billion": 9, "B": 9, "GB": 9}

NUMBER = re.compile(
    r"""(?<![A-Za-z0-9])(?<![A-Za-z0-9]_)(?<!\d\.)  # not the tail of a name or number
    (?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\.)\.\d+)
    (?P<exponent>e[-+]?\d+)?
    (?P<percent>\s?%|\sper\s?cent)?
    (?:(?:\s?(?=\w\w)|(?=\w))(?P<scale>thousand|million|billion|kB|MB|GB|[kKMB])\b)?""",
    re.VERBOSE,
)
PLACE = (
    r"[(\[]?\d+(?:\.\d+)*[)\]]?(?![\d,]*\d)"  # as in "section 3.2.1", "equation (1)"
)
PARTS = "section|equation|figure|table|chapter|part|lesson|exercise|page"
NAMES = [  # numbers that name a thing, or that another test checks
    r"(?s)<!--.*?-->",
    r"</?(?:a|br|code|details|div|em|img|p|span|strong|su[bp]|summary)\b[^<>$]*>",
    r"(?<=\])\([^)]*\)",  # the target of a link
    r"https?://\S+",
    r"(?m)^#+ (?:(?:Solutions )?\d\d ·|Exercise \d+:)",
    rf"(?i)\b(?:{PARTS})s?\s+{PLACE}(?:(?:\s(?:and|to)\s|[–-]){PLACE})*",
    r"\b\d\d_[a-z]\w*",  # the file of a lesson
    r"\b\d+(?:\.\d+){2,}",  # a version
    r"\b(?:Python|PyTorch|torch)\s+\d+(?:\.\d+)*(?:(?:\s(?:to|and|or)\s|[–-])\d\.\d+)?",
    r"(?m)^:[\w-]+:.*$",  # an option of a directive
    r"\b[A-Z]{2,}-\d+",  # SHA-256
    r"\b(?:[A-Z]\w+,|al\.,?)\s(?:19|20)\d\d\b",  # Shannon, 1948
    r"\b(?:19|20)\d\d[a-z]?(?=[^()]*\))(?=[,;)])",  # (2017)
    r"\bin (?:19|20)\d\d\b(?! [a-z]+s\b)",  # in 1948, but not: in 2000 steps
    r"(?m)^\*(?:warm-up|core|stretch)\b.*$",  # the line below an exercise's title
]
HEADER = [r"(?i)\b\d+\s+min(?:ute)?s?\b", r"(?i)\bunder\s+\d+\s+(?:s\b|seconds|min)"]
LATEX = [(r"\{,\}", ","), (r"(?<=\d)\\[,;](?=\d)", ","), (r"\\%", "%")]
LATEX += [(r"\\[A-Za-z]+", " ")]

BLOCK_END = re.compile(r"\n\s*\n|\n(?=\s*(?:\||(?:[-*+>]|\d+[.)])\s))")
SENTENCE_END = re.compile(
    r"(?<!al\.)(?<!e\.g\.)(?<!i\.e\.)(?<=[.!?])\s+(?=[A-Z\d*`\[$])"
)
LINK = re.compile(r"\]\(([^)\s]+)")
NOTEBOOK = re.compile(r"(?:(lessons|solutions)/)?(\d\d_\w+)\.ipynb")

# Numbers on the pages of book/ that no run prints: why each may stand there.
ALLOWED: dict[tuple[str, str], str] = {}


@dataclass(frozen=True)
class Number:
    """A number as it is written, and what it stands for."""

    text: str
    value: Decimal
    percent: bool = False
    scale: int = 0  # the power of ten that a word such as "million" adds

    @property
    def decimals(self) -> int:
        """Digits after the point."""
        return max(0, -self.value.as_tuple().exponent)

    @property
    def measured(self) -> bool:
        """Whether it is written the way only measured and counted numbers are."""
        return bool(self.decimals or "," in self.text or self.percent or self.scale)


@dataclass
class Evidence:
    """The numbers that a run printed, and those that stand in its code."""

    outputs: list[Number] = field(default_factory=list)
    literals: set[Decimal] = field(default_factory=set)

    def add(self, other: "Evidence") -> "Evidence":
        """Both together."""
        both = self.outputs + other.outputs
        return Evidence(both, self.literals | other.literals)


# Reading


def numbers(text: str) -> Iterator[Number]:
    """All numbers of a text."""
    for match in NUMBER.finditer(text):
        value = Decimal(match["digits"].replace(",", "") + (match["exponent"] or ""))
        scale = SCALES.get(match["scale"] or "", 0)
        yield Number(match[0].strip(), value, bool(match["percent"]), scale)


def evidence(notebook: NotebookNode) -> Evidence:
    """What the executed cells of a notebook printed, and the numbers in their code."""
    found = Evidence()
    for cell in code_cells(notebook):
        found.outputs += numbers(printed(cell))
        if was_executed(cell):
            for node in ast.walk(parse(cell.source)):
                value = getattr(node, "value", None)
                if isinstance(node, ast.Constant) and type(value) in (int, float):
                    found.literals.add(Decimal(str(value)))
    return found


def proses(notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """The prose of a notebook up to "To read", with cell numbers; alt texts too."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            text, to_read, _ = re.sub(r"(?m)^## To read$", "\0", cell.source).partition(
                "\0"
            )
            yield index, text
            if to_read:
                return
        for setting in cell.metadata.get("mystnb", {}).values():
            if isinstance(setting, dict):
                yield index, f"{setting.get('alt', '')}\n\n{setting.get('caption', '')}"


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text; list items and rows of tables end them too."""
    for block in BLOCK_END.split(text):
        block = re.sub(r"^\s*\d+[.)]\s", "", block)  # the number of a list item
        yield from SENTENCE_END.split(block)


def claims(sentence: str, header: bool = False) -> Iterator[Number]:
    """The numbers of a sentence that claim something."""
    for pattern in NAMES + (HEADER if header else []):
        sentence = re.sub(pattern, " ", sentence)
    for pattern, replacement in LATEX:
        sentence = re.sub(pattern, replacement, sentence)
    for number in numbers(sentence):
        if number.measured or number.value >= FIRST_INTEGER:
            yield number


# Comparing


def is_backed(number: Number, found: Evidence) -> bool:
    """Whether a number stands in the outputs or in the code, perhaps less rounded."""
    printed_so = [n for n in found.outputs if n.percent or not number.percent]
    if any(rounds_to(output, number, shift=0) for output in printed_so):
        return True
    if number.percent:  # 25 % is 0.25
        shares = [n for n in found.outputs if n.decimals and not n.percent]
        exact = number.value.scaleb(-2) in found.literals - {1}
        return exact or any(rounds_to(output, number, shift=2) for output in shares)
    if {number.value, number.value.scaleb(number.scale)} & found.literals:
        return True
    below = -number.scale  # 1.1 million is 1,115,394
    return any(rounds_to(output, number, shift=below) for output in found.outputs)


def rounds_to(output: Number, number: Number, shift: int) -> bool:
    """Whether an output, times ten to the power of `shift`, rounds to the number."""
    value = output.value.scaleb(shift)
    half_a_unit = Decimal("0.5").scaleb(-number.decimals)
    precise = output.decimals - shift >= number.decimals
    return value == number.value or (
        precise and abs(value - number.value) <= half_a_unit
    )


def number_problems(
    name: str, notebook: NotebookNode, others: dict[str, Evidence] | None = None
) -> list[str]:
    """Numbers in prose that stand in no output; `name` as in "lessons/02_bigram"."""
    problems, own = [], evidence(notebook)
    for index, text in proses(notebook):
        for sentence in sentences(text):
            if is_cited(sentence):
                continue
            found = own
            for folder, stem in NOTEBOOK.findall(sentence):
                linked = f"{folder or name.split('/')[0]}/{stem}"
                found = found.add((others or {}).get(linked, Evidence()))
            for number in claims(sentence, header=index == 0):
                if not is_backed(number, found):
                    quote = " ".join(sentence.split())[:70]
                    where = f"{name}, cell {index}"
                    problems.append(f"{where}: {number.text} has no output: {quote}")
    return problems


def is_cited(sentence: str) -> bool:
    """Whether a sentence links to its source."""
    return any(
        target.startswith(("https://", "http://")) or "bibliography.md" in target
        for target in LINK.findall(sentence)
    )


def page_problems(page: str, text: str, found: Evidence) -> list[str]:
    """Measured numbers on a page of the book that stand in no record and no output."""
    problems = []
    for sentence in sentences(text):
        for number in claims(sentence):
            allowed = is_cited(sentence) or (page, number.text) in ALLOWED
            if number.measured and not allowed and not is_backed(number, found):
                quote = " ".join(sentence.split())[:70]
                problems.append(f"{page}: {number.text} has no record: {quote}")
    return problems


def assert_problems(name: str, notebook: NotebookNode) -> list[str]:
    """Lessons that hardly assert what they claim, and runs that ended in an error."""
    cells = [cell for cell in code_cells(notebook) if "exercise" not in tags(cell)]
    asserting = sum(was_executed(cell) and has_assert(cell) for cell in cells)
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


def read_pairs(root: Path = ROOT) -> dict[str, NotebookNode]:
    """All lessons and solutions with their stored runs."""
    paths = lesson_paths(root) + solution_paths(root)
    return {pair_name(path): read_ipynb(path) for path in paths}


def test_numbers_in_lessons_and_solutions_come_from_their_runs() -> None:
    pairs = read_pairs()
    others = {name: evidence(notebook) for name, notebook in pairs.items()}
    found = [number_problems(name, pairs[name], others) for name in pairs]
    expect_none(sum(found, []))


def test_numbers_on_the_pages_of_the_book_are_recorded() -> None:
    found = Evidence()
    for notebook in read_pairs().values():
        found = found.add(evidence(notebook))
    for record in ("ladder.json", "timings.json"):
        rows = json.loads((ROOT / "data" / record).read_text("utf-8"))
        found.outputs += numbers(json.dumps(rows))
    pages = [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))]
    problems = [page_problems(p.name, p.read_text("utf-8"), found) for p in pages]
    expect_none(sum(problems, []))


def test_lessons_assert_what_they_claim() -> None:
    pairs = read_pairs()
    expect_none(sum((assert_problems(name, pairs[name]) for name in pairs), []))


# The rule's own test, on small broken lessons

RUN = code(
    "one, rate, ids = 1, 1e-2, 4_225  # 7.77 only in a comment\nname = 'at 8.88'\n"
    "print('loss', 2.4819)",
    "loss 2.4819, accuracy 0.247, 1,115,394 characters\nrows 187, 71.4 seconds\n",
)


def problems_of(text: str, *cells: NotebookNode, **others: NotebookNode) -> list[str]:
    """What is said about a lesson of one run and one text."""
    linked = {f"lessons/{stem}": evidence(nb) for stem, nb in others.items()}
    return number_problems("lessons/02_x", lesson(*cells, RUN, prose(text)), linked)


def test_numbers_of_the_run_are_accepted() -> None:
    for text in (
        "The loss is 2.4819 nats, about 2.48, even 2.5.",
        "The rate is 0.01, or `1e-2`; 4,225 ids, $187$ of them new.",
        "A text of 1,115,394 characters, 1.1 million, 1.115 MB or 1,115 thousand.",
        "Right are 24.7 %, or 25%; $24.7\\%$ exactly, $1{,}115{,}394$ in all.",
        "Loss $\\frac{2.4819}{187}$, and -2.48, **2.48**, _2.48_ (2.48).",
        "It took 71 seconds.",
    ):
        assert not problems_of(text), text


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
        said = complaint(problems_of(text))
        assert f"lessons/02_x, cell 1: {number} has no output" in said


def test_an_output_that_is_rounded_more_does_not_back_a_number() -> None:
    assert "71.42" in complaint(problems_of("It took 71.42 seconds."))


def test_code_that_was_not_run_backs_nothing() -> None:
    idle = code("x = 0.5", executed=False)
    assert "0.5" in complaint(problems_of("Half is 0.5.", idle))


def test_pictures_back_nothing_but_html_does() -> None:
    picture, table = code("plot()", picture=True), code("t", html="<td w='33'>44</td>")
    assert not problems_of("There are 44 rows.", table)
    assert "33" in complaint(problems_of("There are 33 rows.", table))
    assert "640" in complaint(problems_of("It is 640 wide.", picture))


def test_alt_texts_are_prose() -> None:
    cell = code("plot()", picture=True, alt="A curve that falls to 2.31.")
    assert "cell 0: 2.31" in complaint(problems_of("A curve.", cell))


def test_names_and_references_are_no_claims() -> None:
    for text in (
        "# 42 · The answer\n\nTakes 45 minutes; runs in under 30 s.",
        "### Exercise 14: Count\n\n*core · 20 minutes* · [Solution](x#exercise-14)",
        "Lesson [13](x.md), lessons 13 to 28, 13_translation.ipynb come later.",
        "See section 3.2.1, equation (14), Figures 21 and 22, table 15, chapter 16.",
        "Shannon, 1948, and others (Vaswani et al., 2017; Radford et al. 2019).",
        "<a href='x' width='640'>Python 3.11-3.13</a>, torch 2.13.0, SHA-256, float32.",
        "13. First\n14. Second",
        "It was found in 1948 (section 6), see sections\n3.2 and 5.14.",
        "One of 12 heads has 3 rows.",
        "Done.\n\n## To read\n\n- Pages 379 to 423, about 3.5 nats.",
    ):
        cells = lesson(prose(text))
        assert not number_problems("lessons/42_x", cells), text


def test_a_number_after_a_name_is_still_a_claim() -> None:
    assert "4,226" in complaint(problems_of("The table 4,226 rows long."))
    assert "640" in complaint(problems_of("Lesson 13 takes 640 steps."))


def test_a_cited_sentence_may_hold_any_number() -> None:
    assert not problems_of("GPT-2 has [124 million](https://example.org) parameters.")
    assert not problems_of("BLEU 28.4 in [the paper](../book/bibliography.md).")
    uncited = "It is [long](https://example.org). It has 124 million parameters."
    assert "124 million" in complaint(problems_of(uncited))
    uncited = "It is [long](https://example.org). 28.4 is its score."
    assert "28.4" in complaint(problems_of(uncited))


def test_a_quoted_lesson_is_looked_up() -> None:
    other = lesson(code("print()", "loss 3.3512\n"))
    text = "Lesson [01](01_text.ipynb) stopped at 3.35."
    assert not problems_of(text, **{"01_text": other})
    wrong = problems_of(text.replace("3.35", "3.25"), **{"01_text": other})
    assert "3.25" in complaint(wrong)
    assert "3.35" in complaint(problems_of("It stopped at 3.35.", **{"01_text": other}))


def test_pages_of_the_book_are_checked() -> None:
    found = Evidence(list(numbers('{"validation_loss": 2.4819, "parameters": 4225}')))
    assert not page_problems("a.md", "At 2.48 with 4,225 numbers in 99 lines.", found)
    for text in ("At 2.47 nats.", "It has 4,226 parameters."):
        assert "has no record" in complaint(page_problems("a.md", text, found))


def test_a_lesson_that_asserts_little_or_failed_is_found() -> None:
    proof = code("assert 1 + 1 == 2")
    assert not assert_problems("lessons/02_x", lesson(proof, proof, proof))
    not_run = code("assert True", executed=False)
    a_check = code("assert check(1)", tags=["exercise"])
    few = lesson(proof, proof, not_run, a_check, code("print('assert')"))
    assert "2 do" in complaint(assert_problems("lessons/02_x", few))
    assert not assert_problems("solutions/02_x", few)
    failed = code("1 / 0")
    failed.outputs = [v4.new_output("error", ename="ZeroDivisionError", evalue="")]
    said = complaint(assert_problems("solutions/02_x", lesson(failed)))
    assert "ZeroDivisionError" in said
