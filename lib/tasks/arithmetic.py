"""Sums as text: the answer at once, backwards, or after the steps on paper."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

from lib.shapes import require_between, require_sizes
from lib.tasks.task import Example, ExampleTask
from lib.text.tokenizer import CharTokenizer

__all__ = ["Addition", "write_sum"]

ALPHABET = "0123456789+=,:>;.abcdefghijkl"
STYLES = ("plain", "reversed", "steps", "hints")
MOST_DIGITS = 100
HINTS = "abcdefghijkl"  # names of places; a sum takes some that follow each other


def write_sum(
    a: int, b: int, digits: int, style: str = "plain", first_hint: int = 0
) -> Example:
    """Return a sum as a question and its answer.

    Args:
        a: a number from 0, with so many digits at most.
        b: another one.
        digits: to which the numbers are filled up with zeros; the answer has one more.
        style: ``plain`` for ``0579.``, ``reversed`` for ``9750.``, ``steps`` for
            ``09;07;05;>0579.``: from the right, what is carried and what is written;
            ``hints`` for ``c1b2a3+c4b5a6=`` and ``a9b7c5d0.``: reversed, each digit
            after a letter that names its place.
        first_hint: which letter the units have with ``hints``; 0 for a.

    Raises:
        ValueError: for a number out of its range, an unknown style, or more places
            than letters.

    Home lesson: 24_reasoning
    """
    require_sizes(digits=digits)
    for name, number in (("a", a), ("b", b)):
        if not 0 <= number < 10**digits:
            raise ValueError(f"{name}={number} must be 0 .. {10**digits - 1}")
    if style not in STYLES:
        raise ValueError(f"style={style!r} must be one of {', '.join(STYLES)}")
    left, right, result = f"{a:0{digits}}", f"{b:0{digits}}", f"{a + b:0{digits + 1}}"
    if style == "hints":
        return _with_hints(left, right, result, first_hint)
    if style == "reversed":
        result = result[::-1]
    steps, carry = "", 0
    for x, y in zip(reversed(left), reversed(right)):
        carry, digit = divmod(int(x) + int(y) + carry, 10)
        steps += f"{carry}{digit};"
    steps = f"{steps}>" if style == "steps" else ""
    return Example(f"{left}+{right}=", f"{steps}{result}.")


def _with_hints(left: str, right: str, result: str, first: int) -> Example:
    """Return a sum in which a letter stands before each digit."""
    if not 0 <= first <= len(HINTS) - len(result):
        raise ValueError(
            f"first_hint={first} must be 0 .. {len(HINTS) - len(result)} with "
            f"digits={len(left)}"
        )
    letters = HINTS[first : first + len(result)]

    def named(number: str) -> str:
        return "".join(a + b for a, b in zip(letters[len(number) - 1 :: -1], number))

    back = "".join(a + b for a, b in zip(letters, reversed(result)))
    return Example(f"{named(left)}+{named(right)}=", f"{back}.")


@dataclass(frozen=True)
class Addition(ExampleTask):
    """Sums of two numbers.

    Attributes:
        digits: Of each number.
        style: plain, reversed, steps, or hints.
        fewest: Digits of the shortest numbers to learn from. None for all alike.
        test_digits: Of each number in the test. None for as many as ``digits``.
    """

    digits: int = 3
    style: str = "plain"
    fewest: int | None = None
    test_digits: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = {"digits": self.digits, "test_digits": self.test_digits or 1}
        most = len(HINTS) - 1 if self.style == "hints" else MOST_DIGITS
        require_between(1, most, **sizes)
        if self.test_digits is not None:
            require_sizes(test_digits=self.test_digits)
        write_sum(0, 0, self.digits, self.style)  # which refuses what there is not
        if self.test_digits is not None:
            write_sum(0, 0, self.test_digits, self.style)
        if self.fewest is not None and not 1 <= self.fewest <= self.digits:
            raise ValueError(f"fewest={self.fewest} must be 1 .. digits={self.digits}")

    @cached_property
    def tokenizer(self) -> CharTokenizer:
        """The characters of a sum."""
        return CharTokenizer(ALPHABET)

    @property
    def context_length(self) -> int:
        """The length of a row, with the longer of both kinds of numbers."""
        longest = max(self.digits, self.test_digits or 0)
        return len("".join(write_sum(0, 0, longest, self.style)[:2]))

    def question(self, example: Example) -> str:
        """Return the sum without the letters that name its places."""
        return "".join(c for c in example.prompt if c not in HINTS)

    def draw(self, rng: random.Random) -> Example:
        """Draw a sum."""
        if self.fewest is None:
            return self._draw(rng, self.digits)
        return self._draw(rng, rng.randint(self.fewest, self.digits))

    def draw_for_test(self, rng: random.Random) -> Example:
        """Draw a sum that may be longer."""
        return self._draw(rng, self.test_digits or self.digits)

    def _draw(self, rng: random.Random, digits: int) -> Example:
        a, b = (rng.randrange(10**digits) for _ in range(2))
        free = len(HINTS) - digits if self.style == "hints" else 1
        first = rng.randrange(free) if free > 1 else 0
        return write_sum(a, b, digits, self.style, first)
