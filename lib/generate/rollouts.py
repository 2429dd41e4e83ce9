"""Answers to many prompts at once, each up to its own stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lib.generate.sampling import sample_next
from lib.models.gpt import GPT
from lib.module import in_mode
from lib.shapes import require_between, require_sizes
from lib.text.tokenizer import pad_batch

__all__ = ["Rollouts", "rollout"]


class Rollouts(NamedTuple):
    """What a model was asked and what it wrote.

    Attributes:
        ids: prompt and answer of each row, filled up at the end; ``(B, T)``.
        written: bool ``(B, T)``; True at the tokens of the answers, stop included.
        temperature: at which they were drawn.

    Home lesson: 25_reinforcement_learning
    """

    ids: Tensor
    written: Tensor
    temperature: float = 1.0

    def answers(self) -> list[list[int]]:
        """Return the tokens of each answer."""
        return [row[own].tolist() for row, own in zip(self.ids, self.written)]


@torch.no_grad()
def rollout(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    n_new: int,
    stop_id: int | None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Rollouts:
    """Let a model answer prompts of any length, in evaluation mode.

    All rows are read together, with one cache. While they are written they end at the
    same place: shorter ones have filling before them, which a mask hides, and positions
    that count from their own start.

    Args:
        model: writes; afterwards it is in the mode that it was in.
        prompts: B lists of one id or more.
        n_new: tokens that an answer may have at most.
        stop_id: ends an answer, and belongs to it; None for answers of n_new tokens.
        temperature: see `sample_next`; 0 always takes the likeliest token.
        generator: source of the random draws.

    Raises:
        ValueError: if there are no prompts, one is empty or has no room for an answer,
            or for a size or a temperature out of its range.

    Home lesson: 25_reinforcement_learning
    """
    require_sizes(n_new=n_new)
    if stop_id is not None:
        require_between(0, model.config.vocab_size - 1, stop_id=stop_id)
    lengths = [len(prompt) for prompt in prompts]
    if not lengths or not min(lengths):
        raise ValueError("prompts must be one or more, of one token or more")
    width = max(lengths)
    if width + n_new > model.context_length:
        raise ValueError(
            f"n_new={n_new} after a prompt of {width} tokens is more than "
            f"context_length={model.context_length}"
        )
    device = next(model.parameters()).device
    ids = pad_batch([prompt[::-1] for prompt in prompts]).flip(1).to(device)
    filled = width - torch.tensor(lengths, device=device)[:, None]  # (B, 1)
    done, cache, new = torch.zeros_like(filled, dtype=torch.bool), None, ids
    written = torch.zeros_like(ids, dtype=torch.bool)
    with in_mode(model, training=False):
        cache = model.new_cache()
        while ids.size(1) < width + n_new and not done.all():
            places = torch.arange(ids.size(1), device=device) - filled  # (B, T)
            own = places[:, -new.size(1) :].clamp(min=0)
            mask = (places >= 0)[:, None, None]  # (B, 1, 1, T)
            logits = model(new, cache, positions=own, mask=mask)[:, -1]
            new = sample_next(logits, temperature, generator).masked_fill(done, 0)
            ids = torch.cat([ids, new], dim=1)
            written = torch.cat([written, ~done], dim=1)
            if stop_id is not None:
                done = done | (new == stop_id)
    return Rollouts(*_aligned(ids, written, filled), temperature)


def _aligned(ids: Tensor, written: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
    """Move the filling of each row from its start to its end."""
    places = torch.arange(ids.size(1), device=ids.device) + filled  # (B, T)
    inside = places < ids.size(1)
    places = places.clamp(max=ids.size(1) - 1)
    return ids.gather(1, places) * inside, written.gather(1, places) & inside
