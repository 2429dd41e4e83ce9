"""How good are predicted probabilities?"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.attention import document_mask
from lib.device import at_least_float32

__all__ = [
    "entropy",
    "nats_to_bits",
    "cross_entropy",
    "mean_over",
    "label_smoothing_loss",
    "masked_loss",
    "packed_loss",
]


def entropy(probabilities: Tensor) -> Tensor:
    r"""Return the mean surprise of a distribution, :math:`-\sum_i p_i \ln p_i`.

    Args:
        probabilities: ``(..., V)``; the last dimension sums to 1. Zeros are allowed:
            what never happens adds no surprise.

    Returns:
        Entropy in nats, shape ``(...)``, computed in float32 or better.

    Raises:
        ValueError: if a probability is negative or a row does not sum to 1.

    Source: Shannon (1948), section 6.

    Home lesson: 01_text_and_tokens
    """
    p = at_least_float32(probabilities)
    sums = p.sum(dim=-1)
    rounding = 1e-2 if probabilities.dtype == torch.bfloat16 else 1e-3
    if (p < 0).any() or (sums - 1).abs().max() > rounding:
        raise ValueError(
            f"probabilities must be >= 0 and sum to 1; the smallest is "
            f"{p.min():.4g}, the sums run from {sums.min():.4g} "
            f"to {sums.max():.4g}"
        )
    return (-torch.xlogy(p, p)).sum(dim=-1)


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
        The loss in nats, a scalar, computed in float32 or better.

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
    logits = at_least_float32(logits)
    log_probabilities = logits - logits.logsumexp(dim=-1, keepdim=True)
    return -log_probabilities.gather(-1, targets.unsqueeze(-1)).mean()


def mean_over(counts: Callable[..., Tensor]) -> Callable[[Callable], Callable]:
    """Say of a loss over which targets of a batch it is a mean.

    A batch may be cut into parts, or shared by several processes; a `Training` then
    gives each part the weight of the targets that count in it.

    Args:
        counts: called with a model and a batch as the loss is; returns True where a
            target counts, bool, any shape.

    Returns:
        A decorator for a loss ``loss_of(model, *batch)``.

    Home lesson: 11_training
    """

    def mark(loss_of: Callable) -> Callable:
        loss_of.counts = counts
        return loss_of

    return mark


def label_smoothing_loss(
    logits: Tensor, targets: Tensor, smoothing: float = 0.0, pad_id: int | None = None
) -> Tensor:
    r"""Return the mean loss against targets that share a little with all other tokens.

    The target gets :math:`1 - \epsilon` and all V tokens, itself included, get
    :math:`\epsilon / V` more: :math:`-\sum_i t_i \ln p_i`.

    Args:
        logits: ``(..., V)``, one score per token of the vocabulary.
        targets: ``(...)``, ids of the tokens that came.
        smoothing: the share :math:`\epsilon` that is spread, 0 for `cross_entropy`.
        pad_id: targets that do not count.

    Returns:
        The loss in nats, a scalar: the mean over the targets that count, 0 if none do.

    Raises:
        ValueError: if the shapes do not fit each other, or ``smoothing`` is not in
            [0, 1].

    Source: Szegedy et al. (2016), section 7; Vaswani et al. (2017), section 5.4.

    Home lesson: 16_translation
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets has shape {tuple(targets.shape)}; with logits of shape "
            f"{tuple(logits.shape)} it must be {tuple(logits.shape[:-1])}"
        )
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing={smoothing} must lie in [0, 1]")
    counts = targets != (-1 if pad_id is None else pad_id)  # no token has the id -1
    places = targets.masked_fill(~counts, 0).unsqueeze(-1)  # (..., 1)
    surprise = -at_least_float32(logits).log_softmax(dim=-1)  # -ln p: (..., V)
    losses = surprise.gather(-1, places).squeeze(-1)  # (...)
    if smoothing > 0:
        losses = (1 - smoothing) * losses + smoothing * surprise.mean(dim=-1)
    return losses.masked_fill(~counts, 0.0).sum() / counts.sum().clamp(min=1)


@mean_over(lambda model, inputs, targets, hidden: hidden)
def masked_loss(
    model: nn.Module, inputs: Tensor, targets: Tensor, hidden: Tensor
) -> Tensor:
    """Return the mean loss in nats at the hidden positions only, all ``(B, T)``.

    Home lesson: 17_masked_language_model
    """
    return cross_entropy(model(inputs)[hidden], targets[hidden])


@mean_over(lambda model, inputs, targets, counted, documents, positions: counted)
def packed_loss(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    counted: Tensor,
    documents: Tensor,
    positions: Tensor,
) -> Tensor:
    """Return the mean loss in nats over rows of several documents, all ``(B, T)``.

    It is the loss of the documents one by one: each sees only itself, from position 0
    on. The arguments are those of `Packed`.

    Source: Krell et al. (2021), section 3.2.

    Home lesson: 28_data_preparation
    """
    logits = model(inputs, positions=positions, mask=document_mask(documents))
    return cross_entropy(logits[counted], targets[counted])
