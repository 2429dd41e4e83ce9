"""Calculations for a model that may call a calculator."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

from lib.shapes import require_between
from lib.tasks.task import Example, ExampleTask
from lib.text.tokenizer import CharTokenizer

__all__ = ["Calculation", "write_calculation"]

ALPHABET = "0123456789+-*()=[];>.?"
MOST_DIGITS = 6  # that the calculator takes
STYLES = ("plain", "tool")


def write_calculation(
    a: int, b: int, c: int, sign: str = "+", style: str = "plain"
) -> Example:
    """Return a calculation in two steps as a question and its answer.

    Args:
        a, b, c: numbers from 0.
        sign: ``+``, or ``-`` with ``b`` at most ``a``.
        style: ``plain`` for the question ``(12+34)*56=`` and the answer ``2576.``;
            ``tool`` for ``[12+34]46;[46*56]2576;>2576.``, in which what follows each
            bracket up to the ``;`` is given by the calculator.

    Raises:
        ValueError: for a negative number or result, an unknown sign or style.
    """
    if sign not in ("+", "-"):
        raise ValueError(f"sign={sign!r} must be + or -")
    if style not in STYLES:
        raise ValueError(f"style={style!r} must be one of {', '.join(STYLES)}")
    first = a + b if sign == "+" else a - b
    if min(a, b, c, first) < 0:
        raise ValueError(f"a={a}, b={b}, c={c} and {a}{sign}{b} must be 0 or more")
    answer, given = "", []
    for call, result in ((f"{a}{sign}{b}", first), (f"{first}*{c}", first * c)):
        answer += f"[{call}]"
        given.append((len(answer), len(answer) + len(f"{result};")))
        answer += f"{result};"
    prompt = f"({a}{sign}{b})*{c}="
    if style == "plain":
        return Example(prompt, f"{first * c}.")
    return Example(prompt, f"{answer}>{first * c}.", tuple(given))


@dataclass(frozen=True)
class Calculation(ExampleTask):
    """A sum or a difference times a number.

    Attributes:
        digits: Of each number.
        style: plain, or tool: with calls of a calculator.
    """

    digits: int = 2
    style: str = "plain"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_between(1, MOST_DIGITS, digits=self.digits)
        write_calculation(0, 0, 0, "+", self.style)

    @cached_property
    def tokenizer(self) -> CharTokenizer:
        """The characters of a calculation."""
        return CharTokenizer(ALPHABET)

    @property
    def context_length(self) -> int:
        """The length of the longest row."""
        most = 10**self.digits - 1
        longest = write_calculation(most, most, most, "+", self.style)
        return len(longest.prompt + longest.answer)

    def draw(self, rng: random.Random) -> Example:
        """Draw a calculation."""
        low, high = 10 ** (self.digits - 1), 10**self.digits
        a, b, c = (rng.randrange(low, high) for _ in range(3))
        if rng.random() < 0.5:
            return write_calculation(max(a, b), min(a, b), c, "-", self.style)
        return write_calculation(a, b, c, "+", self.style)
