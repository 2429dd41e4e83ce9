"""Recomputed activations: less memory for one more forward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.block import Block

__all__ = ["recompute_blocks"]


def recompute_blocks(model: nn.Module) -> None:
    """Let each block keep its input only, and compute the rest again when it is needed.

    The gradients are the same, with dropout too: the random state is put back. Where no
    gradients are wanted, nothing changes.

    Args:
        model: changed in place; a second call changes nothing.

    Raises:
        ValueError: for a model without a `Block`.

    Source: Chen et al. (2016), section 3; PyTorch calls it activation checkpointing.

    Home lesson: 22_scaling
    """
    blocks = [part for part in model.modules() if isinstance(part, Block)]
    if not blocks:
        kind = type(model).__name__
        raise ValueError(f"model is a {kind} without blocks: nothing to recompute")
    for block in blocks:
        if "forward" not in vars(block):
            block.forward = partial(_recomputed, block.forward)


def _recomputed(forward: Callable[..., Tensor], *inputs, **options) -> Tensor:
    """Return what a block computes, and forget what it computed on the way."""
    if not torch.is_grad_enabled() or options.get("cache") is not None:
        return forward(*inputs, **options)
    return checkpoint(forward, *inputs, use_reentrant=False, **options)
