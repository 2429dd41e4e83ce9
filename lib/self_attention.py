"""The attention of a model that writes: it can keep what it has read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.attention import MultiHeadAttention, scaled_dot_product_attention
from lib.position import Rotary
from lib.shapes import require_same_but, require_sizes, require_width

__all__ = ["KVCache", "SelfAttention"]


class KVCache:
    """The keys and values of the tokens that one attention has read so far.

    Args:
        context_length: number of tokens that it has room for.

    Attributes:
        length: number of tokens kept.

    Raises:
        ValueError: if ``context_length`` is below 1; in `append` if the tokens do not
            fit in any more, or have another batch, heads, width, number format or
            device than those that are kept.

    Source: Shazeer (2019), section 2.4, for incremental inference and its cost.

    Home lesson: 10_generation
    """

    def __init__(self, context_length: int) -> None:
        require_sizes(context_length=context_length)
        self.context_length, self.length = context_length, 0
        self.keys = self.values = torch.empty(0)

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep ``(B, H, T, Dh)`` more; return all kept ``(B, H, length, Dh)``."""
        start, length = self.length, self.length + k.size(2)
        if length > self.context_length:
            raise ValueError(f"{length=} is more than {self.context_length=}")
        if start == 0:
            room = (*k.shape[:2], self.context_length, k.size(3))
            self.keys, self.values = k.new_empty(room), v.new_empty(room)
        require_same_but(2, k=k, keys=self.keys)
        require_same_but(2, v=v, values=self.values)
        self.keys[:, :, start:length] = k
        self.values[:, :, start:length] = v
        self.length = length
        return self.keys[:, :, :length], self.values[:, :, :length]


class SelfAttention(MultiHeadAttention):
    """Multi-head attention of a sequence to itself and to what was read before.

    Args:
        d_model: size of the vectors D.
        n_heads: number of query heads H; must divide ``d_model``.
        bias: whether the four projections have a bias.
        n_kv_heads: number of key and value heads; must divide ``n_heads``. With fewer
            than ``n_heads``, several query heads share one (grouped-query attention).
        rotary: turns queries and keys by their position.

    Shapes:
        x ``(B, T, D)``, mask ``(T, T_k)`` -> output ``(B, T, D)`` and weights
        ``(B, H, T, T_k)`` or None. With a cache T_k counts the tokens in it too.

    Raises:
        ValueError: for a size below 1, for heads that do not divide, or if an input
            does not fit.
        TypeError: if ``mask`` is not bool.

    Source: Ainslie et al. (2023) for grouped heads, Su et al. (2021) for rotary.

    Home lesson: 10_generation
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        bias: bool = True,
        n_kv_heads: int | None = None,
        rotary: Rotary | None = None,
    ) -> None:
        super().__init__(d_model, n_heads, bias)
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        require_sizes(n_kv_heads=n_kv_heads)
        if n_heads % n_kv_heads:
            raise ValueError(
                f"n_kv_heads={n_kv_heads} does not divide n_heads={n_heads}"
            )
        if n_kv_heads < n_heads:
            self.k_proj = nn.Linear(d_model, n_kv_heads * self.d_head, bias=bias)
            self.v_proj = nn.Linear(d_model, n_kv_heads * self.d_head, bias=bias)
        self.rotary = rotary

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what each position gathered, and the weights if they are needed."""
        require_width(x, self.d_model)
        q, k, v = self._project(x, x)  # (B, H, T, Dh), keys and values: fewer heads
        if self.rotary is not None:
            start = 0 if cache is None else cache.length
            q, k = self.rotary(q, start), self.rotary(k, start)
        if cache is not None:
            k, v = cache.append(k, v)  # now (B, H, T_k, Dh)
        if k.size(1) < q.size(1):
            k, v = (w.repeat_interleave(q.size(1) // w.size(1), 1) for w in (k, v))
        mixed, weights = scaled_dot_product_attention(q, k, v, mask, need_weights)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights
