"""Write and execute the notebooks of lessons/, solutions/ and book/museum/.

``python book/_tools/build_notebooks.py`` rebuilds every notebook whose code, or whose
part of the library, has changed, and rewords those whose prose has; with names
(``lessons/02_bigram.py``) it executes exactly those.
Cells keep their ids and nothing that differs from run to run is stored, so that a
rebuild without a change leaves the files as they were. It writes the rungs that lessons
print to ``data/ladder.json``, and what each notebook was built from to
``data/notebooks.json``.

Stored outputs come from Tiny Shakespeare: the command stops where it is not found.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path

import jupytext
import nbclient
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
LADDER = ROOT / "data" / "ladder.json"
DIGESTS = ROOT / "data" / "notebooks.json"
AT_ONCE = 2  # notebooks that are executed at the same time
KEEP = ("tags", "mystnb")  # cell metadata that a script may carry
FOLDED = {
    "proof": "hide-cell",
    "answer": "hide-cell",
    "hide-input": "",
    "remove-cell": "",
}
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def scripts() -> list[Path]:
    """Return the scripts of all lessons, solutions and rooms of the museum."""
    return [
        path
        for folder in ("lessons", "solutions", "book/museum")
        for path in sorted((ROOT / folder).glob("[0-9][0-9]_*.py"))
    ]


@cache
def meaning(source: str) -> str:
    """Return what Python source does: comments, docstrings and layout left out."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match getattr(node, "body", None):
            case [ast.Expr(ast.Constant(str())), *rest]:
                node.body = rest
    return ast.dump(tree)


def module_file(name: str) -> Path | None:
    """Return the file of a module or package, such as ``lib.models.gpt``."""
    path = ROOT.joinpath(*name.split("."))
    found = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in found if file.is_file()), None)


def library(source: str) -> set[Path]:
    """Return the files of ``lib/`` that source imports, directly or through others."""
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        for name in imported(waiting.pop()):
            path = module_file(name)
            if path is not None and path not in found:
                found.add(path)
                waiting.append(path.read_text("utf-8"))
    return found


@cache
def imported(source: str) -> set[str]:
    """Return the modules of the library that source names in its imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    return {name for name in names if name.split(".")[0] == "lib"}


def digest(script: Path) -> dict[str, str]:
    """Return sums of what a notebook is made from.

    ``script`` is that of the whole script; ``run`` that of all that its outputs depend
    on: its code, and its part of the library.
    """
    text = script.read_text("utf-8")
    cells = jupytext.reads(text, fmt="py:percent").cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    code += [meaning(p.read_text("utf-8")) for p in sorted(library(text))]
    parts = {"script": [text], "run": code}
    return {
        name: hashlib.sha256("\0".join(part).encode()).hexdigest()[:16]
        for name, part in parts.items()
    }


def pair(script: Path) -> str:
    """Return the short name of a lesson or solution, such as `lessons/02_bigram`."""
    return f"{script.parent.name}/{script.stem}"


def dressed(cell: NotebookNode) -> dict:
    """Return the metadata of a script's cell in its notebook.

    A cell that only proves, or answers, is folded: on the site by a tag, in JupyterLab
    and in Colab by settings of their own. Its title is its first line, `# @title ...`.
    """
    metadata = {k: v for k, v in cell.metadata.items() if k in KEEP}
    found = [tag for tag in metadata.get("tags", []) if tag in FOLDED]
    if not found:
        return metadata
    both = FOLDED[found[0]] == "hide-cell"  # its output, too
    metadata["cellView"] = "form"
    metadata["jupyter"] = {"source_hidden": True} | (
        {"outputs_hidden": True} if both else {}
    )
    if both:
        metadata["tags"] = [*metadata["tags"], "hide-cell"]
    if title := re.match(r"# @title (.+)", cell.source):
        prompt = {"code_prompt_show": title[1], "code_prompt_hide": title[1]}
        metadata["mystnb"] = metadata.get("mystnb", {}) | prompt
    return metadata


def with_ids(notebook: NotebookNode, old: list[NotebookNode]) -> None:
    """Give each cell the id it had, or one made from its place and source."""
    known = {(cell.cell_type, cell.source): cell.id for cell in reversed(old)}
    used: set[str] = set()
    for place, cell in enumerate(notebook.cells):
        fresh = hashlib.sha256(f"{place}{cell.source}".encode()).hexdigest()[:8]
        cell.id = known.get((cell.cell_type, cell.source), fresh)
        while cell.id in used:
            cell.id += "x"
        used.add(cell.id)
        cell.metadata = dressed(cell)


def build(script: Path) -> list[dict]:
    """Execute one script's cells, write its notebook, return the rungs it printed."""
    path = script.with_suffix(".ipynb")
    notebook, _ = _read_pair(script)
    with tempfile.TemporaryDirectory() as folder:
        rungs = Path(folder, "rungs.jsonl")
        os.environ["COURSE_RUNGS"] = str(rungs)  # this process builds one at a time
        nbclient.NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(path.parent)}},
        ).execute()
        lines = rungs.read_text("utf-8").splitlines() if rungs.exists() else []
    _write(notebook, path)
    return [{"lesson": script.stem} | json.loads(line) for line in lines]


def reword(script: Path) -> None:
    """Write the notebook of a script whose prose or tags alone have changed."""
    notebook, old = _read_pair(script)
    runs = iter([cell for cell in old if cell.cell_type == "code"])
    for cell in notebook.cells:
        if cell.cell_type == "code":
            run = next(runs)
            cell.outputs, cell.execution_count = run.outputs, run.execution_count
    _write(notebook, script.with_suffix(".ipynb"))


def _read_pair(script: Path) -> tuple[NotebookNode, list[NotebookNode]]:
    """Return a script as a notebook, and the cells of the notebook that there was."""
    path = script.with_suffix(".ipynb")
    notebook = jupytext.read(script, fmt="py:percent")
    old = nbformat.read(path, as_version=4).cells if path.exists() else []
    with_ids(notebook, old)
    return notebook, old


def _write(notebook: NotebookNode, path: Path) -> None:
    notebook.metadata = METADATA
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def record_rungs(lesson: str, rungs: list[dict]) -> None:
    """Put a lesson's rungs into the ladder in place of its old ones, sorted by loss."""
    old = json.loads(LADDER.read_text("utf-8"))["rungs"] if LADDER.exists() else []
    seconds = {_but_seconds(rung): rung["cpu_seconds"] for rung in old}
    for rung in rungs:  # the same result keeps the time it was first measured with
        rung["cpu_seconds"] = seconds.get(_but_seconds(rung), rung["cpu_seconds"])
    rungs = [rung for rung in old if rung["lesson"] != lesson] + rungs
    rungs.sort(key=lambda rung: -rung["validation_loss"])
    _write_json(LADDER, {"rungs": rungs})


def _but_seconds(rung: dict) -> str:
    return json.dumps(
        {k: v for k, v in rung.items() if k != "cpu_seconds"}, sort_keys=True
    )


def _recorded() -> dict[str, dict[str, str]]:
    """Return the sums of what the notebooks were made from."""
    return json.loads(DIGESTS.read_text("utf-8")) if DIGESTS.exists() else {}


def record(script: Path, now: dict[str, str], rungs: list[dict]) -> None:
    """Note what a notebook was made from, and the rungs that it printed."""
    if rungs:
        record_rungs(script.stem, rungs)
    _write_json(DIGESTS, dict(sorted((_recorded() | {pair(script): now}).items())))
    print(pair(script), flush=True)


def _write_json(path: Path, content: dict) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def main() -> int:
    """Rebuild what changed, or what is named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="scripts to rebuild, changed or not")
    parser.add_argument(
        "--compared",
        action="store_true",
        help="execute nothing: the library changed, and `pytest --nbval` shows that no "
        "output did",
    )
    given = parser.parse_args()
    names = given.names
    sys.path.insert(0, str(ROOT))
    from lib.text.corpus import load_corpus

    if load_corpus().is_stand_in:
        print("Stored outputs come from Tiny Shakespeare, which was not found: set")
        print(
            "COURSE_DATA to the folder that holds tinyshakespeare.txt. Nothing written."
        )
        return 1
    os.environ |= {"COURSE_QUIET": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    os.environ["COURSE_STRICT"] = "1"  # no notebook is stored whose claims do not hold
    built = _recorded()
    chosen = [Path(name).resolve() for name in names]
    if not names:
        chosen = [s for s in scripts() if built.get(pair(s)) != digest(s)]
    with ProcessPoolExecutor(AT_ONCE) as pool:
        waiting = {}
        for script in chosen:
            now, old = digest(script), built.get(pair(script), {})
            same = given.compared and old.get("script") == now["script"]
            if same or (old.get("run") == now["run"] and not names):
                reword(script)
                record(script, now, [])
            else:
                waiting[pool.submit(build, script)] = (script, now)
        for done in as_completed(waiting):
            record(*waiting[done], done.result())
    return 0


if __name__ == "__main__":
    sys.exit(main())
