"""Sums as text: the answer at once, backwards, or after the steps on paper."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

from lib.shapes import require_sizes
from lib.tasks.task import Example, ExampleTask
from lib.text.tokenizer import CharTokenizer

__all__ = ["Addition", "write_sum"]

ALPHABET = "0123456789+=,:>;."
STYLES = ("plain", "reversed", "steps")


def write_sum(a: int, b: int, digits: int, style: str = "plain") -> Example:
    """Return a sum as a question and its answer.

    Args:
        a: a number from 0, with so many digits at most.
        b: another one.
        digits: to which the numbers are filled up with zeros; the answer has one more.
        style: ``plain`` for ``0579.``, ``reversed`` for ``9750.``, ``steps`` for
            ``09;07;05;>0579.``: from the right, what is carried and what is written.

    Raises:
        ValueError: for a number out of its range, or an unknown style.

    Home lesson: 24_reasoning
    """
    require_sizes(digits=digits)
    for name, number in (("a", a), ("b", b)):
        if not 0 <= number < 10**digits:
            raise ValueError(f"{name}={number} must be 0 .. {10**digits - 1}")
    if style not in STYLES:
        raise ValueError(f"style={style!r} must be one of {', '.join(STYLES)}")
    left, right, result = f"{a:0{digits}}", f"{b:0{digits}}", f"{a + b:0{digits + 1}}"
    if style == "reversed":
        result = result[::-1]
    steps, carry = "", 0
    for x, y in zip(reversed(left), reversed(right)):
        carry, digit = divmod(int(x) + int(y) + carry, 10)
        steps += f"{carry}{digit};"
    steps = f"{steps}>" if style == "steps" else ""
    return Example(f"{left}+{right}=", f"{steps}{result}.")


@dataclass(frozen=True)
class Addition(ExampleTask):
    """Sums of two numbers.

    Attributes:
        digits: Of each number.
        style: plain, reversed, or steps.
    """

    digits: int = 3
    style: str = "plain"

    def __post_init__(self) -> None:
        super().__post_init__()
        write_sum(0, 0, self.digits, self.style)  # which refuses what there is not

    @cached_property
    def tokenizer(self) -> CharTokenizer:
        """The characters of a sum."""
        return CharTokenizer(ALPHABET)

    @property
    def context_length(self) -> int:
        """The length of a row."""
        return len("".join(write_sum(0, 0, self.digits, self.style)[:2]))

    def draw(self, rng: random.Random) -> Example:
        """Draw a sum."""
        a, b = (rng.randrange(10**self.digits) for _ in range(2))
        return write_sum(a, b, self.digits, self.style)
