"""How sure is a measured number, and is one model better than another?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from lib.shapes import require_between, require_sizes

__all__ = ["wilson_interval", "bootstrap_interval", "paired_p_value"]


def wilson_interval(n_right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    r"""Return between which shares the true one lies, in 95 of 100 tests.

    These are the shares p that are at most z standard errors
    :math:`\sqrt{p (1 - p) / n}` from what was found.

    Args:
        n_right: right answers, 0 .. n.
        n: questions, drawn independently of each other.
        z: 1.96 for 95 %.

    Raises:
        ValueError: for a number out of its range.

    Source: Wilson (1927).

    Home lesson: 31_evaluation
    """
    require_sizes(n=n)
    require_between(0, n, n_right=n_right)
    if not 0 < z < math.inf:
        raise ValueError(f"z={z} must be above 0 and finite")
    share, weight = n_right / n, z * z / n
    middle = share + weight / 2
    half = z * math.sqrt(share * (1 - share) / n + weight / (4 * n))
    low, high = (middle - half) / (1 + weight), (middle + half) / (1 + weight)
    return max(low, 0.0), min(high, 1.0)


def bootstrap_interval(
    values: Sequence[float], n_draws: int = 2_000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return between which means the true one lies, by drawing questions again.

    Each draw takes as many values as there are, with replacement, and their mean. For
    two models give the differences, question by question: a *paired* bootstrap.

    Args:
        values: one number for each question.
        n_draws: how many draws.
        seed: of the draws.
        level: the share of draws that lie inside.

    Raises:
        ValueError: for less than two values, or a number out of its range.

    Source: Efron (1979); for two systems Koehn (2004).

    Home lesson: 31_evaluation
    """
    require_sizes(n_draws=n_draws)
    if len(values) < 2:
        raise ValueError(f"values has {len(values)} numbers; it must have two or more")
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be inside (0, 1)")
    x = torch.tensor([float(value) for value in values], dtype=torch.float64)
    _require_finite(values=x)
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack(
        [
            x[torch.randint(len(x), (len(x),), generator=generator)].mean()
            for _ in range(n_draws)
        ]
    )
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = means.quantile(ends).tolist()
    return low, high


def paired_p_value(
    a: Sequence[float], b: Sequence[float], n_draws: int = 5_000, seed: int = 0
) -> float:
    """Return how often chance alone makes two models differ as much as they do.

    If both are equally good, each question could as well have gone the other way
    round: each difference gets a random sign. The share of draws that differ at least
    as much, in either direction, is the p-value; the draw that was found counts too.

    Args:
        a: a number for each question, of one model.
        b: of the other one, for the same questions in the same order.
        n_draws: how many draws.
        seed: of the signs.

    Raises:
        ValueError: if there are no questions, not as many of both, or numbers that are
            not finite.

    Source: Fisher (1935), chapter 3; Dror et al. (2018), section 3.2.

    Home lesson: 31_evaluation
    """
    require_sizes(n_draws=n_draws)
    if not len(a) or len(a) != len(b):
        raise ValueError(
            f"{len(a)} and {len(b)} numbers; both must be as many, and one or more"
        )
    d = torch.tensor([float(x) - float(y) for x, y in zip(a, b)], dtype=torch.float64)
    _require_finite(differences=d)
    generator = torch.Generator().manual_seed(seed)
    signs = 2 * torch.randint(2, (n_draws, len(d)), generator=generator) - 1
    drawn = (signs.double() @ d).abs()
    rounding = 1e-12 * d.abs().sum()
    as_far = (drawn >= d.sum().abs() - rounding).sum().item()
    return (as_far + 1) / (n_draws + 1)


def _require_finite(**numbers: torch.Tensor) -> None:
    """Refuse a NaN and an infinity: no order of numbers with one means anything."""
    for name, given in numbers.items():
        if not given.isfinite().all():
            raise ValueError(f"{name} must be finite numbers, not {given.tolist()[:5]}")
