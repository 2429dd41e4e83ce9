"""True or false: expressions with and, or, exclusive or, not, and brackets."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

from lib.shapes import require_between
from lib.tasks.task import Example, ExampleTask
from lib.text.tokenizer import CharTokenizer

__all__ = ["Logic", "write_logic"]

OPERATORS = {
    "&": lambda a, b: a and b,
    "|": lambda a, b: a or b,
    "^": lambda a, b: a != b,
}
MOST_VALUES = 1_000
STYLES = ("plain", "steps")
LETTERS = {True: "T", False: "F"}


def write_logic(
    values: list[bool], operators: str, negated: list[bool], style: str = "plain"
) -> Example:
    """Return an expression as a question, and its value as the answer.

    All brackets close at the end, as in `` T&( F|!T)=``: the last value comes first. A
    space stands where a value is not negated, so all questions are of the same length.

    Args:
        values: n of them, as they stand, before they are negated.
        operators: one fewer: ``&`` for and, ``|`` for or, ``^`` for exclusive or.
        negated: n; True where an ``!`` stands before the value.
        style: ``plain`` for ``F.``; ``steps`` for ``F;F;>F.``: what each bracket is
            worth, from the innermost on.

    Raises:
        ValueError: for lengths that do not fit, an unknown operator or style.
    """
    n = len(values)
    if not n or len(negated) != n or len(operators) != n - 1:
        raise ValueError(
            f"{n} values need {n} in negated and {max(n - 1, 0)} operators; there are "
            f"{len(negated)} and {len(operators)}"
        )
    if unknown := set(operators) - set(OPERATORS):
        raise ValueError(f"operators has {min(unknown)!r}; it may have &, | and ^")
    if style not in STYLES:
        raise ValueError(f"style={style!r} must be one of {', '.join(STYLES)}")
    written = [" !"[no] + LETTERS[value] for value, no in zip(values, negated)]
    text, worth = written[-1], values[-1] != negated[-1]
    steps = []
    inner = zip(values[-2::-1], negated[-2::-1], written[-2::-1], operators[::-1])
    for value, no, word, operator in inner:
        text = f"{word}{operator}({text})" if len(steps) else f"{word}{operator}{text}"
        worth = OPERATORS[operator](value != no, worth)
        steps.append(LETTERS[worth])
    shown = "".join(f"{step};" for step in steps) + ">" if style == "steps" else ""
    return Example(f"{text}=", f"{shown}{LETTERS[worth]}.")


@dataclass(frozen=True)
class Logic(ExampleTask):
    """Values of expressions with brackets.

    Attributes:
        n_values: In each expression.
        style: plain, or steps.
    """

    n_values: int = 6
    style: str = "plain"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_between(2, MOST_VALUES, n_values=self.n_values)
        self._write([False] * self.n_values, "&" * (self.n_values - 1))

    def _write(
        self, values: list[bool], operators: str, negated: list[bool] | None = None
    ) -> Example:
        return write_logic(values, operators, negated or values, self.style)

    @cached_property
    def tokenizer(self) -> CharTokenizer:
        """The characters of an expression."""
        return CharTokenizer(" TF!()=;>." + "".join(OPERATORS))

    @property
    def context_length(self) -> int:
        """The length of a row."""
        longest = self._write([True] * self.n_values, "&" * (self.n_values - 1))
        return len(longest.prompt + longest.answer)

    def draw(self, rng: random.Random) -> Example:
        """Draw an expression."""
        n = self.n_values
        values, negated = (rng.choices((False, True), k=n) for _ in range(2))
        operators = "".join(rng.choices([*OPERATORS], k=n - 1))
        return write_logic(values, operators, negated, self.style)
