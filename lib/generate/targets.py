"""Writing with an encoder-decoder: a target for each source, token by token."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from lib.generate.sampling import choose_next
from lib.models.encoder_decoder import Transformer

__all__ = ["generate_targets"]


def generate_targets(
    model: Transformer,
    src: Tensor,
    max_len: int = 50,
    temperature: float = 0.8,
    **options,
) -> Tensor:
    """Write a target for each source as `Transformer.generate` does, with options.

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
    choose = partial(choose_next, temperature=temperature, **options)
    return model.generate(src, max_len, choose=choose)
