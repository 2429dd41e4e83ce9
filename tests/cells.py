"""What the rules ask of a cell or a notebook: its code, its output, its outline."""

import ast
import re
from dataclasses import dataclass, field

from nbformat import NotebookNode

HEADING = re.compile(r"(#{1,6}) +(.+?) *$")


@dataclass
class Section:
    """A heading with the prose and the code cells up to the next heading."""

    level: int
    title: str
    prose: str = ""
    code: list[NotebookNode] = field(default_factory=list)


def parse(source: str) -> ast.Module:
    """The syntax tree of a cell; lines of IPython magic count as empty."""
    lines = source.splitlines()
    return ast.parse("\n".join("" if s.startswith(("%", "!")) else s for s in lines))


def was_executed(cell: NotebookNode) -> bool:
    """Whether the notebook stores a run of this code cell."""
    return cell.cell_type == "code" and cell.execution_count is not None


def has_assert(cell: NotebookNode) -> bool:
    """Whether a code cell asserts anything."""
    return any(isinstance(node, ast.Assert) for node in ast.walk(parse(cell.source)))


def is_claim(node: ast.AST) -> bool:
    """Whether a node of a syntax tree calls `claim` of `lib.checks.claims`."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim"


def has_claim(cell: NotebookNode) -> bool:
    """Whether a code cell claims anything."""
    return any(map(is_claim, ast.walk(parse(cell.source))))


def printed(cell: NotebookNode) -> str:
    """All text that a code cell stored, tags of HTML left out, pictures not counted."""
    texts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        texts.append(output.get("text", ""))
        texts.append(without_html(data.get("text/html", "")))
        if not any(kind.startswith("image/") for kind in data):
            texts.append(data.get("text/plain", ""))
    return "\n".join(text for text in texts if text)


def without_html(html: str) -> str:
    """The text of a piece of HTML, without scripts, styles, tags and attributes."""
    html = re.sub(r"(?s)<(script|style)\b.*?</\1>", " ", html)
    return re.sub(r"(?s)<[^>]*>", " ", html)


def outline(notebook: NotebookNode) -> list[Section]:
    """All sections of a notebook in order; headings in code fences are text."""
    sections = [Section(0, "")]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            sections[-1].code.append(cell)
            continue
        fenced = False
        for line in cell.source.splitlines():
            fenced ^= line.lstrip().startswith("```")
            heading = None if fenced else HEADING.match(line)
            if heading:
                sections.append(Section(len(heading[1]), heading[2]))
            else:
                sections[-1].prose += line + "\n"
    return sections


def slug(title: str) -> str:
    """The anchor that MyST and GitHub give a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def expect_none(problems: list[str]) -> None:
    """Fail with one line per problem."""
    assert not problems, "\n".join(["", *problems])
