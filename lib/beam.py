"""Beam search: write several translations at once, and keep the likeliest."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.encoder_decoder import Transformer, TransformerConfig, _evaluating
from lib.shapes import require_sizes

__all__ = ["length_penalty", "beam_search"]


def length_penalty(length: Tensor, alpha: float) -> Tensor:
    r"""Return what the log probability of a text is divided by.

    :math:`((5 + n) / 6)^\alpha` for n tokens: without it, each further token makes a
    text less likely, and short ones win.

    Args:
        length: numbers of tokens, any shape.
        alpha: 0 for no penalty; the larger, the better for long texts.

    Source: Wu et al. (2016), equation (14).

    Home lesson: 13_translation
    """
    return ((5 + length) / 6) ** alpha


@torch.no_grad()
def beam_search(
    model: Transformer,
    src: Tensor,
    n_beams: int = 4,
    max_len: int = 50,
    alpha: float = 0.6,
) -> tuple[Tensor, Tensor]:
    """Write targets by following the likeliest few beginnings, token by token.

    Args:
        model: it is in evaluation mode while it writes.
        src: sources, ``(B, S)``.
        n_beams: beginnings K to follow for each source; 1 is greedy.
        max_len: tokens at most.
        alpha: see `length_penalty`.

    Returns:
        The best target of each source, ``(B, L)`` as from `Transformer.generate`, and
        its score ``(B,)``: its log probability divided by the penalty.

    Raises:
        ValueError: if ``n_beams`` is not 1 .. vocabulary, or ``max_len`` does not fit
            the model.

    Source: Wu et al. (2016), section 7.

    Home lesson: 13_translation
    """
    c = model.config
    require_sizes(n_beams=n_beams)
    if n_beams > c.tgt_vocab_size:
        raise ValueError(f"n_beams={n_beams} must be 1 .. {c.tgt_vocab_size}")
    with _evaluating(model):
        ids, scores = _search(model, src, n_beams, max_len)
    n_tokens = (ids != c.pad_id).sum(dim=-1)  # (B, K)
    scores = scores / length_penalty(n_tokens, alpha)
    best = scores.argmax(dim=-1, keepdim=True)  # (B, 1)
    rows = torch.arange(len(src), device=src.device)
    return ids[rows, best.squeeze(1)], scores.gather(1, best).squeeze(1)


def _search(
    model: Transformer, src: Tensor, n_beams: int, max_len: int
) -> tuple[Tensor, Tensor]:
    """Return K targets for each source, ``(B, K, L)``, and their log probabilities."""
    c, n_rows = model.config, len(src)
    memory, mask, cache = model.begin(src.repeat_interleave(n_beams, dim=0), max_len)
    ids = src.new_full((n_rows * n_beams, 1), c.bos_id)  # (B K, 1)
    scores = torch.full((n_rows, n_beams), -math.inf, device=src.device)
    scores[:, 0] = 0.0  # all K start alike: one of them may go on, in K ways
    while ids.size(1) <= max_len and not _ended(ids, c).all():
        logits = model.decode(ids[:, -1:], memory, mask, cache)[:, -1]  # (B K, V)
        steps = _keep_ended(logits.log_softmax(dim=-1), _ended(ids, c), c.pad_id)
        scores, rows, chosen = _best_steps(scores, steps)
        ids = torch.cat([ids[rows], chosen], dim=1)
        for kept in cache:
            kept.keys, kept.values = kept.keys[rows], kept.values[rows]
    return ids[:, 1:].unflatten(0, (n_rows, n_beams)), scores


def _best_steps(scores: Tensor, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best K of the K V ways to go on, for each source.

    Their scores ``(B, K)``, the rows that they go on from ``(B K,)``, and the tokens
    that they choose ``(B K, 1)``; ``steps`` are log probabilities ``(B K, V)``.
    """
    (n_rows, n_beams), vocab_size = scores.shape, steps.size(1)
    totals = scores.view(-1, 1) + steps  # (B K, V)
    scores, places = totals.view(n_rows, -1).topk(n_beams)  # (B, K), of K V
    first = torch.arange(n_rows, device=places.device).unsqueeze(1) * n_beams  # (B, 1)
    rows = (first + places // vocab_size).flatten()
    return scores, rows, (places % vocab_size).view(-1, 1)


def _ended(ids: Tensor, c: TransformerConfig) -> Tensor:
    """Return which rows are complete."""
    return (ids[:, -1] == c.eos_id) | (ids[:, -1] == c.pad_id)


def _keep_ended(steps: Tensor, ended: Tensor, pad_id: int) -> Tensor:
    """Let rows that are complete go on with padding only, at no cost."""
    free = torch.full_like(steps, -math.inf)
    free[:, pad_id] = 0.0
    steps[:, pad_id] = -math.inf  # a row that goes on cannot choose it
    return torch.where(ended.unsqueeze(1), free, steps)
