"""What every test run needs: the library on the path, one corpus, stored outputs.

A cell's output is compared with the stored one as its tags say
(tests/stored_outputs.py), and what a lesson claims must hold (lib/checks/claims.py):
all that for a plain ``pytest --nbval lessons/`` too. With ``--twice``, every notebook
works in an empty folder and runs a second time in the same kernel.
"""

from __future__ import annotations

import gc
import os
import sys
from itertools import groupby
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from stored_outputs import NOT_COMPARED, band_of, in_bands  # noqa: E402

# Kernels inherit the environment; pytest's own `pythonpath` does not reach them.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("COURSE_QUIET", "1")
os.environ.setdefault("COURSE_STRICT", "1")
STAND_IN = pytest.StashKey[bool]()
# As a Jupyter server would start a kernel elsewhere: the first cell finds the library.
LEAVE = """\
import os, sys, tempfile
sys.path[:] = [place for place in sys.path if place != {root!r}]
os.environ["JPY_SESSION_NAME"] = {notebook!r}
os.chdir(tempfile.mkdtemp())"""


# Of all that tests import nothing is garbage; to look takes a third of the time.
gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage again, in what is made from now on."""
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    """Find the corpus once, before any kernel starts and would look for itself."""
    if not getattr(config.option, "nbval", False):
        return
    from lib.text.corpus import load_corpus

    config.stash[STAND_IN] = load_corpus().is_stand_in


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which corpus the notebooks run on, and what follows for the comparison."""
    stand_in = config.stash.get(STAND_IN, None)
    if stand_in is None:
        return None
    if not stand_in:
        return "corpus: Tiny Shakespeare"
    return (
        "corpus: the stand-in play; all cells run and all assertions hold, but stored "
        "outputs of cells tagged `corpus` are Tiny Shakespeare's and not compared"
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--twice`."""
    parser.addoption(
        "--twice",
        action="store_true",
        help="run notebooks in an empty folder, all cells twice in one kernel",
    )


def twice(cells: list[pytest.Item]) -> list[pytest.Item]:
    """A notebook's cells in an empty folder, then all of them once more.

    No outputs are compared: the second run continues with the random numbers of the
    first, and some tell where they are.
    """

    def unchecked(item: pytest.Item, name: str, cell: NotebookNode) -> pytest.Item:
        return type(item).from_parent(
            item.parent,
            name=name,
            cell_num=item.cell_num,
            cell=cell,
            options=item.options | {"check": False},
        )

    leave = LEAVE.format(root=str(ROOT), notebook=str(cells[0].parent.path))
    return [
        unchecked(cells[0], "an empty folder", new_code_cell(leave)),
        *(unchecked(item, item.name, item.cell) for item in cells),
        *(unchecked(item, f"{item.name}, second time", item.cell) for item in cells),
    ]


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Compare the outputs of each cell as its tags say.

    On the stand-in, outputs that depend on the corpus are not compared.
    """
    if config.getoption("--twice"):
        items[:] = [
            item
            for _, cells in groupby(items, key=lambda item: item.parent)
            for item in twice(list(cells))
        ]
    not_compared = {NOT_COMPARED}
    if config.stash.get(STAND_IN, False):
        not_compared.add("corpus")
    for item in items:
        cell = getattr(item, "cell", None)
        if cell is None:
            continue
        tags = cell.metadata.get("tags", [])
        if not_compared & set(tags):
            item.options["check"] = False
        elif (band := band_of(tags)) is not None:
            item.compare_outputs = in_bands(item.compare_outputs, band)
