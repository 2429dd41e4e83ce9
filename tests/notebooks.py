"""Read lessons and solutions for the tests: their paths, cells, tags and outputs.

A path here is a pair's ``.py`` file; ``read_ipynb`` takes it too and reads the
``.ipynb`` beside it. ``root`` is another tree than this one, for a test's own test.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent


def lesson_paths(root: Path = ROOT) -> list[Path]:
    """Return the scripts of all finished lessons, in the order of the course."""
    return sorted((root / "lessons").glob("[0-9][0-9]_*.py"))


def solution_paths(root: Path = ROOT) -> list[Path]:
    """Return the scripts of all solutions, in the order of the course."""
    return sorted((root / "solutions").glob("[0-9][0-9]_*.py"))


def pair_name(path: Path) -> str:
    """Return the short name of a pair, such as `lessons/02_bigram`: a test's id."""
    return f"{path.parent.name}/{path.stem}"


def read_py(path: Path) -> NotebookNode:
    """Return the cells of the `.py` of a pair, as a notebook without outputs."""
    return copy.deepcopy(_cells(path.with_suffix(".py").read_text(encoding="utf-8")))


@cache
def _cells(text: str) -> NotebookNode:
    """Return the cells of a script, which takes long and is asked for often."""
    return jupytext.reads(text, fmt="py:percent")


def read_ipynb(path: Path) -> NotebookNode:
    """Return the `.ipynb` of a pair, with its stored outputs."""
    return nbformat.read(path.with_suffix(".ipynb"), as_version=4)


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell; an empty list when it has none."""
    return list(cell.metadata.get("tags", []))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells of a notebook, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook: NotebookNode, prefix: str) -> Iterator[tuple[str, NotebookNode]]:
    """Yield each tag that is `prefix` or begins with it and a colon, with its cell.

    `tagged(notebook, "lib")` gives `("lib:models.bigram.BigramLM", cell)`, ...
    """
    for cell in notebook.cells:
        for tag in tags(cell):
            if tag == prefix or tag.startswith(prefix + ":"):
                yield tag, cell
