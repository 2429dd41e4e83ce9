"""Rule 2: no number is typed from memory.

A number in the prose stands in an output or in the code of a cell *near it*: 2.48 is
there when 2.4819 is, 25 % when 0.25 is. Near are the code cell before the paragraph and
the one after it, in the same `##` section; its own cell too for an alt text, a caption.
A paragraph, a list item or a row of a table that quotes from elsewhere says where in a
comment that no platform shows, and then only that place counts:

    It stops at 2.27 nats. <!-- from: experiment-one-head-or-four -->
    <!-- from: 07_multi_head_attention#experiment-one-head-or-four "4 heads" -->

That is the anchor of a section of this notebook or of another one, and after it, if the
section holds many numbers, words of the lines in its code and outputs that are meant.
Several comments are several places. They stand inside or behind the text, or alone on a
line: a line of text that begins with one is not rendered. The alt text of a picture has
its places in tags of its cell, `"from: experiment-one-head-or-four"`.

Checked are decimals, percents, numbers with a thousands separator, and integers from 13
on; smaller ones are words. A decimal or a percent with only one digit is not rounded:
too many numbers would round to it. What a trained model wrote (`sample`) backs nothing.

Not claims, and so not checked: numbers of sections, equations, figures, lessons and
exercises, years of references, minutes in the header, everything from "To read" on, and
sentences that cite their source with a link to the web or to the bibliography.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from cells import outline, parse, printed, slug, was_executed
from nbformat import NotebookNode
from notebooks import tags

FIRST_INTEGER = 13
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
    r"\[\d\d\]\([./a-z]*\d\d_[^)]*\)",  # a link to a lesson by its number
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
COMMENT = re.compile(r"(?s)<!--\s*(from\b.*?)\s*-->")
HIDES_TEXT = re.compile(r"(?m)^[ >]*<!--(?:(?!-->)[\s\S])*-->[ ]*[^\s<].*$")
TIE = re.compile(
    r'from:\s*(?:(?P<notebook>[\w/]+)#)?(?P<anchor>[\w-]+)(?:\s+"(?P<words>[^"]+)")?$'
)


@dataclass(frozen=True)
class Number:
    """A number as it is written, and what it stands for."""

    text: str
    value: Decimal
    percent: bool = False
    scale: int = 0  # the power of ten that a word such as "million" adds
    literal: bool = False  # written in code, where nothing is rounded

    @property
    def decimals(self) -> int:
        """Digits after the point."""
        return max(0, -self.value.as_tuple().exponent)

    @property
    def measured(self) -> bool:
        """Whether it is written the way only measured and counted numbers are."""
        return bool(self.decimals or "," in self.text or self.percent or self.scale)

    @property
    def checked(self) -> bool:
        """Whether the rule looks at it."""
        return self.measured or self.value >= FIRST_INTEGER

    @property
    def exact(self) -> bool:
        """Whether nothing may have been rounded to it."""
        one_digit = len(self.value.as_tuple().digits) == 1
        return one_digit and not self.scale and bool(self.decimals or self.percent)


@dataclass(frozen=True)
class Line:
    """A line of code or of output with the numbers in it."""

    text: str
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Paragraph:
    """What a paragraph claims, the numbers that back it, and what is wrong with it."""

    where: str
    claims: list[tuple[Number, str]]  # each with its sentence
    found: list[Number]
    problems: list[str]


class Run:
    """The lines of a notebook's code and outputs, by place."""

    def __init__(self, notebook: NotebookNode) -> None:
        self.lines, self.parts, self.anchors = [], [], []
        part = anchor = ""
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                for section in outline(NotebookNode(cells=[cell]))[1:]:
                    anchor = slug(section.title)
                    part = anchor if section.level <= 2 else part
            self.lines.append(lines(cell))
            self.parts.append(part)
            self.anchors.append(anchor)

    def near(self, index: int) -> list[Line]:
        """The lines of a cell, of the code cell before it and of the one after it."""
        run = [i for i, part in enumerate(self.parts) if part == self.parts[index]]
        run = [i for i in run if self.lines[i]]
        before, after = [i for i in run if i < index], [i for i in run if i > index]
        places = before[-1:] + [index] + after[:1]
        return [line for i in places for line in self.lines[i]]

    def section(self, anchor: str) -> list[Line]:
        """The lines of all code cells from a heading to the next."""
        places = [i for i, own in enumerate(self.anchors) if own == anchor]
        return [line for i in places for line in self.lines[i]]

    def numbers(self) -> list[Number]:
        """All numbers of the notebook's code and outputs."""
        return [n for cell in self.lines for line in cell for n in line.numbers]


# Reading


def numbers(text: str) -> Iterator[Number]:
    """All numbers of a text."""
    for match in NUMBER.finditer(text):
        value = Decimal(match["digits"].replace(",", "") + (match["exponent"] or ""))
        scale = SCALES.get(match["scale"] or "", 0)
        yield Number(match[0].strip(), value, bool(match["percent"]), scale)


def literals(source: str) -> Iterator[tuple[int, Number]]:
    """The numbers in a piece of code with the index of their line."""
    for node in ast.walk(parse(source)):
        value = getattr(node, "value", None)
        if isinstance(node, ast.Constant) and type(value) in (int, float):
            written = str(value)
            yield node.lineno - 1, Number(written, Decimal(written), literal=True)


def lines(cell: NotebookNode) -> list[Line]:
    """The lines of an executed code cell and of what it printed."""
    if not was_executed(cell) or "remove-cell" in tags(cell):
        return []
    found = list(literals(cell.source))
    code = [
        Line(text, tuple(number for at, number in found if at == index))
        for index, text in enumerate(cell.source.splitlines())
    ]
    shown = "" if "sample" in tags(cell) else printed(cell)
    return code + [Line(text, tuple(numbers(text))) for text in shown.splitlines()]


def blocks(text: str) -> list[str]:
    """The paragraphs, list items and rows of tables of a text."""
    parts = BLOCK_END.split(text)
    return [re.sub(r"^\s*\d+[.)]\s", "", part) for part in parts]


def proses(notebook: NotebookNode) -> Iterator[tuple[int, str, list[str]]]:
    """Cell number, text and ties of all paragraphs up to "To read", and alt texts."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            text, *to_read = re.split(r"(?m)^## To read$", cell.source)
            for block in blocks(text):
                yield index, block, COMMENT.findall(block)
            if to_read:
                return
        ties = [tag for tag in tags(cell) if tag.startswith("from:")]
        for setting in cell.metadata.get("mystnb", {}).values():
            if isinstance(setting, dict):
                shown = [setting.get(key, "") for key in ("alt", "caption")]
                yield index, " ".join(shown), ties


def claims(block: str, header: bool = False) -> Iterator[tuple[Number, str]]:
    """The numbers of a paragraph that claim something, each with its sentence."""
    for sentence in SENTENCE_END.split(block):
        if is_cited(sentence):
            continue
        bare = sentence
        for pattern in NAMES + (HEADER if header else []):
            bare = re.sub(pattern, " ", bare)
        for pattern, replacement in LATEX:
            bare = re.sub(pattern, replacement, bare)
        for number in numbers(bare):
            if number.checked:
                yield number, " ".join(sentence.split())


def is_cited(sentence: str) -> bool:
    """Whether a sentence links to its source."""
    return any(
        target.startswith(("https://", "http://")) or "bibliography.md" in target
        for target in LINK.findall(sentence)
    )


def tied(name: str, tie: str, runs: dict[str, Run]) -> tuple[list[Line], str]:
    """The lines that a tie names, and what is wrong with it."""
    match = TIE.match(" ".join(tie.split()))
    if not match:
        return [], f"`{tie}` is not like `from: anchor-of-a-section \"words\"`"
    stem = match["notebook"] or name
    stem = stem if "/" in stem else f"{name.split('/')[0]}/{stem}"
    lines = runs[stem].section(match["anchor"]) if stem in runs else []
    if not lines:
        return [], f"`{tie}` names no section with code"
    words = match["words"] or ""
    lines = [line for line in lines if words in " ".join(line.text.split())]
    return lines, "" if lines else f"`{tie}`: no line has these words"


def paragraphs(
    name: str, notebook: NotebookNode, runs: dict[str, Run]
) -> Iterator[Paragraph]:
    """The paragraphs of a notebook; `name` as in "lessons/02_bigram"."""
    for index, block, ties in proses(notebook):
        claimed = list(claims(block, header=index == 0))
        places = [tied(name, tie, runs) for tie in ties]
        problems = [problem for _, problem in places if problem]
        if ties and not claimed:
            problems.append(f"`{ties[0]}` ties no number")
        if HIDES_TEXT.search(block):
            problems.append("text behind a comment that begins a line is not rendered")
        found = [line for lines, _ in places for line in lines]
        found = found if ties else runs[name].near(index)
        backing = [number for line in found for number in line.numbers]
        yield Paragraph(f"{name}, cell {index}", claimed, backing, problems)


# Comparing


def is_backed(number: Number, found: list[Number]) -> bool:
    """Whether a number stands in outputs or code, perhaps less rounded."""
    if number.percent:  # 25 % is 0.25
        if any(rounds_to(n, number, shift=0) for n in found if n.percent):
            return True
        shares = [n for n in found if n.decimals and not n.percent]
        return any(rounds_to(share, number, shift=2) for share in shares)
    shifts = {0, -number.scale}  # 1.1 million is 1,115,394
    return any(rounds_to(n, number, shift) for shift in shifts for n in found)


def rounds_to(found: Number, number: Number, shift: int) -> bool:
    """Whether a number, times ten to the power of `shift`, rounds to another one."""
    value = found.value.scaleb(shift)
    precise = found.decimals - shift >= number.decimals
    if value == number.value:
        return precise or value != 0  # a 0 in code is not the 0.00 of a measurement
    half_a_unit = Decimal("0.5").scaleb(-number.decimals)
    exact = found.literal or number.exact
    return precise and not exact and abs(value - number.value) <= half_a_unit


def number_problems(
    name: str, notebook: NotebookNode, runs: dict[str, Run]
) -> list[str]:
    """Numbers in prose that stand in no output near or named; ties that are wrong."""
    problems = []
    for paragraph in paragraphs(name, notebook, runs):
        problems += [f"{paragraph.where}: {said}" for said in paragraph.problems]
        for number, sentence in paragraph.claims:
            if not is_backed(number, paragraph.found):
                said = f"{number.text} has no output near: {sentence[:70]}"
                problems.append(f"{paragraph.where}: {said}")
    return problems


def other_last_digits(number: Number) -> list[Number]:
    """The number with each other last digit, as far as the rule looks at it."""
    sign, digits, exponent = number.value.as_tuple()
    values = [Decimal((sign, (*digits[:-1], last), exponent)) for last in range(10)]
    others = [replace(number, value=v) for v in values if v != number.value]
    return [other for other in others if other.checked]


def share_noticed(paragraphs: Iterable[Paragraph]) -> float:
    """The share of numbers whose last digit cannot change unnoticed, on average."""
    shares = []
    for paragraph in paragraphs:
        for number, _ in paragraph.claims:
            if others := other_last_digits(number):
                wrong = [not is_backed(n, paragraph.found) for n in others]
                shares.append(sum(wrong) / len(wrong))
    return sum(shares) / len(shares)
