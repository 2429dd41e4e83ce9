"""The checks of the exercises in lesson 29, instruction tuning."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from lib.checks import Mistake, exercise, expect, hint_for, python_number, returned

__all__ = ["check_marked", "check_two_rows", "check_stop_report", "check_replay_rows"]


# Exercise 1

BEFORE_QUESTION, BEFORE_ANSWER, END = "### Question\n", "### Answer\n", "\n\n"


@exercise
def check_marked(marked) -> str:
    """Takes a function of question and answer."""
    for question, answer in (
        ("Say hi.", "hi"),
        ("a", "longer than that"),
        ("### Answer?", "### Answer\nno"),
        ("hi", "hi"),
        ("Twice?", "\n\n"),
        ("Anything?", ""),
        ("### Answer\nwhy?", "so"),
        ("  blanks ", " kept "),
    ):
        given = returned(marked(question, answer))
        expect(
            isinstance(given, tuple) and len(given) == 2,
            "The answer must be a pair: the text, and a list of marks.",
        )
        _expect_marks(*given, question, answer)
    return "Its own words and its stop, and nothing else."


def _expect_marks(text: object, own: object, question: str, answer: str) -> None:
    """Expect the right text and marks."""
    expect(
        isinstance(text, str) and isinstance(own, list),
        "The text must be a text and the marks a list; yours have the types "
        f"{type(text).__name__} and {type(own).__name__}.",
    )
    head = BEFORE_QUESTION + question + END + BEFORE_ANSWER
    right = head + answer + END
    if text != right:
        hint = _text_hint(text, head, answer)
        raise Mistake(f"The text must be {right!r}; yours is {text!r}. {hint}")
    expect(
        len(own) == len(right),
        f"There must be one mark for each of the {len(right)} characters of {right!r}; "
        f"your list has {len(own)}. (Nothing is moved yet.)",
    )
    expect(
        all(isinstance(mark, bool) for mark in own),
        f"The marks must be True or False; the first of yours is {own[0]!r}.",
    )
    wanted = [False] * len(head) + [True] * len(answer + END)
    if own != wanted:
        place = next(i for i, (a, b) in enumerate(zip(own, wanted)) if a != b)
        raise Mistake(
            f"In {right!r} the mark of character {place}, {right[place]!r}, must be "
            f"{wanted[place]}. {_marks_hint(own, wanted, len(head), len(answer))}"
        )


def _text_hint(text: str, head: str, answer: str) -> str:
    """Return what is probably wrong."""
    right = head + answer + END
    without = right.replace(END + BEFORE_ANSWER, BEFORE_ANSWER, 1)
    hints = {
        right.rstrip(): "The stop is missing: nothing is stripped from the end.",
        head + answer: "The stop is missing: the row ends with two line ends.",
        right + BEFORE_QUESTION: "After the stop nothing follows.",
        without: "After the question stand two line ends.",
    }
    return hints.get(text, "Follow the example, sign by sign.")


def _marks_hint(own: list, wanted: list, start: int, length: int) -> str:
    """Return what is probably wrong."""
    if own == [not mark for mark in wanted]:
        return "You marked the question: True is for what the model writes."
    if own == wanted[1:] + [False]:
        return "Here the marks are not moved: each stands at its own character."
    if not any(own[start + length :]):
        words = "The stop is the model's to write, too."
        if own[:start].count(True):
            words = "Count the characters that are given; do not search for the answer."
        return words
    if all(own):
        return "The question is not the model's to write."
    if own[start - len(BEFORE_ANSWER)]:
        return "What stands before the answer is given: the model does not write it."
    if sum(own) == sum(wanted) - len(END) + 1:
        return "The stop has two characters; both are the model's to write."
    return "Only the answer and its stop are the model's to write."


# Exercise 2


@exercise
def check_two_rows(batch_of) -> str:
    """Takes a function of two rows, each a pair of ids and marks."""
    cases = [
        (([5, 6, 7], [False, True, True]), ([8, 9], [False, True])),
        (([4, 3], [False, True]), ([1, 2, 0, 3, 0], [False, True, True, False, True])),
        (([1, 2], [True, True]), ([3, 4], [False, True])),
        (
            ([9] * 7, [False] * 6 + [True]),
            ([0, 0, 0, 2], [False, False, True, True]),
        ),
    ]
    for rows in cases:
        before = copy.deepcopy(rows)
        given = returned(batch_of(*rows))
        expect(rows == before, "Your function changes the rows that it is given.")
        expect(
            isinstance(given, tuple) and len(given) == 3,
            "The answer must be three tensors: inputs, targets, counted.",
        )
        for name, tensor, right in zip(
            ("inputs", "targets", "counted"), given, _batch(rows), strict=True
        ):
            _expect_tensor(name, tensor, right, rows)
    return "One batch, and each row counts as it did alone."


def _batch(rows: tuple, moved: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Return the right tensors."""
    width = max(len(ids) for ids, _ in rows)
    filled = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    own = torch.tensor([own + [False] * (width - len(own)) for _, own in rows])
    return filled[:, :-1], filled[:, 1:], own[:, 1:] if moved else own[:, :-1]


def _expect_tensor(name: str, given: object, right: Tensor, rows: tuple) -> None:
    """Expect one of the three tensors."""
    expect(
        isinstance(given, Tensor),
        f"{name} must be a tensor; yours has the type {type(given).__name__}.",
    )
    lengths = [len(ids) for ids, _ in rows]
    if given.shape != right.shape:
        hint = "Inputs lack the last token, targets the first."
        if given.dim() == 2 and given.size(1) < right.size(1):
            hint = "Fill the shorter row up to the longer one; cut nothing off."
        raise Mistake(
            f"For rows of {lengths} tokens {name} must have the shape "
            f"{tuple(right.shape)}; yours has {tuple(given.shape)}. {hint}"
        )
    kind = torch.bool if name == "counted" else torch.int64
    expect(
        given.dtype == kind,
        f"{name} must have the type {kind}; yours is {given.dtype}.",
    )
    if not torch.equal(given, right):
        raise Mistake(
            f"For rows of {lengths} tokens {name} must be {right.tolist()}; yours is "
            f"{given.tolist()}. {_tensor_hint(name, given, right, rows)}"
        )


def _tensor_hint(name: str, given: Tensor, right: Tensor, rows: tuple) -> str:
    """Return what is probably wrong."""
    if name == "counted":
        if torch.equal(given, _batch(rows, moved=False)[2]):
            return "The marks must move with the targets."
        if torch.equal(given, right | (_padding(rows)[:, 1:])):
            return "Filling counts in yours."
        return "A target counts if its own token is marked, and filling never counts."
    if torch.equal(given.flip(0), right):
        return "The rows keep their order."
    if not torch.equal(given[:, 0], right[:, 0]):
        return "The filling, 0, stands at the end, and inputs begin with the first id."
    return "Follow the example by hand."


def _padding(rows: tuple) -> Tensor:
    width = max(len(ids) for ids, _ in rows)
    return torch.tensor([[i >= len(ids) for i in range(width)] for ids, _ in rows])


# Exercise 3


@exercise
def check_stop_report(stop_report) -> str:
    """Takes a function of answers and stop_id."""
    cases = [
        ([[5, 6, 0], [5, 6, 7, 8]], 0),
        ([[0], [4, 0], [4, 4, 4]], 0),
        ([[7, 7], [7, 7]], 0),
        ([[1, 2, 9], [3, 9], [9], [5]], 9),
        ([[9, 9, 1], [2, 9, 2], [2, 9], [5, 9]], 9),
        ([[3, 3, 3, 3, 3, 3, 0]], 0),
    ]
    for answers, stop_id in cases:
        given = copy.deepcopy(answers)
        pair = returned(stop_report(given, stop_id))
        expect(given == answers, "Your function changes the answers that it is given.")
        expect(
            isinstance(pair, tuple) and len(pair) == 2,
            "The answer must be a pair: the stop rate and the mean length.",
        )
        _expect_report(pair, answers, stop_id)
    return "You know how often it ends, and how much it says."


def _expect_report(pair: tuple, answers: list, stop_id: int) -> None:
    """Expect the right rate and length."""
    ends = [answer[-1] == stop_id for answer in answers]
    words = [len(answer) - end for answer, end in zip(answers, ends)]
    where, n = f"For {answers} and stop_id={stop_id}", len(answers)
    for name, part, right, hints, otherwise in (
        (
            "stop rate",
            pair[0],
            sum(ends) / n,
            _rate_hints(answers, stop_id),
            "Count the answers whose last token is the stop.",
        ),
        (
            "mean length",
            pair[1],
            sum(words) / n,
            _length_hints(answers, stop_id),
            "Take the mean over all answers, without stops.",
        ),
    ):
        given = python_number(part)
        if not math.isclose(given, right, rel_tol=1e-6, abs_tol=1e-9):
            raise Mistake(
                f"{where} the {name} is {right:.7g}; yours is {given:.7g}. "
                f"{hint_for(given, hints, otherwise)}"
            )


def _rate_hints(answers: list, stop_id: int) -> dict[float, str]:
    """Return what known mistakes give, with their words."""
    n, ends = len(answers), sum(answer[-1] == stop_id for answer in answers)
    tokens = sum(map(len, answers))
    return {
        sum(stop_id in answer for answer in answers) / n: "A stop ends an answer: look "
        "at its last token only.",
        1 - ends / n: "That is the share that does not end.",
        (tokens - ends) / n: "That is the mean length; the rate comes first.",
        float(ends): "That is a number of answers; divide by how many there are.",
        sum(answer.count(stop_id) for answer in answers) / tokens: "That is a share of "
        "tokens; count answers.",
    }


def _length_hints(answers: list, stop_id: int) -> dict[float, str]:
    """Return what known mistakes give, with their words."""
    n, lengths = len(answers), [len(answer) for answer in answers]
    ends = [answer[-1] == stop_id for answer in answers]
    finished = [length - 1 for length, end in zip(lengths, ends) if end]
    without = sum(len(answer) - answer.count(stop_id) for answer in answers)
    return {
        sum(lengths) / n: "The stop is no part of what is said: leave it out.",
        sum(lengths) / n - 1: "An answer that was cut off has no stop to leave out.",
        without / n: "Leave out a stop at the end only.",
        float(sum(lengths) - sum(ends)): "That is a sum; divide by the number of "
        "answers.",
        sum(finished) / max(len(finished), 1): "Answers that were cut off have a "
        "length too: take all.",
    }


# Exercise 4


@exercise
def check_replay_rows(replay_rows) -> str:
    """Takes a function of n_answers, width and percent."""
    cases = [(100, 50, 50), (96, 64, 50), (101, 50, 50), (100, 50, 0), (90, 10, 10)]
    cases += [(91, 10, 10), (300, 100, 75), (301, 100, 75), (1, 64, 1), (7, 3, 99)]
    cases += [(1, 1, 80), (1, 3, 90), (4, 1, 80), (85, 1, 15)]  # floats would be off
    for n_answers, width, percent in cases:
        given = returned(replay_rows(n_answers, width, percent))
        expect(
            isinstance(given, int) and not isinstance(given, bool),
            "The answer must be a whole number, an int; yours is "
            f"{given!r} of the type {type(given).__name__}.",
        )
        right = -(-percent * n_answers // ((100 - percent) * width))
        if given != right:
            hint = _replay_hint(given, n_answers, width, percent)
            raise Mistake(
                f"With {n_answers} answer tokens, rows of {width} and {percent} % it "
                f"takes {right} rows; yours is {given}. {hint}"
            )
    return "Enough of the old text, and not one row more."


def _replay_hint(given: int, n_answers: int, width: int, percent: int) -> str:
    """Return what is probably wrong."""
    targets = percent * n_answers / (100 - percent)
    swapped = (100 - percent) * n_answers / (max(percent, 1) * width)
    hints = {
        math.floor(targets / width) + 1: "Where the share is met exactly, one more row "
        "is one too many; and floats are off by a bit: compute in whole numbers.",
        math.ceil(percent * n_answers / (100 * width)): "The share is one of all "
        "targets, those of the replay included.",
        math.ceil(targets): "That is a number of targets; a row has `width` of them.",
        math.ceil(swapped): "That gives the answers this share, not the replay.",
        math.floor(targets / width): "Round up: with fewer rows the share is too "
        "small.",
    }
    return hint_for(given, hints, "Solve n·width / (n·width + answers) >= share.")
