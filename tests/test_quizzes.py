"""The quizzes: whole, fair, and right where an answer can be computed."""

import math
from pathlib import Path

import pytest
import quiz_data
import torch
from course_data import read_course
from quiz_data import Question, read_quiz
from torch.nn import functional as F

PARTS = [*read_course().parts]
QUESTIONS = {
    f"{part}-{number}": question
    for part in PARTS
    for number, question in enumerate(read_quiz(part), 1)
}
COMPUTED = {name: q for name, q in QUESTIONS.items() if q.computes}
WORDS = 60  # of an option and its reason
SAMPLE = """\
- lesson: 06_attention
  ask: What?
  options:
    - {text: This., why: So., right: true}
    - {text: That., why: Not so.}
    - {text: Both., why: Not so.}
"""


def test_each_part_has_questions_about_each_lesson() -> None:
    for part in PARTS:
        quiz = read_quiz(part)
        lessons = [one.name for one in read_course().lessons if one.part == part]
        assert 5 <= len(quiz) <= 8, part
        asked = [question.lesson for question in quiz]
        assert asked == sorted(asked) and set(asked) == set(lessons), part


@pytest.mark.parametrize("name", COMPUTED)
def test_what_can_be_computed_is_right(name: str) -> None:
    torch.manual_seed(0)
    names = {"torch": torch, "math": math, "F": F}
    exec(COMPUTED[name].computes, names)
    assert names["right"] is True


def test_enough_answers_are_computed() -> None:
    for part in PARTS:
        assert sum(bool(q.computes) for q in read_quiz(part)) >= 2, part


def is_longest(question: Question) -> bool:
    """Whether the right option is longer than all others."""
    lengths = {option.right: 0 for option in question.options}
    for option in question.options:
        lengths[option.right] = max(lengths[option.right], len(option.text))
    return lengths[True] > lengths[False]


def test_the_right_option_cannot_be_guessed() -> None:
    places = [[o.right for o in q.options].index(True) for q in QUESTIONS.values()]
    for place in range(3):
        assert places.count(place) >= len(places) / 6, places
    assert sum(map(is_longest, QUESTIONS.values())) <= len(QUESTIONS) / 2


def test_options_are_short_and_explained() -> None:
    for name, question in QUESTIONS.items():
        assert len({option.text for option in question.options}) == len(
            question.options
        )
        for option in question.options:
            assert "$" not in option.text, (name, "a summary shows no formulas")
            n_words = len(f"{option.text} {option.why}".split())
            assert option.why.endswith(".") and n_words <= WORDS, (name, option)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("06_attention", "13_generation", "13_generation is not in it"),
        (", right: true", "", "one of 3 or 4 must be right"),
        ("Not so.}\n", "Not so., right: true}\n", "one of 3 or 4 must be right"),
        ("    - {text: Both., why: Not so.}\n", "", "one of 3 or 4 must be right"),
    ],
)
def test_a_broken_quiz_is_refused(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    folder = tmp_path / "book" / "quizzes"
    folder.mkdir(parents=True)
    (folder / "part_II.yml").write_text(SAMPLE, "utf-8")
    assert len(quiz_data.read_quiz("II", tmp_path)) == 1
    (folder / "part_II.yml").write_text(SAMPLE.replace(old, new), "utf-8")
    with pytest.raises(ValueError, match=words):
        quiz_data.read_quiz("II", tmp_path)
