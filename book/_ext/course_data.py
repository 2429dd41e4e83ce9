"""What the site tells about the course: its lessons, its ladder, its timings.

Reads `book/course.yml` and what is recorded in `data/`. Nothing in here
needs Sphinx, so tests and tools use it too.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Lesson:
    """One lesson of the course, finished or to come."""

    number: int
    slug: str
    title: str
    part: str
    promise: str
    limit: float  # seconds
    was: tuple[str, ...] = ()  # names that it had before; the site forwards them
    rung: str = ""  # what it will put on the ladder, said before it is measured

    @property
    def name(self) -> str:
        """The name of its files, such as `02_bigram`."""
        return f"{self.number:02}_{self.slug}"

    @property
    def heading(self) -> str:
        """Its first heading, such as `02 · The bigram model`."""
        return f"{self.number:02} · {self.title}"

    def minutes(self, root: Path = ROOT) -> int:
        """How long it takes to read, as it says itself; 0 when it is to come."""
        if not is_finished(self, root):
            return 0
        script = (root / "lessons" / f"{self.name}.py").read_text("utf-8")
        return int(re.search(r"\*\*Takes\*\* about (\d+) minutes", script)[1])


@dataclass(frozen=True)
class Course:
    """All lessons in order, the titles of the parts, and the limits in seconds."""

    lessons: list[Lesson]
    parts: dict[str, str]
    limits: dict[str, float]
    plumbing: list[str]

    def lesson(self, name: str) -> Lesson | None:
        """The lesson with this file name, or None."""
        return next((one for one in self.lessons if one.name == name), None)

    def next_rungs(self, root: Path = ROOT) -> list[str]:
        """What the lessons to come will put on the ladder."""
        return [
            one.rung for one in self.lessons if one.rung and not is_finished(one, root)
        ]


@dataclass(frozen=True)
class Rung:
    """One model on the ladder; the loss is in nats per character.

    It comes out of a lesson, or out of a checkpoint in `data/`.
    """

    name: str
    lesson: str
    parameters: int
    cpu_seconds: float | None  # None: nobody took the time
    seeds: int
    validation_loss: float
    sample: str
    checkpoint: str = ""

    @property
    def bits(self) -> float:
        """The loss in bits per character."""
        return self.validation_loss / math.log(2)

    @property
    def perplexity(self) -> float:
        """How many equally likely characters would be as hard to predict."""
        return math.exp(self.validation_loss)


@dataclass(frozen=True)
class Ability:
    """What small models were asked to do, and how often each of them was right."""

    asked: str
    example: str
    lesson: str
    right: list[float]
    training: dict = field(default_factory=dict)


def read_course(root: Path = ROOT) -> Course:
    """Read `book/course.yml`, once for as long as it says the same.

    A build asks some thousand times.
    """
    return _course((root / "book" / "course.yml").read_text(encoding="utf-8"))


@lru_cache(maxsize=4)
def _course(text: str) -> Course:
    data = yaml.safe_load(text)
    lessons = []
    for row in data["lessons"]:
        row.setdefault("limit", data["limits"]["lessons"])
        row["was"] = tuple(row.get("was", ()))
        lessons.append(Lesson(**row))
    return Course(lessons, data["parts"], data["limits"], data["plumbing"])


def read_ladder(root: Path = ROOT) -> list[Rung]:
    """Read `data/ladder.json`; no rungs when the file is not there yet."""
    rungs = _read_json(root / "data" / "ladder.json").get("rungs", [])
    return [Rung(**row) for row in rungs]


def read_timings(root: Path = ROOT) -> dict:
    """Read `data/timings.json`; no notebooks when the file is not there yet."""
    return {
        "machine": "",
        "notebooks": {},
        **_read_json(root / "data" / "timings.json"),
    }


def read_benchmarks(root: Path = ROOT) -> dict:
    """Read `data/benchmarks.json`; no rows when the file is not there yet."""
    return {
        "machine": "",
        "rows": [],
        **_read_json(root / "data" / "benchmarks.json"),
    }


def read_abilities(root: Path = ROOT) -> list[Ability]:
    """Read what small models were recorded to do, as `book/course.yml` lists it."""
    text = (root / "book" / "course.yml").read_text(encoding="utf-8")
    abilities = []
    for row in yaml.safe_load(text)["abilities"]:
        file, *keys = row.pop("record")
        found = _read_json(root / "data" / f"{file}.json")
        for key in keys:
            found = found[key]
        abilities.append(Ability(**row, **_what_was_found(found)))
    return abilities


def _what_was_found(found: dict | list) -> dict:
    """The share of right answers of each run, and how it was trained if that is noted.

    A record holds shares, or curves, of which the last number counts.
    """
    if isinstance(found, list):
        return {"right": [run["greedy"][-1] for run in found]}
    if "wordings" in found:
        return {"right": found["words"]}
    if "by_shots" in found:
        return {"right": [shots[-1] for shots in found["by_shots"]]}
    if "accuracy" in found:
        return {"right": [curve[-1] for curve in found["accuracy"]]}
    names = ("task", "n_steps", "batch_size", "seconds")
    training = {name: found[name] for name in names}
    return {"right": found["accuracies"], "training": training}


def is_finished(lesson: Lesson, root: Path = ROOT) -> bool:
    """Whether the lesson's script exists."""
    return (root / "lessons" / f"{lesson.name}.py").exists()


def _read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
