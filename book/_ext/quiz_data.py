"""The questions of book/quizzes/; tests use them, too, so nothing needs Sphinx."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from course_data import ROOT, read_course


@dataclass(frozen=True)
class Option:
    """One answer, and why it is right or what it overlooks."""

    text: str
    why: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """One question of a quiz.

    Attributes:
        lesson: the lesson that answers it.
        ask: the question, in MyST.
        options: three or four, one of them right.
        computes: Python that sets ``right`` to True if the right option is right, with
            ``torch``, ``math`` and ``F`` at hand; empty where it cannot be computed.
    """

    lesson: str
    ask: str
    options: tuple[Option, ...]
    computes: str = ""


def read_quiz(part: str, root: Path = ROOT) -> list[Question]:
    """Read the questions of a part from `book/quizzes/`.

    Raises:
        ValueError: for a question of another part's lesson, or one that has not three
            or four options of which one is right.
    """
    path = root / "book" / "quizzes" / f"part_{part}.yml"
    questions = []
    for number, row in enumerate(yaml.safe_load(path.read_text("utf-8")), 1):
        options = tuple(Option(**option) for option in row.pop("options"))
        question = Question(**row, options=options)
        lesson = read_course().lesson(question.lesson)
        if lesson is None or lesson.part != part:
            raise ValueError(f"{path.name}, {number}: {question.lesson} is not in it")
        if len(options) not in (3, 4) or sum(o.right for o in options) != 1:
            raise ValueError(f"{path.name}, {number}: one of 3 or 4 must be right")
        questions.append(question)
    return questions
