"""Write the pages of the bug museum: a script for each room, and the entrance.

``python book/_tools/build_museum.py`` makes them from the exhibits in
``lib/checks/museum/`` and their stories in ``book/museum.yml``; `build_notebooks.py`
then executes the rooms like lessons. A page that is as it should be is not touched.
"""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path

import yaml
from address import bootstrap, read_address

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.checks.museum import EXHIBITS, ROOMS  # noqa: E402
from lib.checks.museum.exhibit import Exhibit  # noqa: E402

STORIES = ROOT / "book" / "museum.yml"
IMPORTS = """\
import math

import torch
from torch import nn
from torch.nn import functional as F

from lib.checks.museum import hunt"""
HOW = """\
Each exhibit is a bug that somebody had. You read what was seen, then the faulty code,
then a cell that shows the symptom in small numbers. **Mend the code in its cell**, run
it, and run the cell that begins with `hunt`: it looks at your version and says what it
still observes. Often one line is wrong, sometimes more, and sometimes one is missing;
import what you need. Hint and answer are folded below."""
ENTRANCE = """\
# Bug museum

{n} bugs that people had, in {rooms} rooms. Some are classics; the others were reported
to open projects, with a link to the report. No code was copied: each bug was written
anew, as small as it can be and still do its harm. You get the symptom, the faulty code
and a check. The hunt is yours. Each bug was also planted in this course's own library,
and each answer names the test that finds it there (`make mutants`).

Look at the symptoms first: those are what you will meet.
"""


def read_stories() -> dict[str, dict[str, str]]:
    """Return the story of each exhibit, by its slug."""
    return yaml.safe_load(STORIES.read_text("utf-8"))["exhibits"]


def read_rooms() -> dict[str, dict[str, str]]:
    """Return title and introduction of each room, by the name of its file."""
    return yaml.safe_load(STORIES.read_text("utf-8"))["rooms"]


def pages() -> dict[Path, str]:
    """Return the text that each page should have."""
    museum = ROOT / "book" / "museum"
    found = {museum / f"{room}.py": room_script(room) for room in ROOMS}
    return found | {ROOT / "book" / "museum.md": entrance()}


def entrance() -> str:
    """Return the page with all exhibits: what is seen, lesson and source."""
    stories, rooms = read_stories(), read_rooms()
    lines = [ENTRANCE.format(n=len(EXHIBITS), rooms=len(ROOMS))]
    for name, exhibits in ROOMS.items():
        page = f"museum/{name}.ipynb"
        lines += [f"## Room {int(name[:2])}: [{rooms[name]['title']}]({page})", ""]
        lines += [rooms[name]["intro"], ""]
        lines += ["| Exhibit | What was seen | Where | Lesson |", "|---|---|---|---|"]
        for exhibit in exhibits:
            story = stories[exhibit.slug]
            title = f"[{story['title']}]({page}#{anchor(story['title'])})"
            lesson = f"[{story['lesson'][:2]}](/lessons/{story['lesson']}.ipynb)"
            cells = title, story["symptom"], source(story["source"]), lesson
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def room_script(name: str) -> str:
    """Return the script of a room, in cells."""
    stories, here, room = read_stories(), read_address(), read_rooms()[name]
    link = here.colab(f"{here.branch}/book/museum/{name}.ipynb")
    head = [
        f"# Bug museum, room {int(name[:2])}: {room['title']}",
        f"[![Open in Colab](../_static/colab-badge.svg)]({link})",
        room["intro"],
        f"{HOW} [All rooms](../museum.md).",
    ]
    cells = [prose(*head), code(bootstrap(here).rstrip(), "remove-cell"), code(IMPORTS)]
    for exhibit in ROOMS[name]:
        cells += exhibit_cells(exhibit, stories[exhibit.slug])
    return "\n\n".join(cells) + "\n"


def exhibit_cells(exhibit: Exhibit, story: dict[str, str]) -> list[str]:
    """Return the cells of one exhibit."""
    lesson = f"[{story['lesson'][:2]}](../../lessons/{story['lesson']}.ipynb)"
    where = source(story["source"]).replace("A classic", "a classic of the field")
    where = f"*Where: {where}. To read: lesson {lesson}.*"
    name = exhibit.bug.__name__
    hunting = f"The hunt: mend `{name}` above, run its cell, and then this one."
    return [
        prose(f"## {story['title']}", where, story["seen"]),
        code(exhibit.source),
        code(story["show"].rstrip()),
        prose(hunting),
        code(f'hunt("{exhibit.slug}", {name})', "exercise"),
        prose(
            *folded("Hint", story["hint"]),
            *folded("Answer", *answer(exhibit, story)),
        ),
    ]


def answer(exhibit: Exhibit, story: dict[str, str]) -> list[str]:
    """Return what was wrong, what is changed, and the test that would have said it."""
    both = exhibit.source.splitlines(), exhibit.changed().splitlines()
    lines = [*difflib.unified_diff(*both, n=0, lineterm="")][2:]
    changes = "\n".join(line for line in lines if not line.startswith("@@"))
    file, test = exhibit.caught_by.split("::")
    library = f"`lib/{exhibit.mutant.file}`"
    return [
        story["answer"],
        f"```diff\n{changes}\n```",
        f"Planted in this course's {library} it makes `{test}`\n"
        f"fail, in `tests/{file}`.",
    ]


def folded(summary: str, *texts: str) -> list[str]:
    """Return some paragraphs, folded."""
    return [f"<details><summary>{summary}</summary>", *texts, "</details>"]


def source(text: str) -> str:
    """Return `Name <address>` as a link."""
    return re.sub(r"(.+) <(.+)>", r"[\1](\2)", text)


def anchor(title: str) -> str:
    """Return the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def prose(*paragraphs: str) -> str:
    """Return a cell of Markdown."""
    lines = "\n\n".join(part.strip() for part in paragraphs).splitlines()
    return "\n".join(["# %% [markdown]", *(f"# {line}".rstrip() for line in lines)])


def code(source: str, tag: str = "") -> str:
    """Return a cell of code."""
    return f'# %% tags=["{tag}"]\n{source}' if tag else f"# %%\n{source}"


def main() -> int:
    """Write the pages that are not as they should be."""
    for path, text in pages().items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            print(path.relative_to(ROOT).as_posix())
    return 0


if __name__ == "__main__":
    sys.exit(main())
