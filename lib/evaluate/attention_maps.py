"""Looking at attention: the weights in a model, and two numbers that sum them up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.attention import MultiHeadAttention
from lib.device import at_least_float32

__all__ = ["attention_entropy", "attention_distance", "attention_maps"]


def attention_entropy(weights: Tensor) -> Tensor:
    r"""Return how widely each position looks around, :math:`-\sum_j w_j \ln w_j`.

    Args:
        weights: ``(..., T_q, T_k)``; each row sums to 1, or is all zeros.

    Returns:
        Nats, ``(..., T_q)``: 0 where one position gets everything, :math:`\ln n` where
        n positions get the same. A row of zeros gives 0. Computed in float32 or better.

    Source: Shannon (1948), section 6.

    Home lesson: 06_attention
    """
    return torch.special.entr(at_least_float32(weights)).sum(dim=-1)


def attention_distance(weights: Tensor) -> Tensor:
    r"""Return how far each position looks on average, :math:`\sum_j w_{ij}\,|i - j|`.

    Args:
        weights: of a self-attention, ``(..., T, T)``.

    Returns:
        Positions, ``(..., T)``: 0 where a position looks at itself only.

    Raises:
        ValueError: if the last two dimensions differ.

    Source: Clark et al. (2019) describe heads by where they look in this way.

    Home lesson: 07_multi_head_attention
    """
    n_queries, n_keys = weights.shape[-2:]
    if n_queries != n_keys:
        raise ValueError(f"weights has shape {tuple(weights.shape)}; it must be (T, T)")
    places = torch.arange(n_keys, device=weights.device)
    distances = (places.unsqueeze(1) - places).abs()  # (T, T)
    return (weights * distances).sum(dim=-1)


@torch.no_grad()
def attention_maps(model: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """Run a model and return the weights of each `MultiHeadAttention` inside it.

    Args:
        model: any model; it is called as ``model(*inputs)``.
        inputs: what the model takes.

    Returns:
        One ``(B, H, T_q, T_k)`` per attention, in the order in which they ran.

    Home lesson: 07_multi_head_attention
    """
    maps, hooks = [], []
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            hooks += [
                module.register_forward_pre_hook(_with_weights, with_kwargs=True),
                module.register_forward_hook(lambda *call: maps.append(call[-1][1])),
            ]
    try:
        model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return maps


def _with_weights(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Ask an attention that is about to run for its weights."""
    return args, kwargs | {"need_weights": True}
