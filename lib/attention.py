"""Attention: each position gathers what it needs from other positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.device import at_least_float32
from lib.shapes import require_sizes, require_width

__all__ = [
    "causal_mask",
    "padding_mask",
    "attention_weights",
    "scaled_dot_product_attention",
    "MultiHeadAttention",
]


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
    require_sizes(length=length)
    return torch.ones(length, length, dtype=torch.bool).tril()


def padding_mask(ids: Tensor, pad_id: int) -> Tensor:
    """Return which positions may be looked at: those that hold a token.

    Args:
        ids: sequences filled up to one length, ``(B, T)``.
        pad_id: the id that they are filled up with.

    Returns:
        Bool ``(B, 1, 1, T)``: the same for all heads and all positions that look.
        Combine it with a causal mask by ``&``.

    Raises:
        ValueError: if ``ids`` is not ``(B, T)``.

    Source: none; every model that reads batches of unequal lengths has one.

    Home lesson: 05_multi_head_attention
    """
    if ids.dim() != 2:
        raise ValueError(f"ids has shape {tuple(ids.shape)}; it must be (B, T)")
    return (ids != pad_id)[:, None, None, :]


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Return how much each query takes from each position.

    :math:`\mathrm{softmax}(q k^\top / \sqrt{d_\mathrm{head}})`

    Args:
        q: queries ``(..., T_q, Dh)``.
        k: keys ``(..., T_k, Dh)``.
        mask: bool, ``(T_q, T_k)``, or with as many dimensions as ``q`` and a 1 where
            it is shared; True where looking is allowed. A row without any True gives
            zeros.

    Returns:
        Weights ``(..., T_q, T_k)``; each other row sums to 1.

    Raises:
        ValueError: if the shapes do not fit each other.
        TypeError: if ``mask`` is not bool.

    Source: Vaswani et al. (2017), section 3.2.1, equation (1).

    Home lesson: 04_attention
    """
    _check_shapes(q, k, mask)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T_q, T_k)
    if mask is None:
        return scores.softmax(dim=-1)
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    return weights.masked_fill(~mask, 0.0)  # the softmax of a row of -inf is NaN


def scaled_dot_product_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    r"""Mix the values, weighted by how well each key fits the query.

    :math:`\mathrm{softmax}(q k^\top / \sqrt{d_\mathrm{head}})\, v`

    Args:
        q: queries ``(..., T_q, Dh)``.
        k: keys ``(..., T_k, Dh)``.
        v: values ``(..., T_k, Dv)``.
        mask: bool, ``(T_q, T_k)``, or with as many dimensions as ``q`` and a 1 where
            it is shared, as in ``(B, 1, 1, T_k)``; True where looking is allowed. A
            row without any True gives zeros.
        need_weights: whether to return the weights. Without them PyTorch's fused
            kernel computes the same output in one go, faster and in less memory.

    Returns:
        The output ``(..., T_q, Dv)``, and the weights ``(..., T_q, T_k)`` or None.

    Raises:
        ValueError: if the shapes do not fit each other.
        TypeError: if ``mask`` is not bool.

    Source: Vaswani et al. (2017), section 3.2.1, equation (1).

    Home lesson: 04_attention
    """
    _check_shapes(q, k, mask)
    if k.size(-2) != v.size(-2):
        raise ValueError(f"k has {k.size(-2)} positions but v has {v.size(-2)}")
    if need_weights:
        weights = attention_weights(q, k, mask)
        return weights @ v, weights
    return _fused(q, k, v, mask), None


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Return PyTorch's own attention, on processors computed in float32 or better."""
    dtype = v.dtype
    if v.device.type == "cpu":  # in 16 bits its backward pass is slow there
        q, k, v = (at_least_float32(w) for w in (q, k, v))
    with torch.autocast("cpu", enabled=False):  # it would turn them back
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).to(dtype)


def _check_shapes(q: Tensor, k: Tensor, mask: Tensor | None) -> None:
    """Refuse shapes that do not fit, or that would be broadcast the wrong way."""
    if q.size(-1) != k.size(-1):
        raise ValueError(f"q has d_head={q.size(-1)} but k has d_head={k.size(-1)}")
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(f"mask has dtype {mask.dtype}; it must be torch.bool")
    scores = (*q.shape[:-1], k.size(-2))  # (..., T_q, T_k)
    sizes = zip(mask.shape, scores[-mask.dim() :])
    full = mask.dim() == len(scores) and all(m in (1, s) for m, s in sizes)
    if mask.shape != scores[-2:] and not (full and mask.size(-1) == scores[-1]):
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}; it must be {scores[-2:]}, or "
            f"{scores} with a 1 for a dimension before the last that it shares"
        )


def _check_inputs(x: Tensor, memory: Tensor, d_model: int) -> None:
    """Refuse vectors of another width, without a batch, or of two batch sizes."""
    for name, vectors in (("x", x), ("memory", memory)):
        require_width(vectors, d_model, name)
        if vectors.dim() != 3:
            shape = tuple(vectors.shape)
            raise ValueError(f"{name} has shape {shape}; it must be (B, T, D)")
    if len(x) != len(memory):
        raise ValueError(f"x has a batch of {len(x)} but memory of {len(memory)}")


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in its own slice of the vectors.

    Args:
        d_model: size of the vectors D.
        n_heads: number of heads H; must divide ``d_model``.
        bias: whether the four projections have a bias.

    Shapes:
        x ``(B, T_q, D)``, mask ``(T_q, T_k)`` or ``(B, 1, 1, T_k)``, memory
        ``(B, T_k, D)`` -> output ``(B, T_q, D)`` and weights
        ``(B, H, T_q, T_k)`` or None. Without a memory, x looks at itself.

    Raises:
        ValueError: for a size below 1, if ``n_heads`` does not divide ``d_model``, or
            if an input does not fit.
        TypeError: if ``mask`` is not bool.

    Source: Vaswani et al. (2017), section 3.2.2.

    Home lesson: 05_multi_head_attention
    """

    def __init__(self, d_model: int, n_heads: int, bias: bool = True) -> None:
        super().__init__()
        require_sizes(d_model=d_model, n_heads=n_heads)
        if d_model % n_heads:
            raise ValueError(f"n_heads={n_heads} does not divide d_model={d_model}")
        self.d_model, self.d_head = d_model, d_model // n_heads
        self.q_proj = nn.Linear(d_model, d_model, bias=bias)
        self.k_proj = nn.Linear(d_model, d_model, bias=bias)
        self.v_proj = nn.Linear(d_model, d_model, bias=bias)
        self.out_proj = nn.Linear(d_model, d_model, bias=bias)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        memory: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what each position gathered, and the weights if they are needed."""
        memory = x if memory is None else memory
        _check_inputs(x, memory, self.d_model)
        q, k, v = self._project(x, memory)  # each (B, H, T, Dh)
        mixed, weights = scaled_dot_product_attention(q, k, v, mask, need_weights)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights

    def _project(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the queries of x, and the keys and values of the memory, by head."""
        wide = (self.q_proj(x), self.k_proj(memory), self.v_proj(memory))
        return tuple(w.unflatten(-1, (-1, self.d_head)).transpose(1, 2) for w in wide)
