"""How many rows does a model get right from end to end?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.module import in_mode

__all__ = ["exact_match"]


@torch.no_grad()
def exact_match(
    model: nn.Module, inputs: Tensor, targets: Tensor, counted: Tensor
) -> float:
    """Return the share of rows in which every target that counts is the likeliest one.

    That is how often a model that always takes the likeliest token (greedy) writes
    exactly these targets, found in one reading: as long as each token so far was the
    right one, it reads what stands here.

    Args:
        model: maps ids ``(B, T)`` to logits ``(B, T, V)``.
        inputs: ids ``(B, T)``.
        targets: ids ``(B, T)``.
        counted: bool ``(B, T)``.

    Returns:
        A share from 0 to 1; afterwards the model is in the mode that it was in.

    Raises:
        ValueError: if there are no rows, or the shapes differ.

    Home lesson: 24_reasoning
    """
    shapes = {tuple(each.shape) for each in (inputs, targets, counted)}
    if len(shapes) > 1 or not len(inputs):
        raise ValueError(f"shapes {shapes} must be the same, with a row or more")
    with in_mode(model, training=False):
        hits = model(inputs).argmax(dim=-1) == targets  # (B, T)
    return (hits | ~counted).all(dim=1).double().mean().item()
