"""How good are predicted probabilities? Measured in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["entropy", "nats_to_bits", "cross_entropy"]


def entropy(probabilities: Tensor) -> Tensor:
    r"""Return the mean surprise of a distribution, :math:`-\sum_i p_i \ln p_i`.

    Args:
        probabilities: ``(..., V)``; the last dimension sums to 1. Zeros are allowed:
            what never happens adds no surprise.

    Returns:
        Entropy in nats, shape ``(...)``.

    Raises:
        ValueError: if a probability is negative or a row does not sum to 1.

    Source: Shannon (1948), section 6.

    Home lesson: 01_text_and_tokens
    """
    sums = probabilities.sum(dim=-1)
    if (probabilities < 0).any() or (sums - 1).abs().max() > 1e-3:
        raise ValueError(
            f"probabilities must be >= 0 and sum to 1; the smallest is "
            f"{probabilities.min():.4g}, the sums run from {sums.min():.4g} "
            f"to {sums.max():.4g}"
        )
    return (-torch.xlogy(probabilities, probabilities)).sum(dim=-1)


def nats_to_bits(nats: float) -> float:
    r"""Convert nats to bits: one bit is :math:`\ln 2` nats.

    Home lesson: 01_text_and_tokens
    """
    return nats / math.log(2)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Return the mean of :math:`-\ln p(\text{target})`, with p = softmax(logits).

    Equal to `torch.nn.functional.cross_entropy` over flattened positions.

    Args:
        logits: ``(..., V)``, one score per token of the vocabulary.
        targets: ``(...)``, ids of the tokens that came.

    Returns:
        The loss in nats, a scalar.

    Raises:
        ValueError: if the shapes do not fit each other.

    Source: Shannon (1948), section 6, gives the entropy that this cannot fall below.

    Home lesson: 02_bigram
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets has shape {tuple(targets.shape)}; with logits of shape "
            f"{tuple(logits.shape)} it must be {tuple(logits.shape[:-1])}"
        )
    log_probabilities = logits - logits.logsumexp(dim=-1, keepdim=True)
    return -log_probabilities.gather(-1, targets.unsqueeze(-1)).mean()
