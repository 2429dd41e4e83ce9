"""Makes small lessons in memory: the tests of the tests, most of them broken."""

import copy
from collections.abc import Iterable

from nbformat import NotebookNode, v4

PIXEL = "iVBORw0KGgo="  # the first bytes of a PNG; no test looks inside


def prose(text: str) -> NotebookNode:
    """A markdown cell."""
    return v4.new_markdown_cell(text)


def code(
    source: str,
    prints: str = "",
    tags: Iterable[str] = (),
    executed: bool = True,
    html: str = "",
    picture: bool = False,
    alt: str = "",
) -> NotebookNode:
    """A code cell with its stored outputs, tags and the alt text of its picture."""
    cell = v4.new_code_cell(source, execution_count=1 if executed else None)
    if prints:
        cell.outputs.append(v4.new_output("stream", text=prints))
    if html:
        cell.outputs.append(v4.new_output("display_data", data={"text/html": html}))
    if picture:
        data = {"image/png": PIXEL, "text/plain": "<Figure size 640x480 with 1 Axes>"}
        cell.outputs.append(v4.new_output("display_data", data=data))
    if tags:
        cell.metadata.tags = list(tags)
    if alt:
        cell.metadata.mystnb = {"image": {"alt": alt}}
    return cell


def lesson(*cells: NotebookNode) -> NotebookNode:
    """A notebook of copies of these cells."""
    own = [copy.deepcopy(cell) for cell in cells]
    for number, cell in enumerate(own):
        cell.id = f"cell-{number}"
    return v4.new_notebook(cells=own)


def complaint(problems: list[str]) -> str:
    """The one problem that a broken lesson must give."""
    assert len(problems) == 1, problems
    return problems[0]
