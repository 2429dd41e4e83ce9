"""The core path of a lesson is short: few words, small cells, a picture at its start.

The core path is what stands before the first section `## Deeper: ...`. What is folded
does not count: cells tagged `proof` or `answer`, the set-up, what is in `<details>`.
A lesson that shows `## The machine` keeps all these limits.
"""

import ast
import re
from dataclasses import dataclass
from statistics import median

from cells import expect_none, parse
from nbformat import NotebookNode
from notebooks import lesson_paths, read_ipynb, tags
from small_lessons import code, complaint, lesson, prose

MOST_WORDS = 2_300
MOST_LINES = 230
MOST_MEDIAN = 6
LONGEST_CELL = 15
LONGEST_CLASS = 25
MOST_ASSERTS = 6
FOLDED = {"proof", "answer", "remove-cell", "hide-input"}
NOT_READ = {  # what is not read as words of the lesson, and what stands in its place
    r"(?s)<!--.*?-->": " ",
    r"(?s)<details>.*?</details>": " ",
    r"(?s)\$\$.*?\$\$": " ",
    r"\$[^$]+\$": " x ",  # a formula in a line counts as one word
    r"(?m)^\[!\[.*$": " ",  # the badge
    r"(?<=\])\([^)]*\)": " ",  # the target of a link
    r"</?[a-z][^<>]*>": " ",
}


@dataclass(frozen=True)
class CorePath:
    """What somebody reads who leaves out all that is folded or optional."""

    texts: list[str]
    code: list[NotebookNode]

    @property
    def n_words(self) -> int:
        """The words of prose."""
        text = "\n".join(self.texts)
        for pattern, instead in NOT_READ.items():
            text = re.sub(pattern, instead, text)
        return len(re.findall(r"[^\W_][\w'’./,-]*", text))

    @property
    def cell_lengths(self) -> list[int]:
        """The lines of each code cell that can be seen, without empty ones."""
        return [n_lines(cell) for cell in self.code]

    @property
    def n_asserts(self) -> int:
        """The asserts that can be seen."""
        nodes = (node for cell in self.code for node in ast.walk(parse(cell.source)))
        return sum(isinstance(node, ast.Assert) for node in nodes)


def n_lines(cell: NotebookNode) -> int:
    """The lines of a cell that are not empty."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def core_path(notebook: NotebookNode) -> CorePath:
    """The cells before the first optional section."""
    texts, code = [], []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if not FOLDED & {*tags(cell)}:
                code.append(cell)
            continue
        before, *deeper = re.split(r"(?m)^## Deeper: ", cell.source, maxsplit=1)
        texts.append(before)
        if deeper:
            break
    return CorePath(texts, code)


def is_class(cell: NotebookNode) -> bool:
    """Whether a cell holds one class, besides its imports."""
    nodes = parse(cell.source).body
    rest = [n for n in nodes if not isinstance(n, ast.Import | ast.ImportFrom)]
    return len(rest) == 1 and isinstance(rest[0], ast.ClassDef)


def length_problems(path: CorePath) -> list[str]:
    """What is too long."""
    lengths = path.cell_lengths
    found = [
        f"{count} {what}, more than {most}"
        for what, count, most in (
            ("words", path.n_words, MOST_WORDS),
            ("lines of code", sum(lengths), MOST_LINES),
            ("lines in the middle cell", median(lengths or [0]), MOST_MEDIAN),
            ("asserts", path.n_asserts, MOST_ASSERTS),
        )
        if count > most
    ]
    for cell, count in zip(path.code, lengths, strict=True):
        if count > (LONGEST_CLASS if is_class(cell) else LONGEST_CELL):
            found.append(f"a cell of {count} lines: {cell.source.splitlines()[0]!r}")
    return found


def picture_problems(notebook: NotebookNode) -> list[str]:
    """A lesson that does not begin with a diagram."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.search(r"(?m)^## Build", cell.source):
            break
        if any("image/svg+xml" in o.get("data", {}) for o in cell.get("outputs", [])):
            return []
    return ["no diagram before `## Build`"]


def core_problems(name: str, notebook: NotebookNode) -> list[str]:
    """In what a lesson asks for too much; nothing of one without a machine."""
    if not any("\n## The machine" in f"\n{c.source}" for c in notebook.cells):
        return []
    found = length_problems(core_path(notebook)) + picture_problems(notebook)
    return [f"{name}: {problem}" for problem in found]


def test_the_core_path_of_every_lesson_is_short() -> None:
    problems = []
    for path in lesson_paths():
        problems += core_problems(path.stem, read_ipynb(path))
    expect_none(problems)


# The test's own test, on small lessons


def diagram() -> NotebookNode:
    cell = code("diagrams.qkv()", picture=True)
    cell.outputs[0].data = {"image/svg+xml": "<svg></svg>"}
    return cell


def problems_of(*cells: NotebookNode) -> list[str]:
    return core_problems("06_a", lesson(prose("## The machine"), diagram(), *cells))


def test_a_short_lesson_is_accepted() -> None:
    folded = code("x = 1\n" * 300, tags=["proof"])
    details = prose("<details><summary>Why?</summary>\n" + "so " * 3_000 + "</details>")
    deeper = prose("## Deeper: more\n" + "and " * 3_000)
    assert not problems_of(
        code("x = 1\n" * 6), folded, details, deeper, code("1\n" * 99)
    )


def test_whatever_is_too_long_is_found() -> None:
    for cells, words in (
        ([prose("word " * 2_300)], "2302 words"),
        ([prose("one $a <b$ two\n$$\nc + d\n$$ " * 767)], "2303 words"),
        ([code("x = 1\n" * 6)] * 39, "lines of code"),
        ([code("x = 1\n" * 7)] * 3, "lines in the middle cell"),
        ([code("assert 1\n" * 4)] * 2, "8 asserts"),
        ([code("x = 1\n" * 16), code("1"), code("1")], "a cell of 16 lines"),
        ([code("class A:\n" + "    x = 1\n" * 25), code("1")], "a cell of 26 lines"),
    ):
        assert words in complaint(problems_of(*cells)), words
    assert not problems_of(
        code("import os\nclass A:\n" + "    x = 1\n" * 20), code("1")
    )


def test_a_lesson_without_a_diagram_is_found() -> None:
    bare = lesson(prose("## The machine"), prose("## Build"), diagram())
    assert "no diagram" in complaint(core_problems("06_a", bare))
    assert not core_problems("06_a", lesson(prose("## By hand"), prose("## Build")))
