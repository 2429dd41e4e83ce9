"""Grading notebooks: a lesson's own checks look at the answers of each.

Only the cells that an answer needs are run, so nothing is trained that it does not use.
Each notebook runs in a process of its own, for a limited time. That is no sandbox: what
stands in a notebook is executed, with all that its author could do to this machine.
"""

from __future__ import annotations

import ast
import importlib
import json
import linecache
import re
import subprocess
import symtable
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import torch

from lib.checks import Verdict

__all__ = ["grade", "grade_all", "lesson_name", "needed"]

ROOT = Path(__file__).resolve().parents[2]
NOT_RUN = Verdict("not run", "the notebook did not come so far")


def lesson_name(name: str) -> str:
    """Return the file name of a lesson: ``06``, ``lesson_06`` and more mean one.

    Raises:
        ValueError: if there is no such lesson with exercises.
    """
    number = re.match(r"(?:lesson_)?(\d\d)(?:_|$)", name)
    found = [*(ROOT / "lessons").glob(f"{number[1]}_*.ipynb")] if number else []
    if not found:
        known = sorted(path.stem for path in (ROOT / "lessons").glob("*.ipynb"))
        raise ValueError(f"lesson={name!r} must be one of {', '.join(known)}")
    return found[0].stem


def code_cells(path: Path) -> list[str]:
    """Return the code of a notebook's cells, without lines for IPython alone.

    Raises:
        ValueError: if the file is no notebook.
    """
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        code = [c["source"] for c in cells if c["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is no notebook") from error
    return [re.sub(r"(?m)^\s*[%!].*$", "", "".join(source)) for source in code]


def check_calls(lesson: str) -> dict[str, ast.Call]:
    """Return the calls of the checks in a lesson, by the name of the check."""
    checks = importlib.import_module(f"lib.checks.lesson_{lesson[:2]}").__all__
    calls = {}
    for source in code_cells(ROOT / "lessons" / f"{lesson}.ipynb"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in checks:
                    calls[node.func.id] = node
    return calls


def _names(source: str) -> tuple[set[str], set[str], set[str]]:
    """Return the names that a cell sets, changes in place, and uses; all global."""
    tables = [symtable.symtable(source, "cell", "exec")]
    sets, uses = set(), set()
    for table in tables:  # grows by the tables of functions and classes inside
        tables += table.get_children()
        is_top = table is tables[0]
        for symbol in table.get_symbols():
            if not (is_top or symbol.is_global()):
                continue
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                sets.add(symbol.get_name())
            if symbol.is_referenced():
                uses.add(symbol.get_name())
    changes = set()
    for node in ast.walk(ast.parse(source)):
        is_part = isinstance(node, ast.Attribute | ast.Subscript)
        if is_part and not isinstance(node.ctx, ast.Load):
            changes |= _roots(node)
        elif isinstance(node, ast.AugAssign):
            changes |= _roots(node.target)
    return sets, changes, uses


def _roots(node: ast.AST) -> set[str]:
    """Return the name at the bottom of ``a.b[c].d``."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def needed(cells: list[str], names: set[str]) -> list[int]:
    """Return the numbers of the cells that set names, or what these cells need."""
    wanted, chosen = set(names), []
    for number in reversed(range(len(cells))):
        try:
            sets, changes, uses = _names(cells[number])
        except SyntaxError:
            continue
        if (sets | changes) & wanted:
            chosen.append(number)
            wanted = (wanted - (sets - changes)) | uses
    return chosen[::-1]


def grade(lesson: str, path: Path) -> Iterator[tuple[str, Verdict]]:
    """Run a notebook's answers in this process, and yield each check's verdict."""
    calls, cells = check_calls(lesson), code_cells(path)
    used = {n: {m.id for a in c.args for m in ast.walk(a) if isinstance(m, ast.Name)}
            for n, c in calls.items()}  # fmt: skip
    here = ROOT / "lessons" / path.name  # the first cell looks for lib/ from there
    space: dict = {"__name__": "__main__", "__file__": str(here)}
    for number in needed(cells, set().union(*used.values())):
        _run(cells[number], number, space)
    checks = importlib.import_module(f"lib.checks.lesson_{lesson[:2]}")
    for name, call in calls.items():
        argument = ast.unparse(call.args[0])
        try:
            answer = eval(argument, space)
        except Exception as error:  # its cell is not there, or has failed
            yield name, Verdict("wrong", f"no {argument}: {_one_line(error)}")
            continue
        yield name, getattr(checks, name).run(answer)


def _run(source: str, number: int, space: dict) -> None:
    """Run a cell; an error in it is told by the check that misses its names."""
    file = f"<cell {number}>"
    linecache.cache[file] = len(source), None, source.splitlines(True), file
    try:
        exec(compile(source, file, "exec"), space)
    except Exception as error:
        print(f"cell {number}: {_one_line(error)}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def grade_all(
    lesson: str, paths: list[Path], seconds: float, at_once: int
) -> Iterator[tuple[Path, dict[str, Verdict]]]:
    """Yield each notebook with the verdicts of all checks, in the order of paths."""
    names = [*check_calls(lesson)]
    with ThreadPoolExecutor(at_once) as pool:
        results = pool.map(lambda p: _in_a_process(lesson, p, seconds), paths)
        for path, (found, end) in zip(paths, results, strict=True):
            rest = Verdict("not run", end) if end else NOT_RUN
            yield path, {name: found.get(name, rest) for name in names}


def _in_a_process(
    lesson: str, path: Path, seconds: float
) -> tuple[dict[str, Verdict], str]:
    """Grade in a process of its own; return verdicts, and why it ended too early."""
    start = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from lib.checks import grading"
    )
    command = [sys.executable, "-c", f"{start}; grading.main()", lesson]
    command.append(str(path.resolve()))
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, timeout=seconds,
                encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL,
            )  # fmt: skip
            said, end = done.stdout, _end_of(done)
        except subprocess.TimeoutExpired as stopped:
            said = (stopped.stdout or b"").decode("utf-8", "replace")
            end = f"stopped after {seconds:g} seconds"
    lines = [line[len(MARK) :] for line in said.splitlines() if line.startswith(MARK)]
    return {name: Verdict(*rest) for name, *rest in map(json.loads, lines)}, end


def _end_of(done: subprocess.CompletedProcess) -> str:
    """Say in one line how a process failed; nothing if it did not."""
    if done.returncode == 0:
        return ""
    last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
    return f"the process ended with status {done.returncode}: {last}"[:200]


MARK = "verdict "  # what the notebook itself prints begins otherwise


def main() -> None:
    """Grade one notebook, and print a line of JSON for each check as it is done."""
    matplotlib.use("agg")  # no windows
    torch.set_num_threads(1)
    lesson, path = sys.argv[1], Path(sys.argv[2])
    for name, verdict in grade(lesson, path):
        line = json.dumps([name, verdict.status, verdict.message])
        print(f"\n{MARK}{line}", flush=True)
