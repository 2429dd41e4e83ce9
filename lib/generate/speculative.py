"""Speculative decoding: a small model drafts, and a large one checks all at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.generate import window_start
from lib.generate.sampling import keep_top_k, keep_top_p, sharpen
from lib.module import in_mode
from lib.shapes import require_sizes

__all__ = ["Speculation", "accept_drafts", "speculative_generate"]


@dataclass(frozen=True)
class Speculation:
    """What `speculative_generate` wrote, and what it took.

    Attributes:
        ids: prompt and new tokens, ``(1, T + n_tokens)``.
        n_drafted: tokens that the draft proposed.
        n_accepted: how many of them the target accepted.
        n_passes: passes through the target; `generate` makes one for each new token.

    Home lesson: 13_generation
    """

    ids: Tensor
    n_drafted: int
    n_accepted: int
    n_passes: int


def accept_drafts(
    p: Tensor, q: Tensor, drafted: Tensor, generator: torch.Generator | None = None
) -> tuple[int, Tensor]:
    r"""Accept drafted tokens as often as the target would have drawn them.

    Each is accepted with probability :math:`\min(1, p / q)` of that token. The first
    one that is not is drawn again from what p has more than q:
    :math:`\max(0, p - q)`, divided by its sum. So every token has the distribution p.

    Args:
        p: the target's probabilities at each drafted token and after the last,
            ``(n + 1, V)``.
        q: the draft's, from which the tokens were drawn, ``(n, V)``.
        drafted: the tokens, ``(n,)``; n may be 0.
        generator: source of the random draws.

    Returns:
        How many are accepted, and the target's own token after them, ``(1,)``.

    Raises:
        ValueError: if the shapes do not fit each other.

    Source: Leviathan et al. (2023), section 2.3 and appendix A.1.

    Home lesson: 13_generation
    """
    n = len(drafted)
    if q.shape != (n, p.size(-1)) or len(p) != n + 1:
        shapes = f"{tuple(p.shape)} and {tuple(q.shape)}"
        raise ValueError(f"p and q have shapes {shapes} for {n} tokens")
    dice = torch.rand(n, generator=generator, device=p.device)
    places = torch.arange(n, device=p.device), drafted
    accepted = dice * q[places] < p[places]  # (n,)
    n_accepted = int(accepted.long().cumprod(dim=0).sum())  # those before the first no
    rest = p[n_accepted]  # (V,)
    if n_accepted < n:
        more = (rest - q[n_accepted]).clamp(min=0)
        rest = more if more.sum() > 0 else rest  # equal but for rounding
    return n_accepted, torch.multinomial(rest, 1, generator=generator)


@torch.no_grad()
def speculative_generate(
    target: nn.Module,
    draft: nn.Module,
    ids: Tensor,
    n_tokens: int,
    n_draft: int = 4,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Speculation:
    """Append tokens with the distribution of ``target``, in fewer passes through it.

    The text has the same distribution as that of `generate` with the same settings,
    and at temperature 0 it is the same text. Both models keep caches, where they have
    one that can go back.

    Args:
        target: the model to write with; maps ids ``(B, T)`` to logits ``(B, T, V)``.
        draft: a quicker one with the same vocabulary, which proposes tokens.
        ids: the prompt, ``(1, T)`` with T >= 1: one text only.
        n_tokens: number of tokens to append.
        n_draft: tokens to propose before the target checks them. Fewer where the text
            or the target's window ends.
        temperature: see `sample_next`; 0 is greedy.
        top_k: see `keep_top_k`; None for all tokens.
        top_p: see `keep_top_p`; None for all tokens.
        generator: source of the random draws.

    Returns:
        The text, and how much was drafted, accepted, and read.

    Raises:
        ValueError: for a prompt that is empty or not alone, a setting outside its
            range, vocabularies that differ, or logits that are not finite.

    Source: Leviathan et al. (2023), algorithm 1; Chen et al. (2023), algorithm 2.

    Home lesson: 13_generation
    """
    _check_request(ids, n_tokens, n_draft, temperature)
    how = temperature, top_k, top_p
    with in_mode(target, training=False), in_mode(draft, training=False):
        sizes = [model(ids[:, -1:]).size(-1) for model in (target, draft)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"draft knows {sizes[1]} tokens and target {sizes[0]}; they must share "
                "one vocabulary"
            )
        return _speculate(target, draft, ids, n_tokens, n_draft, how, generator)


def _check_request(
    ids: Tensor, n_tokens: int, n_draft: int, temperature: float
) -> None:
    """Refuse what cannot be written."""
    if ids.dim() != 2 or len(ids) != 1 or ids.size(1) == 0:
        raise ValueError(f"ids has shape {tuple(ids.shape)}; it must be (1, T), T >= 1")
    if n_tokens < 0:
        raise ValueError(f"n_tokens={n_tokens} must be 0 or more")
    require_sizes(n_draft=n_draft)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature} must be 0 or more, and finite")


def _speculate(
    target: nn.Module,
    draft: nn.Module,
    ids: Tensor,
    n_tokens: int,
    n_draft: int,
    how: tuple,
    generator: torch.Generator | None,
) -> Speculation:
    """Draft, check, keep, until all tokens are there."""
    context, end = target.context_length, ids.size(1) + n_tokens
    reader, drafter = _Reader(target), _Reader(draft)
    n_drafted = n_accepted = n_passes = 0
    while (length := ids.size(1)) < end:
        room = window_start(length, context) + context - length
        n, text, q = min(n_draft, room, end - length - 1), ids, []
        for _ in range(n):
            q.append(_probabilities(drafter.logits(text, 1), *how))  # (1, V)
            token = torch.multinomial(q[-1], 1, generator=generator)  # (1, 1)
            text = torch.cat([text, token], dim=1)
        p = _probabilities(reader.logits(text, n + 1), *how)  # (n + 1, V)
        q = torch.cat([*q, p[:0]])  # (n, V)
        kept, token = accept_drafts(p, q, text[0, length:], generator)
        ids = torch.cat([text[:, : length + kept], token[None]], dim=1)
        for each in (reader, drafter):
            each.forget(length + kept)
        n_drafted, n_accepted, n_passes = n_drafted + n, n_accepted + kept, n_passes + 1
    return Speculation(ids, n_drafted, n_accepted, n_passes)


def _probabilities(
    logits: Tensor, temperature: float, top_k: int | None, top_p: float | None
) -> Tensor:
    """Return the distribution that `choose_next` draws from, ``(N, V)``."""
    best = logits.amax(dim=-1)
    if not best.isfinite().all():
        wrong = best[~best.isfinite()][0]
        raise ValueError(f"the largest logit of a row is {wrong}; it must be finite")
    if temperature == 0:
        chosen = logits.argmax(dim=-1, keepdim=True)
        return torch.zeros_like(logits, dtype=torch.float32).scatter(1, chosen, 1.0)
    logits = sharpen(logits, temperature)
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    if top_p is not None:
        logits = keep_top_p(logits, top_p)
    return logits.softmax(dim=-1)


class _Reader:
    """A model and its cache: it reads only what it has not read yet."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.start = model, -1
        self.caches = model.new_cache() if hasattr(model, "new_cache") else []
        length = model.context_length  # a cache of a shorter window cannot go back
        if any(getattr(cache, "window", length) < length for cache in self.caches):
            self.caches = []

    def logits(self, ids: Tensor, n_last: int) -> Tensor:
        """Return the logits after each of the last tokens, ``(n_last, V)``."""
        start = window_start(ids.size(1), self.model.context_length)
        if not self.caches:
            return self.model(ids[:, start:])[0, -n_last:]
        if start != self.start:
            self.start, self.caches = start, self.model.new_cache()
        unread = ids[:, start + self.caches[0].length :]
        return self.model(unread, self.caches)[0, -n_last:]

    def forget(self, length: int) -> None:
        """Go back to so many tokens of the text."""
        for cache in self.caches:
            cache.length = min(cache.length, max(0, length - self.start))
