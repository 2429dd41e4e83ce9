"""What each setting of a training may be: one table for all of its commands."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import get_type_hints

__all__ = ["RANGES", "Range", "check_ranges", "require_seed", "require_size"]

MOST = 10**9  # steps, rows, tokens: more of them no training of today comes to
SEED = 2**63 - 1


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``.

    ``above`` leaves out the lowest of them, ``below`` the highest; ``also`` says what
    else there may be.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False
    also: str = ""

    def __contains__(self, value: float) -> bool:
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return low and high

    def words(self) -> str:
        """Say which numbers these are."""
        least = "at least 1" if self.low == 1 else f"{self.low} or more"
        if self.above:
            least = f"above {self.low}"
        if self.high == math.inf:
            return f"be {least}" + " and finite" * self.below + self.also
        if self.high == MOST:
            return f"be {least}, and at most {self.high:,}"
        edges = "("[: self.above] or "[", ")"[: self.below] or "]"
        return f"lie in {edges[0]}{self.low}, {self.high}{edges[1]}"


SIZE = Range(1, MOST)
RATE = Range(0, above=True, below=True)
SHARE = Range(0, 1, below=True)
RANGES = {
    "n_steps": SIZE,
    "batch_size": SIZE,
    "accumulation": SIZE,
    "context_length": SIZE,
    "vocab_size": SIZE,
    "learning_rate": RATE,
    "muon_learning_rate": RATE,
    "embedding_learning_rate": RATE,
    "epochs": Range(0, MOST, above=True),
    "weight_decay": Range(0, below=True),
    "n_warmup": Range(0, MOST),
    "n_replay": Range(0, MOST),
    "clip": Range(0, above=True, also=", or None"),
    "momentum": SHARE,
    "betas": SHARE,
    "dropout": SHARE,
    "rounds": Range(1, 5),
    "seed": Range(0, SEED),
    "alpha": RATE,
    "rank": Range(1, 2**16),
}
"""The range of each setting by name; of a pair both numbers lie in it."""


def check_ranges(settings: object) -> None:
    """Check the type and the range of every field of a settings dataclass.

    Raises:
        TypeError: for a value of another type, as a file may hold it.
        ValueError: for a number outside its range, or that is no number.
    """
    kinds = get_type_hints(type(settings))
    for field in fields(settings):
        name, value = field.name, getattr(settings, field.name)
        kind = str(kinds[name]).removeprefix("<class '").removesuffix("'>")
        _check_type(name, value, kind)
        allowed = RANGES.get(name)
        if allowed is None or value is None:
            continue
        if not all(n in allowed for n in (value if _is_row(value) else [value])):
            raise ValueError(f"{name}={value} must {allowed.words()}")
    accumulation = getattr(settings, "accumulation", 1)
    if accumulation > (size := getattr(settings, "batch_size", accumulation)):
        raise ValueError(
            f"{accumulation=} is more than batch_size={size}: a batch is cut into so "
            "many parts"
        )


def require_size(**sizes: int) -> None:
    """Check that sizes, given by name, are at least 1, and not beyond all measure.

    Raises:
        ValueError: for another one.
    """
    for name, size in sizes.items():
        if size not in SIZE:
            raise ValueError(f"{name}={size} must {SIZE.words()}")


def require_seed(seed: int) -> None:
    """Check that random numbers can begin with a seed.

    Raises:
        ValueError: if they cannot.
    """
    if seed not in RANGES["seed"]:
        raise ValueError(f"seed={seed} must {RANGES['seed'].words()}")


def _is_row(value: object) -> bool:
    return isinstance(value, tuple | list)


def _check_type(name: str, value: object, kind: str) -> None:
    """Check a value against the words of its type."""
    if value is None and "None" in kind:
        return
    if "tuple" in kind:
        if not (_is_row(value) and all(isinstance(one, Real) for one in value)):
            raise TypeError(f"{name}={value!r} must be {kind}")
        return
    for word, allowed in (
        ("bool", bool),
        ("float", Real),
        ("int", Integral),
        ("str", str),
    ):
        if word in kind:
            wrong = isinstance(value, bool) and word != "bool"
            if not isinstance(value, allowed) or wrong:
                raise TypeError(f"{name}={value!r} must be {kind}")
            return
