"""Heads that look back: two scores from their weights, and a model without a head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lib.device import at_least_float32
from lib.models.gpt import GPT

__all__ = ["previous_token_score", "induction_score", "without_head"]


def previous_token_score(weights: Tensor) -> Tensor:
    r"""Return how much of its attention each head gives to the token before.

    :math:`\frac{1}{B(T-1)} \sum_b \sum_{i \ge 1} w_{b,i,i-1}`; position 0 has no token
    before it.

    Args:
        weights: of a self-attention, ``(B, H, T, T)``.

    Returns:
        Shares from 0 to 1, ``(H,)``, computed in float32 or better.

    Raises:
        ValueError: for another shape, or fewer than two positions.

    Source: Olsson et al. (2022), "head activation evaluators".

    Home lesson: 23_in_context_learning
    """
    _require_square(weights)
    before = at_least_float32(weights).diagonal(-1, dim1=-2, dim2=-1)  # (B, H, T - 1)
    return before.mean(dim=(0, 2))


def induction_score(weights: Tensor, period: Tensor) -> Tensor:
    r"""Return how much of its attention each head gives to what came next, last time.

    In a row that repeats with period p the token at position i stood at i - p before,
    and at i - p + 1 stands what followed it; before that at i - 2p + 1, and so on. The
    score is :math:`\sum_n w_{b,i,i-np+1}`, n from 1, :math:`i - np \ge 0`, on average
    over all :math:`i \ge p`.

    Args:
        weights: of a causal self-attention, ``(B, H, T, T)``.
        period: of each row, integers ``(B, 1)``, 1 or more.

    Returns:
        Shares from 0 to 1, ``(H,)``, computed in float32 or better: the mean over all
        such positions of all rows.

    Raises:
        ValueError: for other shapes, a period below 1, or if no row repeats.
        TypeError: for periods that are not integers.

    Source: Olsson et al. (2022), "prefix matching", where rows repeat once.

    Home lesson: 23_in_context_learning
    """
    _require_square(weights)
    n_rows, length = len(weights), weights.size(-1)
    if period.shape != (n_rows, 1):
        raise ValueError(f"period has shape {tuple(period.shape)}, not {(n_rows, 1)}")
    if period.is_floating_point() or period.dtype == torch.bool:
        raise TypeError(f"period has dtype {period.dtype}; it must be integers")
    if not 1 <= period.min() < length:
        raise ValueError(
            f"period has {period.min().item()} as its lowest number; that must be in "
            f"1 .. {length - 1}, or no row repeats"
        )
    places = torch.arange(length, device=weights.device)
    back = places[:, None] - places  # (T, T)
    period = period.to(weights.device)[:, None]  # (B, 1, 1)
    followed = (back >= 0) & ((back + 1) % period == 0) & (places > 0)  # (B, T, T)
    repeats = places >= period.squeeze(1)  # (B, T)
    found = (at_least_float32(weights) * followed[:, None]).sum(dim=-1)  # (B, H, T)
    return (found * repeats[:, None]).sum(dim=(0, 2)) / repeats.sum()


@contextmanager
def without_head(model: GPT, layer: int, head: int) -> Iterator[None]:
    """Leave one attention head out of a model for a while (zero-ablation).

    What ``out_proj`` gets of the head is set to 0, so it writes nothing into the
    residual stream. Afterwards, also after an error, the model is as before.

    Args:
        model: not to be trained meanwhile.
        layer: number of the block, from 0.
        head: number of the query head in it, from 0.

    Raises:
        ValueError: for a layer or a head that is not there.
        TypeError: for one that is not an integer.

    Source: Michel et al. (2019), section 2.2.

    Home lesson: 23_in_context_learning
    """
    _require_index(layer=layer, count=len(model.blocks))
    attention = model.blocks[layer].attention
    d_head, project = attention.d_head, attention.out_proj
    _require_index(head=head, count=project.in_features // d_head)
    own = torch.arange(project.in_features) // d_head == head  # (H Dh,)

    def leave_out(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        return inputs[0].masked_fill(own.to(inputs[0].device), 0)

    hook = project.register_forward_pre_hook(leave_out)
    try:
        yield
    finally:
        hook.remove()


def _require_square(weights: Tensor) -> None:
    """Refuse what is not ``(B, H, T, T)`` with two positions or more."""
    shape = tuple(weights.shape)
    if len(shape) != 4 or shape[2] != shape[3] or shape[3] < 2 or 0 in shape:
        raise ValueError(f"weights has shape {shape}; it must be (B, H, T, T), T >= 2")


def _require_index(count: int, **given: int) -> None:
    """Refuse a number that is not one of ``0 .. count - 1``."""
    for name, value in given.items():
        if type(value) is not int:
            raise TypeError(f"{name}={value!r} must be an integer")
        if not 0 <= value < count:
            raise ValueError(f"{name}={value} must be 0 .. {count - 1}")
