"""A notebook can be run again in the same kernel, and from any working directory."""

from __future__ import annotations

import os
from pathlib import Path

import nbclient
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from notebooks import code_cells, lesson_paths, pair_name, read_py, solution_paths


def run_twice(cells: list[NotebookNode], where: Path, session: Path) -> None:
    """Execute cells, then all of them again, in one kernel that works elsewhere.

    Args:
        cells: the code cells of a notebook.
        where: the kernel's working directory.
        session: the notebook that a Jupyter server would name to the kernel.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails, the first or the
            second time.
    """
    both = [new_code_cell(cell.source) for cell in [*cells, *cells]]
    environment = os.environ | {"JPY_SESSION_NAME": str(session)}
    environment.pop("PYTHONPATH", None)  # the first cell finds the library itself
    nbclient.NotebookClient(
        new_notebook(cells=both),
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(where)}},
    ).execute(env=environment)


@pytest.mark.again  # minutes: `make again`
@pytest.mark.parametrize("path", lesson_paths() + solution_paths(), ids=pair_name)
def test_a_notebook_runs_twice_in_an_empty_folder(path: Path, tmp_path: Path) -> None:
    cells = code_cells(read_py(path))
    run_twice(cells, tmp_path, path.with_suffix(".ipynb"))


def test_a_cell_that_cannot_be_run_again_is_found(tmp_path: Path) -> None:
    fine = [new_code_cell("f = len"), new_code_cell("f([]); f = 3")]
    run_twice(fine, tmp_path, tmp_path / "small.ipynb")
    broken = [new_code_cell("f = globals().get('f', len)"), fine[1]]
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="not callable"):
        run_twice(broken, tmp_path, tmp_path / "small.ipynb")


def test_the_first_cell_finds_the_library_from_anywhere(tmp_path: Path) -> None:
    script = lesson_paths()[0]
    first, use = (
        code_cells(read_py(script))[:1],
        new_code_cell("import lib.text.corpus"),
    )
    run_twice([*first, use], tmp_path, script.with_suffix(".ipynb"))
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="git clone"):
        run_twice(first, tmp_path, tmp_path / "elsewhere.ipynb")
