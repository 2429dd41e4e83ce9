"""Write and execute the notebooks of the scripts in lessons/ and solutions/.

``python book/_tools/build_notebooks.py`` rebuilds every notebook whose script, or whose
part of the library, has changed; with names (``lessons/02_bigram.py``) exactly those.
Cells keep their ids and nothing that differs from run to run is stored, so that a
rebuild without a change leaves the files as they were. The rungs that lessons print go
to ``data/ladder.json``.

Stored outputs come from Tiny Shakespeare: the command stops where it is not found.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbclient
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
LADDER = ROOT / "data" / "ladder.json"
DIGESTS = ROOT / "data" / "notebooks.json"
KEEP = ("tags", "mystnb")  # cell metadata that a notebook may carry
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def scripts() -> list[Path]:
    """Return the scripts of all lessons and solutions, in the order of the course."""
    return [
        path
        for folder in ("lessons", "solutions")
        for path in sorted((ROOT / folder).glob("[0-9][0-9]_*.py"))
    ]


def meaning(source: str) -> str:
    """Return what Python source does: comments, docstrings and layout left out."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match getattr(node, "body", None):
            case [ast.Expr(ast.Constant(str())), *rest]:
                node.body = rest
    return ast.dump(tree)


def library(source: str) -> set[Path]:
    """Return the files of ``lib/`` that source imports, directly or through others."""
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        tree = ast.parse(waiting.pop())
        tree.body = [node for node in tree.body if not _is_command(node)]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "lib"
            ):
                names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
                paths = {ROOT / f"{name.replace('.', '/')}.py" for name in names}
                new = {path for path in paths if path.is_file()} - found
                found |= new
                waiting += [path.read_text("utf-8") for path in new]
    return found


def _is_command(node: ast.stmt) -> bool:
    """Whether a statement runs only where the module is the program itself."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def digest(script: Path) -> str:
    """Return a sum of all that a notebook is made from: its script, its library."""
    text = script.read_text("utf-8")
    parts = [text, *(meaning(p.read_text("utf-8")) for p in sorted(library(text)))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


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
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in KEEP}


def build(script: Path) -> list[dict]:
    """Execute one script's cells, write its notebook, return the rungs it printed."""
    path = script.with_suffix(".ipynb")
    notebook = jupytext.read(script, fmt="py:percent")
    old = nbformat.read(path, as_version=4).cells if path.exists() else []
    with_ids(notebook, old)
    with tempfile.TemporaryDirectory() as folder:
        rungs = Path(folder, "rungs.jsonl")
        os.environ["COURSE_RUNGS"] = str(rungs)
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
    notebook.metadata = METADATA
    nbformat.validate(notebook)
    nbformat.write(notebook, path)
    return [{"lesson": script.stem} | json.loads(line) for line in lines]


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


def _write_json(path: Path, content: dict) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")


def main() -> int:
    """Rebuild what changed, or what is named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="scripts to rebuild, changed or not")
    names = parser.parse_args().names
    sys.path.insert(0, str(ROOT))
    from lib.corpus import load_corpus

    if load_corpus().is_stand_in:
        print("Stored outputs come from Tiny Shakespeare, which was not found: set")
        print(
            "COURSE_DATA to the folder that holds tinyshakespeare.txt. Nothing written."
        )
        return 1
    os.environ |= {"COURSE_QUIET": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    digests = json.loads(DIGESTS.read_text("utf-8")) if DIGESTS.exists() else {}
    for script in [Path(name).resolve() for name in names] or scripts():
        key, now = f"{script.parent.name}/{script.stem}", digest(script)
        if not names and digests.get(key) == now:
            continue
        start = time.perf_counter()
        rungs = build(script)
        if rungs:
            record_rungs(script.stem, rungs)
        _write_json(DIGESTS, dict(sorted((digests | {key: now}).items())))
        digests[key] = now
        print(f"{key}: {time.perf_counter() - start:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
