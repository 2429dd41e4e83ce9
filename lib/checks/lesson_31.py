"""The checks of the exercises in lesson 31, evaluation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.checks import exercise, expect, hint_for, python_number, returned

__all__ = ["check_needed", "check_byte_losses", "check_swapped_judge"]


# Exercise 1

SHARES = (
    *((0.5, 0.05), (0.7, 0.02), (0.9, 0.01), (0.3, 0.02), (0.2, 0.5), (0.5, 0.245)),
    *((0.05, 0.6), (0.5, 0.05, 2.576), (0.8, 0.03, 1.0)),
)


@exercise
def check_needed(needed) -> str:
    """Takes a function of p and half."""
    for case in SHARES:
        answer = returned(needed(*case))
        right = _needed(*case)
        words = zip(("p", "half", "z"), case, strict=False)
        where = "For " + ", ".join(f"{name}={value}" for name, value in words)
        expect(
            type(answer) is int,
            f"{where} the number of questions is an int; yours is {answer!r}.",
        )
        expect(
            answer == right,
            f"{where} it takes {right} questions, not {answer}. "
            + hint_for(answer, _needed_mistakes(*case), "n = z**2 p (1 - p) / h**2."),
        )
    return "Half the width takes four times the questions."


def _exact(p: float, half: float, z: float = 1.96) -> float:
    return z * z * p * (1 - p) / half**2


def _needed(p: float, half: float, z: float = 1.96) -> int:
    return math.ceil(_exact(p, half, z))


def _needed_mistakes(p: float, half: float, z: float = 1.96) -> dict[float, str]:
    n = _exact(p, half, z)
    wrong = {
        math.ceil(_exact(p, half)): "Use the argument `z`, not always 1.96.",
        math.floor(n): "Round up: with fewer the range is too wide.",
        math.ceil(n) + 1: "That is one more than is needed.",
        math.ceil(n / 4): "`half` is plus or minus: half of the width, not all of it.",
        math.ceil(4 * n): "`half` is plus or minus: not the whole width.",
        math.ceil(_exact(0.5, half, z)): "Use the share `p`, not always one half.",
        math.ceil(_exact(p, half, 1)): "The factor z is missing.",
        math.ceil(n / z): "z is squared too.",
        math.ceil(z * math.sqrt(p * (1 - p)) / half): "Square it: n is in a root.",
    }
    right = _needed(p, half, z)
    return {value: words for value, words in wrong.items() if value != right}


# Exercise 2


def _documents(number: int) -> list[tuple[str, Tensor]]:
    texts = (
        ("to be or not", "naïve café", "кит"),
        ("a\n", "", "bb bb bb bb bb bb", "a\n"),
        ("€", "x" * 30),
        ("same", "size"),
    )[number]
    draw = torch.Generator().manual_seed(number)
    return [
        (text, 3 * torch.rand((len(text) + 1) // 2, generator=draw)) for text in texts
    ]


@exercise
def check_byte_losses(byte_losses) -> str:
    """Takes a function of pairs of a text and its losses."""
    for number in range(4):
        documents = _documents(number)
        own = [(text, losses.clone()) for text, losses in documents]
        given = python_number(byte_losses(own))
        same = len(own) == len(documents) and all(
            a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in zip(own, documents)
        )
        expect(same, "Your function changed `documents`: leave it as it is.")
        right = _byte_losses(documents)
        expect(
            math.isclose(given, right, rel_tol=1e-4),
            f"For the texts {[text[:12] for text, _ in documents]} it is {right:.4f} "
            f"bits per byte, not {given:.4f}. "
            + hint_for(given, _byte_mistakes(documents), "All bits, over all bytes."),
        )
    return "Comparable with any tokenizer."


def _sums(documents: list[tuple[str, Tensor]]) -> tuple[float, int, int, int]:
    nats = sum(losses.double().sum().item() for _, losses in documents)
    n_bytes = sum(len(text.encode()) for text, _ in documents)
    n_characters = sum(len(text) for text, _ in documents)
    return nats, n_bytes, n_characters, sum(len(losses) for _, losses in documents)


def _byte_losses(documents: list[tuple[str, Tensor]]) -> float:
    nats, n_bytes, *_ = _sums(documents)
    return nats / math.log(2) / n_bytes


def _byte_mistakes(documents: list[tuple[str, Tensor]]) -> dict[float, str]:
    nats, n_bytes, n_characters, n_tokens = _sums(documents)
    full = [pair for pair in documents if pair[0]]
    mean = sum(_byte_losses([pair]) for pair in full) / len(full)
    means = sum(losses.double().mean().item() for _, losses in full) / len(full)
    bits = nats / math.log(2)
    wrong = {
        bits / n_characters: "These are bits per character: encode the text first.",
        nats / n_bytes: "These are nats: one bit is ln 2 of them.",
        nats * math.log(2) / n_bytes: "Divide by ln 2; you multiplied.",
        bits / n_tokens: "These are bits per token: divide by the bytes.",
        mean: "A mean of means: long documents must count for more.",
        means / math.log(2): "The mean over tokens depends on the tokenizer.",
        bits: "Divide by the number of bytes.",
        _byte_losses(full[:1]): "That is the first document only.",
        bits / len(str([text.encode() for text, _ in documents])): (
            "`str` of bytes writes each as several characters."
        ),
        bits / sum(len(str(text.encode())) for text, _ in documents): (
            "`str` of bytes writes each as several characters: take `len` of the bytes."
        ),
    }
    right = _byte_losses(documents)
    return {v: words for v, words in wrong.items() if not math.isclose(v, right)}


# Exercise 3


class _Judge:
    """A judge of numbers. Where they are close it takes the same place in any order.

    Asked about two equal ones, it changes its mind every time.
    """

    def __init__(self, margin: float, place: int) -> None:
        self.margin, self.place, self.asked = margin, place, []

    def __call__(self, first: float, second: float) -> int:
        self.asked.append((first, second))
        if first == second:
            return 1 + len(self.asked) % 2
        if abs(first - second) <= self.margin:
            return 1 if (first + second) % 2 == self.place else 2
        return 1 if first > second else 2


JUDGES = ((2.0, 0), (0.0, 0), (2.0, 1), (9.0, 0), (9.0, 1))
PAIRS = (
    [(9, 1), (8, 2), (7, 0), (6, 1), (1, 7), (2, 4), (5, 3), (1, 2)],
    [(1, 2), (7, 3), (0, 6), (9, 1), (2, 8)],
    [(6, 0)],
    [(0, 5), (1, 2)],
    [(9, 1), (0, 7), (9, 1), (9, 1), (4, 4), (4, 4), (2, 8)],
)


@exercise
def check_swapped_judge(swapped_judge) -> str:
    """Takes a function of pairs and a judge."""
    for pairs in PAIRS:
        for margin, place in JUDGES:
            judge, own = _Judge(margin, place), list(pairs)
            given = python_number(swapped_judge(own, judge))
            expect(own == pairs, "Your function changed the list `pairs` itself.")
            for a, b in pairs:
                both = (a, b) in judge.asked and (b, a) in judge.asked
                words = "Ask the judge in both orders, about each pair. (`and` and "
                words += "`or` do not ask the second time if the first decides.)"
                expect(both or a == b, words)
            points = [_points(a, b, margin) for a, b in pairs]
            right = sum(points) / len(pairs)
            hints = _judge_mistakes(pairs, points, margin, place)
            expect(
                math.isclose(given, right, abs_tol=1e-6),
                f"The win rate is {right:.3f}, not {given:.3f}. "
                + hint_for(given, hints, "1 for a won pair, 1/2 for a tie, 0 else."),
            )
    return "A preference for a place gives ties, and no wins."


def _points(a: float, b: float, margin: float) -> float:
    return 0.5 if abs(a - b) <= margin else float(a > b)


def _judge_mistakes(
    pairs: list, points: list[float], margin: float, place: int
) -> dict[float, str]:
    n, right = len(pairs), sum(points) / len(pairs)
    first = [_Judge(margin, place)(a, b) == 1 for a, b in pairs]
    second = [_Judge(margin, place)(b, a) == 1 for a, b in pairs]
    decided = [p for p in points if p != 0.5]
    wrong = {
        sum(a > b for a, b in pairs) / n: "Count the judge's verdicts, not your own.",
        100 * right: "That is in percent: return a share, 0 to 1.",
        sum(first) / n: "That is the verdict of one order only.",
        (n - sum(second)) / n: "That is the verdict of the other order only.",
        (sum(first) + sum(second)) / (2 * n): (
            "In the second order, `judge(b, a)`, the verdict 2 means a."
        ),
        sum(p == 1 for p in points) / n: "A tie is worth one half.",
        sum(p >= 0.5 for p in points) / n: "A tie is worth one half, not a win.",
        1 - right: "That is the win rate of the b's.",
        sum(points): "Divide by the number of pairs.",
    }
    if decided:
        wrong[sum(decided) / len(decided)] = "Ties stay in, each worth one half."
    return {v: words for v, words in wrong.items() if not math.isclose(v, right)}
