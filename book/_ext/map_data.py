"""What stands in the map of book/map.md; tests use it, too, so nothing needs Sphinx."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from course_data import ROOT

MAP = ROOT / "book" / "map.yml"


@dataclass(frozen=True)
class Entry:
    """One box, and what it leads to.

    Attributes:
        id: its name in addresses.
        name: what it is called.
        says: what it does, in one sentence.
        lesson: the lesson that builds it.
        file: its file in lib/, such as ``models.gpt``.
        formula: a piece of the lesson's formula.
        also: lessons that go on with it.
    """

    id: str
    name: str
    says: str
    lesson: str
    file: str
    formula: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One model: boxes before the block that repeats, in it, and after it."""

    title: str
    before: list[str]
    block: list[str]
    after: list[str]


def read_map(root: Path = ROOT) -> tuple[dict[str, Entry], list[Column], list[str]]:
    """Read `book/map.yml`: entries by their id, columns, and boxes around them.

    Raises:
        ValueError: if a box has no entry, or an entry no box.
    """
    data = yaml.safe_load((root / "book" / "map.yml").read_text("utf-8"))
    entries = {row["id"]: Entry(**row) for row in data["entries"]}
    columns = [Column(**row) for row in data["columns"]]
    boxes = {box for c in columns for box in (*c.before, *c.block, *c.after)}
    boxes |= {*data["around"]}
    if lost := sorted(boxes ^ entries.keys()):
        raise ValueError(f"map.yml: a box or an entry is missing: {', '.join(lost)}")
    return entries, columns, data["around"]


def formula(entry: Entry, root: Path = ROOT) -> str:
    """Return the formula of an entry, as its lesson has it.

    Raises:
        ValueError: if no formula of the lesson, or more than one, has the piece.
    """
    script = (root / "lessons" / f"{entry.lesson}.py").read_text("utf-8")
    text = script.replace("\n# ", "\n")
    found = [part for part in text.split("$$")[1::2] if entry.formula in part]
    if len(found) != 1:
        raise ValueError(f"{entry.id}: {len(found)} formulas have {entry.formula!r}")
    return found[0]
