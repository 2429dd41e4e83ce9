"""What proves a lesson's outcomes, read from the sources; nothing here needs Sphinx.

An outcome is what a lesson promises on top: what you will build, what you will see. It
is asked for by exercises, these have checks, and wrong answers are planted for each
check. What a lesson builds is in the library, and tests import it from there.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from course_data import ROOT, Lesson
from teaching_data import Exercise, exercises, script_of

BULLET = r"# - \*\*You will {}\*\* ((?:.+\n#  )*.+)\n"
COMMENT = re.compile(r"\s*<!--.*?-->")
LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
HOME = re.compile(r"Home lesson: (\w+)")


@dataclass(frozen=True)
class Proof:
    """What a lesson promises, and what holds it.

    Attributes:
        build: what a reader will build.
        see: what a reader will see.
        exercises: what it asks for.
        planted: for each check, how many wrong answers are planted for it.
        names: the names of the library that it builds, such as ``norm.LayerNorm``.
        tests: files that test these names.
    """

    build: str
    see: str
    exercises: list[Exercise]
    planted: dict[str, int]
    names: list[str]
    tests: list[str]


def proof(lesson: Lesson, root: Path = ROOT) -> Proof:
    """Return what a finished lesson promises, and what holds it.

    Raises:
        ValueError: if it does not say what it builds or shows, or if nothing is planted
            for a check.
    """
    script = script_of(lesson, root)
    asked, counts = exercises(script), planted(lesson.number, root)
    if lost := {one.check for one in asked} - counts.keys():
        raise ValueError(f"{lesson.name}: nothing is planted for {', '.join(lost)}")
    names = built(root).get(lesson.name, [])
    build, see = outcome(script, "build"), outcome(script, "see")
    return Proof(build, see, asked, counts, names, tests_of(names, root))


def outcome(script: str, verb: str) -> str:
    """Return what a lesson says that you will build, or see, in plain words.

    Raises:
        ValueError: if it does not say it.
    """
    found = re.search(BULLET.format(verb), script)
    if found is None:
        raise ValueError(f"the lesson does not say what you will {verb}")
    words = " ".join(found[1].replace("\n#  ", " ").split())
    return LINK.sub(r"\1", COMMENT.sub("", words))


def planted(number: int, root: Path = ROOT) -> dict[str, int]:
    """Return for each check of a lesson how many wrong answers are planted for it."""
    file = root / "tests" / "planted" / f"lesson_{number:02}.py"
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "WRONG":
            table = node.value
            return {
                key.value: len(value.elts)
                for key, value in zip(table.keys, table.values, strict=True)
            }
    return {}


@cache
def built(root: Path = ROOT) -> dict[str, list[str]]:
    """Return the names of the library by their home lesson."""
    found: dict[str, list[str]] = {}
    for path in sorted((root / "lib").rglob("*.py")):
        module = module_name(path.relative_to(root / "lib").as_posix())
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                if home := HOME.search(ast.get_docstring(node) or ""):
                    found.setdefault(home[1], []).append(f"{module}.{node.name}")
    return found


def module_name(path: str) -> str:
    """Return the name of a module below `lib`, such as `models.gpt`."""
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def tests_of(names: list[str], root: Path = ROOT) -> list[str]:
    """Return few files of tests that together import all these names, if any does.

    First comes the file that imports the most of them; of two, the one that imports
    less of anything else.
    """
    left, chosen = {*names}, []
    found = tests_by_name(root)
    while True:
        best = min(found, key=lambda t: (-len(found[t] & left), len(found[t]), t))
        if not found[best] & left:
            return chosen
        chosen.append(best)
        left -= found[best]


@cache
def tests_by_name(root: Path = ROOT) -> dict[str, set[str]]:
    """Return for each file of tests what it imports from the library."""
    found = {}
    for path in sorted((root / "tests").glob("test_*.py")):
        found[path.name] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "lib."
            ):
                module = node.module.removeprefix("lib.")
                found[path.name] |= {f"{module}.{alias.name}" for alias in node.names}
    return found
