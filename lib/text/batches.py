"""From one long row of tokens to batches of inputs and shifted targets."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lib.shapes import require_windows

__all__ = ["split_text", "random_batch", "consecutive_batches"]


def split_text(text: str, train_fraction: float = 0.9) -> tuple[str, str]:
    """Cut a text into its first part for training and its last part for validation.

    Args:
        text: any text.
        train_fraction: share of the characters that goes to training, between 0 and 1.

    Returns:
        The training text and the validation text; together they are ``text``.

    Raises:
        ValueError: if ``train_fraction`` is not between 0 and 1 (both excluded).

    Home lesson: 01_text_and_tokens
    """
    if not 0 < train_fraction < 1:
        raise ValueError(f"train_fraction={train_fraction} must lie between 0 and 1")
    cut = int(train_fraction * len(text))
    return text[:cut], text[cut:]


def random_batch(
    tokens: Tensor,
    batch_size: int,
    context_length: int,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw windows at random places; the targets are the inputs, one token later.

    Args:
        tokens: the token ids of a text, shape ``(N,)``.
        batch_size: number of windows B.
        context_length: tokens per window T; at most N - 1.
        generator: source of the random places.

    Returns:
        Inputs and targets, both ``(B, T)``: ``targets[b, t]`` follows
        ``inputs[b, t]`` in the text.

    Raises:
        ValueError: if a size is below 1 or the text is too short for one window.

    Home lesson: 01_text_and_tokens
    """
    require_windows(tokens, batch_size, context_length)
    places = len(tokens) - context_length
    starts = torch.randint(places, (batch_size, 1), generator=generator)
    index = starts + torch.arange(context_length)  # (B, 1) + (T,) -> (B, T)
    return tokens[index], tokens[index + 1]


def consecutive_batches(
    tokens: Tensor, batch_size: int, context_length: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Walk once through all tokens in windows that do not overlap.

    Every token but the first is a target exactly once. The last batch may be smaller,
    and what is left at the end comes as one shorter window.

    Args:
        tokens: the token ids of a text, shape ``(N,)``.
        batch_size: windows per batch B.
        context_length: tokens per window T; at most N - 1.

    Yields:
        Inputs and targets, both ``(b, t)`` with ``b <= B`` and ``t <= T``.

    Raises:
        ValueError: if a size is below 1 or the text is too short for one window.

    Home lesson: 02_bigram
    """
    require_windows(tokens, batch_size, context_length)
    whole = (len(tokens) - 1) // context_length * context_length
    inputs = tokens[:whole].view(-1, context_length)
    targets = tokens[1 : whole + 1].view(-1, context_length)
    yield from zip(inputs.split(batch_size), targets.split(batch_size))
    if whole < len(tokens) - 1:  # the rest, as a batch of one shorter window
        yield tokens[None, whole:-1], tokens[None, whole + 1 :]
