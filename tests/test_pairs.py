"""A notebook holds exactly the cells of its script, run from top to bottom.

The ``.py`` is the source. `make lessons` writes the ``.ipynb``; a change to one file
only, a cell that was not run, or something private in an output fails here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path

import nbformat
import pytest
from build_notebooks import METADATA, dressed
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebooks import (
    ROOT,
    code_cells,
    lesson_paths,
    pair_name,
    read_ipynb,
    read_py,
    solution_paths,
    tagged,
    tags,
)

LOCAL_PATH = re.compile(r"(?<![\w.])/(home|Users|root|tmp|work)\b|\b[A-Z]:\\")
BASE64 = re.compile(r"base64,[A-Za-z0-9+/=\s]+")
PAIRS = lesson_paths() + solution_paths()


def drift(path: Path) -> list[str]:
    """Return in what the notebook of a pair differs from its script."""
    script, notebook = read_py(path), read_ipynb(path)
    found = []
    for number, (wanted, cell) in enumerate(
        zip_longest(script.cells, notebook.cells), 1
    ):
        if wanted is None or cell is None:
            file = "notebook" if wanted is None else "script"
            found.append(f"cell {number}: only in the {file}")
            break
        if cell.cell_type != wanted.cell_type:
            found.append(f"cell {number}: {cell.cell_type}, not {wanted.cell_type}")
        if cell.source != wanted.source:
            found.append(f"cell {number}: another source: {cell.source[:60]!r}")
        for name, value in dressed(wanted).items():
            if (got := cell.metadata.get(name)) != value:
                found.append(f"cell {number}: {name} {got}, not {value}")
        if extra := cell.metadata.keys() - dressed(wanted):
            found.append(f"cell {number}: metadata {sorted(extra)}")
    return found


def output_text(output: NotebookNode) -> Iterator[str]:
    """Yield the texts that an output shows, without pictures in base64."""
    yield output.get("text", "")
    yield "\n".join(output.get("traceback", []))
    for kind, content in output.get("data", {}).items():
        if not kind.startswith("image/"):
            yield BASE64.sub("", str(content))


def cell_flaws(cell: NotebookNode) -> Iterator[str]:
    """Yield what must not stand in a published code cell."""
    for output in cell.outputs:
        if output.output_type == "error" and "raises-exception" not in tags(cell):
            yield f"it failed: {output.ename}: {output.evalue}"
        for text in output_text(output):
            if match := LOCAL_PATH.search(text):
                yield f"its output names a path of somebody's machine: {match[0]}"


def flaws(notebook: NotebookNode) -> list[str]:
    """Return what must not be in a published notebook, whatever its script says."""
    nbformat.validate(notebook)
    found = []
    if notebook.metadata != METADATA:
        extra = set(notebook.metadata) - set(METADATA)
        found.append(f"not the fixed metadata (added: {sorted(extra) or 'nothing'})")
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"not run once from top to bottom: {counts}")
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code":
            found += [f"cell {number}: {flaw}" for flaw in cell_flaws(cell)]
    return found


def unpaired(root: Path) -> list[str]:
    """Return the files that lack their other half, and exercises without solutions."""
    found = []
    for folder in ("lessons", "solutions"):
        for path in sorted((root / folder).glob("[0-9][0-9]_*")):
            other = path.with_suffix(".py" if path.suffix == ".ipynb" else ".ipynb")
            if path.suffix in (".py", ".ipynb") and not other.exists():
                found.append(f"{folder}/{path.name} has no {other.name}")
    for path in lesson_paths(root):
        solution = root / "solutions" / path.name
        if any(tagged(read_py(path), "exercise")) and not solution.exists():
            found.append(f"lessons/{path.name} has exercises and no solutions")
    for path in solution_paths(root):
        if not (root / "lessons" / path.name).exists():
            found.append(f"solutions/{path.name} belongs to no lesson")
    return found


@pytest.mark.parametrize("path", PAIRS, ids=pair_name)
def test_the_notebook_has_the_cells_of_its_script(path: Path) -> None:
    assert drift(path) == [], "run `make lessons`"


@pytest.mark.parametrize("path", PAIRS, ids=pair_name)
def test_the_notebook_was_run_whole_and_holds_nothing_private(path: Path) -> None:
    assert flaws(read_ipynb(path)) == [], "run `make lessons`"


def test_every_file_has_its_other_half() -> None:
    assert unpaired(ROOT) == []


@pytest.mark.parametrize("folder", ["lessons", "solutions"])
def test_jupyterlab_pairs_the_files_of_this_folder(folder: str) -> None:
    settings = tomllib.loads((ROOT / folder / "jupytext.toml").read_text("utf-8"))
    assert settings == {
        "formats": "ipynb,py:percent",
        "notebook_metadata_filter": "-all",
        "cell_metadata_filter": "tags,mystnb,-all",
    }


# The tests' own tests: a small good pair, and each way to break it.

SCRIPT = """\
# %% [markdown]
# # 09 · A small lesson

# %% tags=["remove-cell"]
count = 2

# %% tags=["exercise"] mystnb={"image": {"alt": "Two."}}
print(count)
"""


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A good pair in an empty tree; returns the path of its script."""
    path = tmp_path / "lessons" / "09_small.py"
    path.parent.mkdir()
    path.write_text(SCRIPT, encoding="utf-8")
    alt = {"tags": ["exercise"], "mystnb": {"image": {"alt": "Two."}}}
    printed = new_output("stream", name="stdout", text="2\n")
    picture = new_output("display_data", {"text/html": '<img src="base64,a/tmp/b">'})
    cells = [
        new_markdown_cell("# 09 · A small lesson"),
        new_code_cell(
            "count = 2",
            execution_count=1,
            metadata={
                "tags": ["remove-cell"],
                "cellView": "form",
                "jupyter": {"source_hidden": True},
            },
        ),
        new_code_cell(
            "print(count)", execution_count=2, metadata=alt, outputs=[printed, picture]
        ),
    ]
    nbformat.write(
        new_notebook(cells=cells, metadata=METADATA), path.with_suffix(".ipynb")
    )
    return path


def broken(pair: Path, change: Callable[[NotebookNode], object]) -> list[str]:
    """Change the notebook of a pair; return all that the checks find then."""
    notebook = read_ipynb(pair)
    change(notebook)
    nbformat.write(notebook, pair.with_suffix(".ipynb"))
    return drift(pair) + flaws(read_ipynb(pair))


def test_a_good_pair_passes(pair: Path) -> None:
    assert broken(pair, lambda notebook: None) == []


def says(text: str) -> NotebookNode:
    return new_output("stream", name="stdout", text=text)


FAILED = new_output("error", ename="ValueError", evalue="no", traceback=["no"])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda n: n.cells[1].update(source="count = 3"), "another source"),
        (lambda n: n.cells[0].update(source="# 09 · Another"), "another source"),
        (lambda n: n.cells[2].metadata.update(tags=["exercise", "x"]), "tags"),
        (lambda n: n.cells[2].metadata.pop("tags"), "tags"),
        (lambda n: n.cells[2].metadata.pop("mystnb"), "mystnb"),
        (lambda n: n.cells.pop(), "only in the script"),
        (lambda n: n.cells.append(new_markdown_cell("More")), "only in the notebook"),
        (lambda n: n.cells.reverse(), "not code"),
        (lambda n: n.cells[2].update(execution_count=None, outputs=[]), "not run once"),
        (lambda n: n.cells[2].update(execution_count=7), "not run once"),
        (lambda n: n.metadata.update(widgets={"state": {}}), "'widgets'"),
        (lambda n: n.metadata.language_info.update(version="3.11"), "fixed metadata"),
        (lambda n: n.cells[1].metadata.update(collapsed=True), "'collapsed'"),
        (lambda n: n.cells[1].outputs.append(FAILED), "it failed: ValueError"),
        (lambda n: n.cells[1].outputs.append(says("see /tmp/x/a.txt")), "/tmp"),
        (lambda n: n.cells[1].outputs.append(says("in /home/ada")), "/home"),
        (lambda n: n.cells[1].outputs.append(says(r"in C:\Users\ada")), "C:"),
    ],
)
def test_each_drift_is_found(
    pair: Path, change: Callable[[NotebookNode], object], complaint: str
) -> None:
    assert complaint in " ".join(broken(pair, change))


def test_an_expected_error_and_a_slash_in_prose_are_fine(pair: Path) -> None:
    script = SCRIPT.replace('"remove-cell"', '"raises-exception"')
    pair.write_text(script, encoding="utf-8")

    def change(notebook: NotebookNode) -> None:
        notebook.cells[1].metadata = {"tags": ["raises-exception"]}
        notebook.cells[1].outputs += [FAILED, says("play/work, data/tmp, 5/home\n")]

    assert broken(pair, change) == []


def test_what_proves_is_folded_everywhere() -> None:
    cell = new_code_cell("# @title Proof: equal\nassert True")
    cell.metadata = {"tags": ["same:norm.LayerNorm", "proof"], "mystnb": {"image": {}}}
    assert dressed(cell) == {
        "tags": ["same:norm.LayerNorm", "proof", "hide-cell"],
        "cellView": "form",
        "jupyter": {"source_hidden": True, "outputs_hidden": True},
        "mystnb": {
            "image": {},
            "code_prompt_show": "Proof: equal",
            "code_prompt_hide": "Proof: equal",
        },
    }
    cell.metadata = {"tags": ["hide-input"], "slideshow": {}}
    hidden = dressed(cell)
    assert hidden["tags"] == ["hide-input"]
    assert hidden["jupyter"] == {"source_hidden": True}
    assert dressed(new_code_cell("x = 1")) == {}


def test_a_missing_half_is_found(pair: Path) -> None:
    root = pair.parent.parent
    assert unpaired(root) == ["lessons/09_small.py has exercises and no solutions"]
    (root / "solutions").mkdir()
    (root / "solutions" / "08_other.py").write_text("# %%\n", encoding="utf-8")
    pair.with_suffix(".ipynb").unlink()
    assert unpaired(root) == [
        "lessons/09_small.py has no 09_small.ipynb",
        "solutions/08_other.py has no 08_other.ipynb",
        "lessons/09_small.py has exercises and no solutions",
        "solutions/08_other.py belongs to no lesson",
    ]
