"""Beam search: write several translations at once, and keep the likeliest."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.device import at_least_float32
from lib.models.encoder_decoder import Transformer, TransformerConfig
from lib.module import in_mode
from lib.shapes import require_between

__all__ = ["length_penalty", "beam_search"]


def length_penalty(length: Tensor | int, alpha: float) -> Tensor | float:
    r"""Return what the log probability of a text is divided by.

    :math:`((5 + n) / 6)^\alpha` for n tokens: without it, each further token makes a
    text less likely, and short ones win.

    Args:
        length: numbers of tokens, any shape.
        alpha: 0 for no penalty; the larger, the better for long texts.

    Raises:
        ValueError: if ``alpha`` is negative or not finite.

    Source: Wu et al. (2016), equation (14).

    Home lesson: 16_translation
    """
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha={alpha} must be 0 or more, and finite")
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

    Of the best K ways to go on, those that end with ``eos_id`` are complete targets and
    are kept aside, the others go on. The search is over for a source when none goes on,
    or none can overtake its best complete target.

    Args:
        model: it is in evaluation mode while it writes.
        src: sources, ``(B, S)``.
        n_beams: beginnings K to follow for each source; 1 is greedy.
        max_len: tokens at most.
        alpha: see `length_penalty`.

    Returns:
        The best target of each source, ``(B, L)`` as from `generate_targets`, and
        its score ``(B,)``: its log probability divided by the penalty.

    Raises:
        ValueError: if ``n_beams`` is not 1 .. vocabulary, ``max_len`` does not fit the
            model, ``alpha`` is out of range, or the model's logits are not numbers.

    Source: Wu et al. (2016), section 7.

    Home lesson: 16_translation
    """
    c = model.config
    require_between(1, c.tgt_vocab_size, n_beams=n_beams)
    with in_mode(model, training=False):
        ids, scores = _search(model, src, n_beams, max_len, alpha)
    if not scores[:, 0].isfinite().all():
        raise ValueError("the model's logits are not numbers: its weights are damaged")
    n_tokens = (ids[:, 0] != c.pad_id).sum(dim=-1)  # (B,)
    return ids[:, 0, : n_tokens.max()], scores[:, 0]


def _search(
    model: Transformer, src: Tensor, n_beams: int, max_len: int, alpha: float
) -> tuple[Tensor, Tensor]:
    """Return K targets for each source, best first, ``(B, K, L)``, and their scores.

    Where fewer are complete, the best beginnings stand behind or between them.
    """
    memory, mask, cache = model.begin(src, max_len)  # each source is encoded once
    each = lambda rows: rows.repeat_interleave(n_beams, dim=0)  # (B K, ...)
    memory, mask = [tuple(map(each, pair)) for pair in memory], each(mask)
    beams = _Beams(src, n_beams, max_len, alpha, model.config)
    while beams.ids.size(1) <= max_len and not beams.over().all():
        logits = model.decode(beams.ids[:, -1:], memory, mask, cache)[:, -1]  # (B K, V)
        rows = beams.step(logits)
        for layer in cache:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
    beams.keep(beams.logs)
    return beams.found, beams.scores


class _Beams:
    """The beginnings that a search follows, and the best complete targets so far.

    Attributes:
        ids: K beginnings for each source, with their start token, ``(B K, 1 + L)``.
        logs: their log probabilities, ``(B, K)``; minus infinity for what has ended.
        found: up to K complete targets for each source, best first, ``(B, K, L)``.
        scores: theirs, ``(B, K)``; minus infinity where there is none yet.
    """

    def __init__(
        self,
        src: Tensor,
        n_beams: int,
        max_len: int,
        alpha: float,
        c: TransformerConfig,
    ) -> None:
        self.c, self.max_len, self.alpha = c, max_len, alpha
        self.ids = src.new_full((len(src) * n_beams, 1), c.bos_id)
        self.logs = torch.full((len(src), n_beams), -math.inf, device=src.device)
        self.found = src.new_full((len(src), n_beams, max_len), c.pad_id)
        self.scores = self.logs.clone()
        self.logs[:, 0] = 0.0  # all K start alike: one of them may go on, in K ways

    def step(self, logits: Tensor) -> Tensor:
        """Add a token, given logits ``(B K, V)``; return the rows that go on."""
        steps = at_least_float32(logits).log_softmax(dim=-1)
        steps[:, self.c.pad_id] = -math.inf  # it stands after the end only
        logs, rows, chosen = _best_steps(self.logs, steps)
        self.ids = torch.cat([self.ids[rows], chosen], dim=1)
        ended = chosen.view_as(logs) == self.c.eos_id
        self.keep(logs.masked_fill(~ended, -math.inf))
        self.logs = logs.masked_fill(ended, -math.inf)
        return rows

    def keep(self, logs: Tensor) -> None:
        """Add ``ids``, with these log probabilities, to the best K of each source."""
        n = self.ids.size(1) - 1
        texts = F.pad(self.ids[:, 1:], (0, self.max_len - n), value=self.c.pad_id)
        texts = torch.cat([self.found, texts.view_as(self.found)], dim=1)  # (B, 2 K, L)
        scores = torch.cat([self.scores, logs / length_penalty(n, self.alpha)], dim=1)
        self.scores, places = scores.topk(logs.size(1))
        self.found = texts.gather(1, places.unsqueeze(2).expand_as(self.found))

    def over(self) -> Tensor:
        """Return which sources have a target that no beginning can overtake, ``(B,)``.

        A text that goes on becomes less likely; all that its score can gain is the
        penalty of the longest.
        """
        hope = self.logs.amax(dim=1) / length_penalty(self.max_len, self.alpha)
        return hope <= self.scores[:, 0]


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
