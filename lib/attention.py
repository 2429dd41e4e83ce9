"""Attention: each position gathers what it needs from other positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["causal_mask", "scaled_dot_product_attention", "MultiHeadAttention"]


def causal_mask(length: int) -> Tensor:
    """Return which positions may look at which: each at itself and at the past.

    Args:
        length: number of positions T, at least 1.

    Returns:
        Bool ``(T, T)``: ``mask[i, j]`` is True where position i may look at j,
        that is where ``j <= i``.

    Raises:
        ValueError: if ``length`` is below 1.

    Source: Vaswani et al. (2017), section 3.2.3.

    Home lesson: 04_attention
    """
    if length < 1:
        raise ValueError(f"length={length} must be at least 1")
    return torch.ones(length, length, dtype=torch.bool).tril()


def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Mix the values, weighted by how well each key fits the query.

    :math:`\mathrm{softmax}(q k^\top / \sqrt{d_\mathrm{head}})\, v`

    Args:
        q: queries ``(..., T_q, Dh)``.
        k: keys ``(..., T_k, Dh)``.
        v: values ``(..., T_k, Dv)``.
        mask: bool, broadcastable to ``(..., T_q, T_k)``; True where looking is
            allowed. A row without any True gives zeros.

    Returns:
        The output ``(..., T_q, Dv)`` and the weights ``(..., T_q, T_k)``.

    Raises:
        ValueError: if queries and keys differ in their last dimension.

    Source: Vaswani et al. (2017), section 3.2.1, equation (1).

    Home lesson: 04_attention
    """
    if q.size(-1) != k.size(-1):
        raise ValueError(f"q has d_head={q.size(-1)} but k has d_head={k.size(-1)}")
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T_q, T_k)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(dim=-1)
    if mask is not None:  # the softmax of a row of -inf is NaN
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ v, weights


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own slice of the vectors.

    Args:
        d_model: size of the vectors D.
        n_heads: number of heads H; must divide ``d_model``.
        bias: whether the four projections have a bias.

    Shapes:
        x ``(B, T, D)`` and mask ``(T, T)`` -> output ``(B, T, D)`` and weights
        ``(B, H, T, T)``.

    Raises:
        ValueError: if ``n_heads`` does not divide ``d_model``.

    Source: Vaswani et al. (2017), section 3.2.2.

    Home lesson: 05_multi_head_attention
    """

    def __init__(self, d_model: int, n_heads: int, bias: bool = True) -> None:
        super().__init__()
        if n_heads < 1 or d_model % n_heads:
            raise ValueError(f"n_heads={n_heads} does not divide d_model={d_model}")
        self.n_heads = n_heads
        self.q_proj = nn.Linear(d_model, d_model, bias=bias)
        self.k_proj = nn.Linear(d_model, d_model, bias=bias)
        self.v_proj = nn.Linear(d_model, d_model, bias=bias)
        self.out_proj = nn.Linear(d_model, d_model, bias=bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what each position gathered, and the weights it gathered with."""
        q, k, v = (self._split(p(x)) for p in (self.q_proj, self.k_proj, self.v_proj))
        mixed, weights = scaled_dot_product_attention(q, k, v, mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights

    def _split(self, x: Tensor) -> Tensor:
        """Cut the vectors into heads: ``(B, T, D)`` -> ``(B, H, T, Dh)``."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
