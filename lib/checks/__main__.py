"""The command ``python -m lib.checks``: grade the notebooks of a class."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from lib.checks.grading import grade_all, lesson_name
from lib.command_line import Given, run_command
from lib.text.files import write_files

A_DAY = 86_400  # seconds
MOST_AT_ONCE = 64  # notebooks
SHORT = {"correct": "correct", "not attempted": "-", "wrong": "wrong", "not run": "?"}


def checks_command(
    lesson: Annotated[str, typer.Argument(help="such as 06 or lesson_06")],
    paths: Annotated[list[Path], typer.Argument(help="notebooks, or folders of them")],
    seconds: Annotated[float, typer.Option(help="the most a notebook may take")] = 60,
    at_once: Annotated[int, typer.Option(help="notebooks at the same time")] = 2,
    out: Annotated[Path | None, Given(help="a table, CSV, with the words")] = None,
    verbose: Annotated[bool, typer.Option(help="what each check says")] = False,
) -> None:
    """Look at the answers of many notebooks with the checks of a lesson.

    It runs what stands in the notebooks. Grade only what you would run yourself.
    """
    if not 0 < seconds <= A_DAY:
        raise ValueError(f"seconds={seconds} must be above 0, and at most {A_DAY}")
    if not 1 <= at_once <= MOST_AT_ONCE:
        raise ValueError(f"at_once={at_once} must be 1 or more, up to {MOST_AT_ONCE}")
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"out={str(out)!r} is in no folder that is there")
    if out is not None and (out.is_dir() or out.suffix == ".ipynb"):
        raise ValueError(f"out={str(out)!r} must be a table, no folder or notebook")
    name, rows = lesson_name(lesson), []
    for path, verdicts in grade_all(name, _notebooks(paths), seconds, at_once):
        n_right = sum(v.status == "correct" for v in verdicts.values())
        marks = "  ".join(SHORT[v.status].ljust(7) for v in verdicts.values())
        typer.echo(f"{n_right}/{len(verdicts)}  {marks}  {path}")
        for check, verdict in verdicts.items():
            rows.append([str(path), check, verdict.status, verdict.message])
            if verbose:
                typer.echo(f"    {check}: {verdict.message}")
    if out is not None:
        _write(out, rows)


def _notebooks(paths: list[Path]) -> list[Path]:
    """Return the notebooks that are meant, those of folders in order of their names."""
    found = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*.ipynb") if ".ipynb_" not in str(p))
        elif path.is_file():
            found.append(path)
        else:
            raise ValueError(f"path={str(path)!r} is neither a notebook nor a folder")
    if not found:
        raise ValueError("there is no notebook in these folders")
    return found


def _write(out: Path, rows: list[list[str]]) -> None:
    """Write the table, whole or not at all."""
    text = io.StringIO()
    csv.writer(text).writerows([["notebook", "check", "status", "message"], *rows])
    table = text.getvalue()
    write_files(out.parent, {out.name: lambda place: place.write_text(table, "utf-8")})


if __name__ == "__main__":
    run_command(checks_command)
