"""What a lesson needs and asks, read from its script; nothing here needs Sphinx."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from course_data import ROOT, Lesson

NEEDS = re.compile(r"\*\*Needs\*\*((?:.|\n)*?)(?=\n#? ?- |\n#\n)")
EXERCISE = re.compile(
    r"# ### Exercise (\d+): (.+)\n#\n# \*(warm-up|core|stretch) · (\d+) minutes\*"
)
CHECK = re.compile(r'tags=\["exercise"\]\n(?:.*\n)*?(check_\w+)\(')


@dataclass(frozen=True)
class Exercise:
    """One exercise: its title, how hard it is, its minutes, and what looks at it."""

    number: int
    title: str
    level: str
    minutes: int
    check: str


def script_file(lesson: Lesson, root: Path = ROOT) -> Path:
    """Return where the script of a lesson is."""
    return root / "lessons" / f"{lesson.name}.py"


def script_of(lesson: Lesson, root: Path = ROOT) -> str:
    """Return the script of a lesson."""
    return script_file(lesson, root).read_text("utf-8")


def needs(script: str) -> list[str]:
    """Return the numbers of the lessons that a lesson says it needs."""
    found = NEEDS.search(script)
    return re.findall(r"\[(\d\d)\]\(", found[1]) if found else []


def exercises(script: str) -> list[Exercise]:
    """Return the exercises of a lesson in their order.

    Raises:
        ValueError: if an exercise has no check.
    """
    found = []
    pieces = re.split(r"(?=# ### Exercise \d)", script)[1:]
    for piece in pieces:
        number, title, level, minutes = EXERCISE.match(piece).groups()
        check = CHECK.search(piece)
        if check is None:
            raise ValueError(f"exercise {number}, {title!r}, has no check")
        found.append(Exercise(int(number), title, level, int(minutes), check[1]))
    return found
