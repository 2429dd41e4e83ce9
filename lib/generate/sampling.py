"""Choosing the next token from the logits of a model."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.device import at_least_float32
from lib.shapes import require_sizes

__all__ = [
    "sample_next",
    "sharpen",
    "penalize_repetition",
    "keep_top_k",
    "keep_top_p",
    "choose_next",
]


def sample_next(
    logits: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Choose one token per row from the logits of the next token.

    Args:
        logits: ``(B, V)``, one score per token of the vocabulary.
        temperature: divides the logits: below 1 sharper, above 1 flatter; 0 always
            takes the most likely token (greedy).
        generator: source of the random draws.

    Returns:
        Ids of the chosen tokens, shape ``(B, 1)``.

    Raises:
        ValueError: for a temperature that is negative or not finite, or a row of logits
            without a finite largest one, as a damaged model computes them.

    Home lesson: 02_bigram
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature} must be 0 or more, and finite")
    best = logits.amax(dim=-1)  # (B,)
    if not best.isfinite().all():
        wrong = best[~best.isfinite()][0]
        raise ValueError(f"the largest logit of a row is {wrong}; it must be finite")
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)  # (B, 1)
    probabilities = sharpen(logits, temperature).softmax(dim=-1)
    return torch.multinomial(probabilities, 1, generator=generator)  # (B, 1)


def sharpen(logits: Tensor, temperature: float) -> Tensor:
    """Divide logits by a temperature above 0, however small.

    The largest of a row is taken away first. That changes no probability, and then
    nothing can become too large.

    Home lesson: 13_generation
    """
    logits = at_least_float32(logits)
    least = torch.finfo(logits.dtype).tiny  # 0 would be divided by 0
    best = logits.amax(dim=-1, keepdim=True)  # (B, 1)
    return (logits - best) / max(temperature, least)


def penalize_repetition(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Make the tokens that were there before less likely.

    Args:
        logits: of the next token, ``(B, V)``.
        ids: the tokens so far, ``(B, T)``.
        penalty: positive logits of tokens in ``ids`` are divided by it and negative
            ones multiplied, once however often they came; 1 changes nothing.

    Returns:
        New logits, ``(B, V)``.

    Raises:
        ValueError: if ``penalty`` is not above 0 and finite.

    Source: Keskar et al. (2019), section 4.1, which divides negative logits, too.

    Home lesson: 13_generation
    """
    if not 0 < penalty < math.inf:
        raise ValueError(f"penalty={penalty} must be above 0, and finite")
    seen = logits.gather(1, ids)  # (B, T): the logits of tokens that were there
    seen = torch.where(seen > 0, seen / penalty, seen * penalty)
    return logits.scatter(1, ids, seen)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Leave the k highest logits of each row, and set all others to minus infinity.

    Args:
        logits: ``(B, V)``.
        k: how many to leave, at least 1; of equal logits the first ones stay.

    Returns:
        New logits, ``(B, V)``.

    Raises:
        ValueError: if ``k`` is below 1.

    Source: Fan, Lewis and Dauphin (2018), section 5.4.

    Home lesson: 13_generation
    """
    require_sizes(k=k)
    order = logits.argsort(dim=-1, descending=True, stable=True)
    return logits.scatter(1, order[:, k:], -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Leave the fewest tokens whose probabilities reach p, and no others.

    Args:
        logits: ``(B, V)``.
        p: probability to reach, above 0 and at most 1, which leaves all. The most
            likely token always stays.

    Returns:
        New logits, ``(B, V)``, minus infinity for all others.

    Raises:
        ValueError: if ``p`` is not in (0, 1].

    Source: Holtzman et al. (2020), section 3.1.

    Home lesson: 13_generation
    """
    if not 0 < p <= 1:
        raise ValueError(f"p={p} must be above 0 and at most 1")
    if p == 1:
        return logits
    order = logits.argsort(dim=-1, descending=True, stable=True)
    probabilities = at_least_float32(logits).gather(1, order).softmax(dim=-1)
    rest = probabilities.flip(-1).cumsum(dim=-1).flip(-1)  # it and less likely ones
    drop = rest <= 1 - p  # the more likely ones already reach p
    drop[:, 0] = False
    drop = torch.zeros_like(drop).scatter(1, order, drop)
    return logits.masked_fill(drop, -math.inf)


def choose_next(
    logits: Tensor,
    ids: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose one token per row: penalty, then temperature, then top-k, then top-p.

    Args:
        logits: of the next token, ``(B, V)``.
        ids: the tokens so far, ``(B, T)``.
        temperature: see `sample_next`; 0 is greedy.
        top_k: see `keep_top_k`; None for all tokens.
        top_p: see `keep_top_p`; None for all tokens.
        repetition_penalty: see `penalize_repetition`.
        generator: source of the random draws.

    Returns:
        Ids of the chosen tokens, shape ``(B, 1)``.

    Raises:
        ValueError: for a setting outside its range.

    Home lesson: 13_generation
    """
    if repetition_penalty != 1:
        logits = penalize_repetition(logits, ids, repetition_penalty)
    if 0 < temperature < math.inf:  # otherwise sample_next decides
        logits, temperature = sharpen(logits, temperature), 1.0
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    if top_p is not None:
        logits = keep_top_p(logits, top_p)
    return sample_next(logits, temperature, generator)
