"""Every lesson works alone: on Colab, its first cell fetches the rest of the course.

A notebook is copied into an empty folder, with a stand-in for Colab's own module and
the address pointing at a clone of this tree, and executed without the project in reach
until it has imported the library. `make again` executes each whole in such a folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import address
import nbclient
import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from notebooks import (
    ROOT,
    code_cells,
    lesson_paths,
    pair_name,
    read_ipynb,
    read_py,
    solution_paths,
    tags,
)

LESSONS = lesson_paths()
PROBE = "import lib; print(lib.__file__)"
CONFIG = "repository: {url: https://github.com/ada/course, branch: main}\n"
LESSON = """\
# %% [markdown]
# # 09 · Small
#
# Text.

# %%
print(1)
"""

# Badge, first cell and links agree with `_config.yml`.


def test_every_address_agrees_with_the_configuration() -> None:
    found = [path.relative_to(ROOT).as_posix() for path in address.differences()]
    assert found == [], "run `make address`, then `make lessons`"


@pytest.mark.parametrize("path", LESSONS + solution_paths(), ids=pair_name)
def test_each_notebook_has_a_badge_and_begins_with_the_first_cell(path: Path) -> None:
    notebook = read_py(path)
    here = address.read_address()
    page = f"{here.branch}/{pair_name(path)}.ipynb"
    assert f"]({here.colab(page)})" in notebook.cells[0].source
    first = code_cells(notebook)[0]
    assert first.source == address.bootstrap(here).rstrip()
    assert tags(first) == ["remove-cell"]


def test_the_first_cell_is_short_enough_to_read() -> None:
    lines = address.bootstrap(address.read_address()).splitlines()
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 88


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with one lesson that has neither badge nor first cell, and a README."""
    (tmp_path / "_config.yml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "lessons").mkdir()
    (tmp_path / "lessons" / "09_small.py").write_text(LESSON, encoding="utf-8")
    return tmp_path


def test_stamping_adds_what_is_missing_and_changes_nothing_twice(tree: Path) -> None:
    path = tree / "lessons" / "09_small.py"
    assert address.main([], tree) == 0
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]\n# # 09 · Small\n#\n# [![Open in Colab](")
    assert "https://colab.research.google.com/github/ada/course/blob/main/" in text
    assert [tags(cell) for cell in code_cells(read_py(path))] == [["remove-cell"], []]
    assert text.endswith("# %%\nprint(1)\n")
    assert address.main(["--check"], tree) == 0
    assert address.main([], tree) == 0
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("blob/main/lessons/09_small.ipynb", "blob/main/lessons/08_small.ipynb"),
        ("github/ada/course", "github/bob/course"),
        ("blob/main/", "blob/master/"),
        ('URL", "https://github.com/ada/', 'URL", "https://github.com/bob/'),
        ("sys.path.insert(0,", "sys.path.append("),
    ],
)
def test_a_wrong_badge_and_a_changed_first_cell_are_found_and_mended(
    tree: Path, capsys: pytest.CaptureFixture[str], right: str, wrong: str
) -> None:
    path = tree / "lessons" / "09_small.py"
    address.main([], tree)
    good = path.read_text(encoding="utf-8")
    assert right in good
    path.write_text(good.replace(right, wrong), encoding="utf-8")
    assert address.main(["--check"], tree) == 1
    assert wrong in capsys.readouterr().out
    assert wrong in path.read_text(encoding="utf-8")
    assert address.main([], tree) == 0
    assert path.read_text(encoding="utf-8") == good


def test_the_links_of_other_texts_are_mended_and_other_links_stay(tree: Path) -> None:
    text = (
        "git clone https://github.com/{0}\n"
        "[Lab](https://colab.research.google.com/github/{0}/blob/{1}/lessons/x.ipynb)\n"
        "[Binder](https://mybinder.org/v2/gh/{0}/{1}?urlpath=lab)\n"
        "![](https://github.com/{0}/actions/workflows/tests.yml/badge.svg)\n"
        "https://github.com/someone/else\n"
    )
    (tree / "README.md").write_text(text.format("o/old", "dev"), encoding="utf-8")
    address.main([], tree)
    mended = (tree / "README.md").read_text(encoding="utf-8")
    assert mended == text.format("ada/course", "main")


def test_an_address_outside_github_is_refused(tree: Path) -> None:
    config = CONFIG.replace("github.com", "example.org")
    (tree / "_config.yml").write_text(config, encoding="utf-8")
    with pytest.raises(ValueError, match="https://example.org/ada/course is not"):
        address.read_address(tree)


# The first cell at work.


def git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=course", "-c", "user.email=course@example.org"]
    command = ["git", *author, *arguments]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, encoding="utf-8"
    ).stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that holds this tree as it is now, uncommitted changes included."""
    folder = tmp_path_factory.mktemp("clone")
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # not one that was deleted since the last commit
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "as it is now")
    return folder


@pytest.fixture
def colab(tmp_path: Path, clone: Path) -> dict[str, str]:
    """An environment with Colab's module and without the project on any path."""
    module = tmp_path / "modules" / "google" / "colab"
    module.mkdir(parents=True)
    (module / "__init__.py").touch()
    return os.environ | {
        "PYTHONPATH": str(tmp_path / "modules"),
        "COURSE_URL": clone.as_uri(),
    }


def until_library(notebook: NotebookNode) -> NotebookNode:
    """Cut a notebook after the first cell that imports the library."""
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code" and "from lib" in cell.source:
            notebook.cells = notebook.cells[:number]
            return notebook
    return notebook


@pytest.mark.parametrize("path", [LESSONS[0], LESSONS[-1]], ids=pair_name)
def test_a_notebook_alone_fetches_what_it_needs(
    path: Path, tmp_path: Path, colab: dict[str, str]
) -> None:
    folder = tmp_path / "content"
    folder.mkdir()
    copy = shutil.copyfile(path.with_suffix(".ipynb"), folder / f"{path.stem}.ipynb")
    notebook = until_library(read_ipynb(copy))
    notebook.cells.append(new_code_cell(PROBE))
    settings = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, resources=settings).execute(env=colab)
    used = Path(notebook.cells[-1].outputs[0].text.strip())
    assert used == folder.resolve() / "course" / "lib" / "__init__.py"


def run_first_cell(folder: Path, environment: dict[str, str], file: Path | None = None):
    """Run the first cell and the probe as a notebook does, or as the script `file`."""
    source = f"{address.bootstrap(address.read_address())}\n{PROBE}\n"
    if file is None:
        command = [sys.executable, "-c", source]
    else:
        file.write_text(source, encoding="utf-8")
        command = [sys.executable, str(file)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8"
    )


def outside() -> dict[str, str]:
    return {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "COURSE_URL")
    }


@pytest.mark.parametrize("folder", ["lessons", "solutions", "."])
def test_opened_in_a_clone_it_takes_the_library_of_that_clone(folder: str) -> None:
    result = run_first_cell(ROOT / folder, outside())
    assert Path(result.stdout.strip()) == ROOT / "lib" / "__init__.py", (
        result.stderr
    )


def test_a_script_takes_the_library_beside_it_wherever_it_is_started(
    clone: Path, tmp_path: Path
) -> None:
    script = clone / "lessons" / "99_script.py"
    for folder in (tmp_path, ROOT):
        result = run_first_cell(folder, outside(), script)
        assert Path(result.stdout.strip()) == clone / "lib" / "__init__.py", (
            result.stderr
        )


def test_a_kernel_that_works_elsewhere_takes_the_library_beside_its_notebook(
    tmp_path: Path,
) -> None:
    session = {"JPY_SESSION_NAME": str(LESSONS[0].with_suffix(".ipynb"))}
    result = run_first_cell(tmp_path, outside() | session)
    assert Path(result.stdout.strip()) == ROOT / "lib" / "__init__.py", (
        result.stderr
    )


def test_without_the_library_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()  # a folder of that name is not the library
    result = run_first_cell(tmp_path, outside())
    url = address.read_address().url
    assert f"lib/ not found: run `git clone {url}`" in result.stderr


def test_a_first_cell_that_does_not_fetch_fails_alone(
    tmp_path: Path, colab: dict[str, str]
) -> None:
    cell = new_code_cell("import lib")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    settings = {"metadata": {"path": str(tmp_path)}}
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="named 'lib'"):
        nbclient.NotebookClient(notebook, resources=settings).execute(env=colab)
