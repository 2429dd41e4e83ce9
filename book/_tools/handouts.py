"""Write notebooks for a class: ``_build/handouts/blank`` and ``.../solutions``.

``python book/_tools/handouts.py`` writes both for all lessons; with numbers, such as
``06 07``, for these. A blank notebook is the lesson without outputs, answers and hints,
and without the links to solutions. Its exercises and checks are as they are, so that
``python -m lib.checks`` can grade what students hand in.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import sys
from pathlib import Path

import yaml
from notebook_parts import COMMENT, FOLDED, ROOT, is_hint, read, source, tags

BADGE = re.compile(r"\[!\[Open in Colab\].*\n\n?")
SOLUTION = re.compile(r" · \[Solution\]\([^)]+\)")
TO_SOLUTION = re.compile(r"\[([^\]]+)\]\(\.\./solutions/[^)]+\)")
RELATIVE = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]+)?\)")


def blank(lesson: dict, site: str) -> dict:
    """Return a lesson's notebook as a student gets it."""
    notebook = copy.deepcopy(lesson)
    cells = [cell for cell in notebook["cells"] if "answer" not in tags(cell)]
    for cell in cells:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
        else:
            set_source(cell, linked(unfolded(source(cell)), "lessons", site))
    notebook["cells"] = cells
    return notebook


def solved(solution: dict, site: str) -> dict:
    """Return the notebook of solutions, with links that lead to the site."""
    notebook = copy.deepcopy(solution)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            set_source(cell, linked(source(cell), "solutions", site))
    return notebook


def unfolded(text: str) -> str:
    """Return Markdown without hints, answers and ways to them; questions stay."""

    def without(match: re.Match) -> str:
        return "" if is_hint(match[1]) else f"**{' '.join(match[1].split())}**\n\n"

    text = COMMENT.sub("", BADGE.sub("", SOLUTION.sub("", text)))
    return TO_SOLUTION.sub(r"\1", FOLDED.sub(without, text)).rstrip("\n")


def linked(text: str, folder: str, site: str) -> str:
    """Return Markdown whose links to other files of the course lead to its site."""

    def absolute(match: re.Match) -> str:
        path = Path(*(ROOT / folder / match[1]).resolve().relative_to(ROOT).parts)
        if path.suffix not in (".md", ".ipynb"):
            path = Path("_static", path.name)  # pictures
        elif path.parts[-1] == "api.md":  # its headings have other ids there
            return f"]({site}book/api.html)"
        else:
            path = path.with_suffix(".html")
        return f"]({site}{path.as_posix()}{match[2] or ''})"

    return RELATIVE.sub(absolute, text)


def set_source(cell: dict, text: str) -> None:
    """Write the text of a cell, in lines, as notebooks have it."""
    cell["source"] = text.splitlines(keepends=True)


def write(notebook: dict, path: Path) -> None:
    """Write a notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, "utf-8", newline="\n")


def chosen(numbers: list[str], root: Path = ROOT) -> list[Path]:
    """Return the notebooks of these lessons, or of all.

    Raises:
        ValueError: if there is no lesson with a number.
    """
    found = sorted((root / "lessons").glob("[0-9][0-9]_*.ipynb"))
    wanted = {name.removeprefix("lesson_")[:2] for name in numbers}
    if lost := wanted - {path.stem[:2] for path in found}:
        raise ValueError(f"there is no lesson {', '.join(sorted(lost))}")
    return [path for path in found if not wanted or path.stem[:2] in wanted]


def main(arguments: list[str] | None = None) -> int:
    """Write the notebooks, and say where they are."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("lessons", nargs="*", help="numbers such as 06; else all")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "handouts")
    options = parser.parse_args(arguments)
    settings = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    site = settings["html"]["baseurl"]
    try:
        lessons = chosen(options.lessons)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for path in lessons:
        write(blank(read(path), site), options.out / "blank" / path.name)
        answers = read(ROOT / "solutions" / path.name)
        write(solved(answers, site), options.out / "solutions" / path.name)
    print(f"{len(lessons)} blank notebooks and their solutions in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
