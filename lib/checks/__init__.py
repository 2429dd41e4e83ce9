"""What turns a check into an exercise: it looks at the reader's own object.

A check is a function of one argument that raises `Mistake` with words that name the
likely error. `exercise` wraps it: called in a notebook it prints one line, and an
answer that is missing, or that fails in its own code, never stops the notebook.
"""

from __future__ import annotations

import functools
import math
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import torch
from torch import Tensor

__all__ = [
    "Mistake",
    "Verdict",
    "expect",
    "returned",
    "number",
    "python_number",
    "tensor",
    "hint_for",
    "hint_for_tensor",
    "rounded",
    "exercise",
]


NOT_THE_READERS = (
    str(Path(__file__).parents[1]),
    *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")),
    "<frozen",
)


class Mistake(Exception):
    """Raised by a check: the message tells the reader what is wrong."""


@dataclass(frozen=True)
class Verdict:
    """What a check found: status "not attempted", "wrong" or "correct"; a message."""

    status: str
    message: str


def expect(condition: bool, message: str) -> None:
    """Raise `Mistake` with the message unless the condition holds."""
    if not condition:
        raise Mistake(message)


def returned(answer: object) -> object:
    """Return what the reader's function returned; `Mistake` where it was nothing."""
    expect(answer is not None, "Your function returned None: is a `return` missing?")
    return answer


def number(answer: object) -> float:
    """Return the reader's number as a float; `Mistake` where there is none."""
    answer = returned(answer)
    single = isinstance(answer, Tensor) and answer.numel() == 1
    expect(
        single or (isinstance(answer, Real) and not isinstance(answer, bool)),
        f"The answer must be a number; yours has the type {type(answer).__name__}.",
    )
    return float(answer.detach() if single else answer)


def python_number(answer: object) -> float:
    """Return the reader's number; `Mistake` where it is none, or still a tensor."""
    expect(
        not isinstance(answer, Tensor),
        "You return a tensor; .item() makes it a Python float.",
    )
    return number(answer)


def tensor(answer: object, shape: tuple[int, ...], what: str = "The answer") -> Tensor:
    """Return the reader's tensor; `Mistake` where it is none or has another shape."""
    answer = returned(answer)
    expect(
        isinstance(answer, Tensor),
        f"{what} must be a tensor; yours has the type {type(answer).__name__}.",
    )
    expect(
        tuple(answer.shape) == shape,
        f"{what} must have the shape {shape}; yours is {tuple(answer.shape)}.",
    )
    return answer


def hint_for(given: float, hints: Mapping[float, str], otherwise: str) -> str:
    """Return the hint of the wrong value that was given.

    Args:
        given: the reader's number.
        hints: the number that a known mistake gives -> words that name the mistake.
        otherwise: the hint when no known mistake gives this number.
    """
    for value, hint in hints.items():
        if math.isclose(given, value, rel_tol=1e-4, abs_tol=1e-6):
            return hint
    return otherwise


def hint_for_tensor(given: Tensor, hints: Mapping[str, Tensor], otherwise: str) -> str:
    """Return the hint of the wrong tensor that was given.

    Args:
        given: the reader's tensor.
        hints: words that name a mistake -> the tensor that this mistake gives.
        otherwise: the hint when no known mistake gives this tensor.
    """
    for hint, wrong in hints.items():
        if given.shape == wrong.shape and torch.allclose(
            given.double(), wrong.double(), rtol=1e-3, atol=1e-5, equal_nan=True
        ):
            return hint
    return otherwise


def rounded(numbers: Tensor) -> list[float]:
    """Return numbers with three decimals, for messages."""
    return [round(number, 3) for number in numbers.flatten().tolist()]


def _is_placeholder(error: Exception) -> bool:
    """Whether the reader left the line that stands for the answer."""
    words = ("", "your code here")  # PyTorch raises the same error, with other words
    return isinstance(error, NotImplementedError) and str(error) in words


def _say_who_raised(error: Exception, answer: object) -> str:
    """Say whether the reader's code raised an error, or the check itself did."""
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, NotImplementedError) and '"forward"' in str(error):
        return "Your module has no method `forward`: is its name spelt right?"
    if isinstance(error, AttributeError) and isinstance(answer, type):
        if isinstance(error.obj, answer) and "_" != error.name[0]:
            return f"Your class has no `{error.name}` yet."
    if isinstance(error, TypeError) and "argument" in str(error) and callable(answer):
        return f"{what}. (Compare the arguments with those of the exercise.)"
    files = [f.f_code.co_filename for f, _ in traceback.walk_tb(error.__traceback__)]
    if any(not file.startswith(NOT_THE_READERS) for file in files):
        return f"Your code raised {what}"
    return (
        f"The check itself stopped, with {what}. It was given a "
        f"{type(answer).__name__}: is that what the exercise asks for?"
    )


def exercise(check: Callable[[object], str]) -> Callable[[object], None]:
    """Make a check printable; ``.run(answer)`` gives its `Verdict` instead.

    Args:
        check: takes the reader's object, raises `Mistake` where it is wrong, and
            returns one sentence to print when it is right.

    Returns:
        A function that prints one line that begins with the name of the check.
    """

    def run(answer: object) -> Verdict:
        if answer is ...:
            return Verdict("not attempted", "not attempted yet")
        try:
            praise = check(answer)
        except Mistake as mistake:
            return Verdict("wrong", f"not yet. {mistake}")
        except Exception as error:  # the reader's code may raise anything
            if _is_placeholder(error):
                return Verdict("not attempted", "not attempted yet")
            return Verdict("wrong", f"not yet. {_say_who_raised(error, answer)}")
        return Verdict("correct", f"correct. {praise}")

    @functools.wraps(check)
    def show(answer: object) -> None:
        print(f"{check.__name__}: {run(answer).message}")

    show.run = run
    return show
