"""Writing with an encoder-decoder: a target for each source, token by token."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.generate.sampling import choose_next
from lib.models.encoder_decoder import Transformer
from lib.module import in_mode

__all__ = ["generate_targets"]


@torch.no_grad()
def generate_targets(
    model: Transformer,
    src: Tensor,
    max_len: int = 50,
    temperature: float = 0.8,
    **options,
) -> Tensor:
    """Write a target for each source, token by token.

    Args:
        model: it is in evaluation mode while it writes.
        src: sources, ``(B, S)``.
        max_len: tokens at most.
        temperature: see `sample_next`; 0 is greedy.
        options: other settings of `choose_next`.

    Returns:
        ``(B, L)`` without the start token, L <= max_len: each row ends with ``eos_id``,
        or where ``max_len`` is reached, and is filled up with ``pad_id``.

    Raises:
        ValueError: if ``max_len`` does not fit the model, or for a setting outside its
            range.

    Source: Vaswani et al. (2017), section 3.1, "auto-regressive".

    Home lesson: 15_encoder_decoder
    """
    c = model.config
    with in_mode(model, training=False):
        memory, mask, cache = model.begin(src, max_len)
        ids = src.new_full((len(src), 1), c.bos_id)
        ended = torch.zeros_like(ids, dtype=torch.bool)
        while ids.size(1) <= max_len and not ended.all():
            logits = model.decode(ids[:, -1:], memory, mask, cache)[:, -1]  # (B, V)
            logits[:, c.pad_id] = -math.inf  # it stands after the end only
            chosen = choose_next(logits, ids, temperature, **options)
            chosen = chosen.masked_fill(ended, c.pad_id)
            ids, ended = torch.cat([ids, chosen], dim=1), ended | (chosen == c.eos_id)
    return ids[:, 1:]
