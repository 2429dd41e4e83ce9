"""Is a model right as often as it says?"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lib.device import at_least_float32
from lib.shapes import require_sizes

__all__ = ["Bin", "reliability", "calibration_error", "fit_temperature"]

SEARCH = 60  # halvings of the interval in which the temperature lies
COLDEST, HOTTEST = 1e-3, 1e3


class Bin(NamedTuple):
    """Predictions of about the same confidence.

    Attributes:
        count: how many.
        confidence: their mean confidence.
        accuracy: the share that was right.

    Home lesson: 31_evaluation
    """

    count: int
    confidence: float
    accuracy: float


def reliability(confidences: Tensor, right: Tensor, n_bins: int = 10) -> list[Bin]:
    """Sort predictions into bins of equal width by their confidence.

    Args:
        confidences: probabilities, ``(N,)``.
        right: bool ``(N,)``.
        n_bins: a bin holds what is above its lower end, up to its upper end; the first
            holds 0 too.

    Returns:
        The bins that are not empty, from low to high confidence.

    Raises:
        ValueError: if the shapes differ, or a confidence is not in [0, 1].

    Source: Guo et al. (2017), section 2.

    Home lesson: 31_evaluation
    """
    require_sizes(n_bins=n_bins)
    if confidences.dim() != 1 or confidences.shape != right.shape or not len(right):
        raise ValueError(
            f"confidences {tuple(confidences.shape)} and right {tuple(right.shape)} "
            "must be (N,) both, N > 0"
        )
    p = at_least_float32(confidences)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"confidences from {p.min()} to {p.max()} must be in [0, 1]")
    place = (p * n_bins).ceil().long().clamp(min=1) - 1
    bins = []
    for number in range(n_bins):
        own = place == number
        if own.any():
            mean, share = p[own].double().mean(), right[own].double().mean()
            bins.append(Bin(int(own.sum()), mean.item(), share.item()))
    return bins


def calibration_error(bins: list[Bin]) -> float:
    r"""Return the expected calibration error (ECE).

    :math:`\sum_b \frac{n_b}{N} |\text{accuracy}_b - \text{confidence}_b|`.

    Source: Naeini et al. (2015); Guo et al. (2017), equation (3).

    Home lesson: 31_evaluation
    """
    total = sum(each.count for each in bins)
    gaps = (each.count * abs(each.accuracy - each.confidence) for each in bins)
    return sum(gaps) / total


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    r"""Return the temperature T with which :math:`\mathrm{softmax}(z / T)` fits best.

    The loss is convex in :math:`b = 1 / T`; its slope, the mean of
    :math:`\sum_i p_i z_i - z_y`, is 0 at the best one, which halving finds. No choice
    of the likeliest token changes.

    Args:
        logits: z, ``(N, V)``, of examples that are not used afterwards to judge.
        targets: y, ``(N,)``.

    Returns:
        T in 0.001 .. 1000; an end of it if every target is the likeliest one, or none
        is better than chance.

    Raises:
        ValueError: if the shapes do not fit, a logit is NaN or infinite, or a target's
            is minus infinity. Other tokens may be ruled out by it.

    Source: Guo et al. (2017), section 4.2.

    Home lesson: 31_evaluation
    """
    if logits.dim() != 2 or logits.shape[:1] != targets.shape or not len(targets):
        raise ValueError(
            f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} must be "
            "(N, V) and (N,), N > 0"
        )
    z = logits.double()
    own = z.gather(1, targets.unsqueeze(1))[:, 0]
    if not own.isfinite().all() or not (z < math.inf).all():
        raise ValueError("logits must be finite, but for those of tokens ruled out")
    z = z.clamp(min=torch.finfo(z.dtype).min)  # 0 times minus infinity is no number
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(SEARCH):
        b = (low * high) ** 0.5
        slope = ((b * z).softmax(dim=1) * z).sum(dim=1) - own
        low, high = (b, high) if slope.mean() < 0 else (low, b)
    return 1 / b
