"""Latent attention: all heads make their keys and values of one short vector."""

from __future__ import annotations

import torch
from torch import Tensor

from lib.attention import MultiHeadAttention, WindowCache
from lib.module import Linear, Module
from lib.position import Rotary
from lib.shapes import require_divides, require_sizes

__all__ = ["LatentAttention"]


class LatentAttention(MultiHeadAttention):
    r"""Attention whose cache keeps one latent vector per token in place of all heads.

    With :math:`c = x W_c^\top`, the latent, each head makes its key and value of it:
    :math:`k = c W_k^\top`, :math:`v = c W_v^\top`. Positions travel beside it: a part
    of each query is rotated, and one rotated key is shared by all heads.

    Args:
        d_model: size of the vectors D.
        n_heads: number of heads H; must divide ``d_model`` if there is no ``d_head``.
        kv_rank: size of the latent vectors R.
        rotary: rotates the shared key and its part of the queries; the size of its
            vectors Dr is that of both.
        bias: whether the projections have a bias.
        d_head: size of values, and of queries and keys without their rotated part, Dh;
            None for ``d_model / n_heads``.
        window: as `MultiHeadAttention` has it.

    Shapes:
        As for `MultiHeadAttention`, but without a memory. The cache holds
        ``(B, 1, T, Dr)`` as its keys and ``(B, 1, T, R)`` as its values.

    Raises:
        ValueError: as `MultiHeadAttention` does.

    Source: DeepSeek-AI (2024), section 2.1, but for its norms and its short queries.

    Home lesson: 20_long_context
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        kv_rank: int,
        rotary: Rotary,
        *,
        bias: bool = True,
        d_head: int | None = None,
        window: int | None = None,
    ) -> None:
        Module.__init__(self)  # the projections have other sizes than the parent's
        require_sizes(d_model=d_model, n_heads=n_heads, kv_rank=kv_rank)
        if d_head is None:
            require_divides(n_heads=n_heads, d_model=d_model)
            d_head = d_model // n_heads
        require_sizes(d_head=d_head, window=1 if window is None else window)
        self.d_model, self.d_head, self.window = d_model, d_head, window
        self.n_heads, self.rotary, self.q_norm = n_heads, rotary, None
        d_turned = 2 * rotary.cos.size(1)
        self.q_proj = Linear(d_model, n_heads * (d_head + d_turned), bias=bias)
        self.turned_proj = Linear(d_model, d_turned, bias=bias)
        self.latent_proj = Linear(d_model, kv_rank, bias=bias)
        self.k_proj = Linear(kv_rank, n_heads * d_head, bias=bias)
        self.v_proj = Linear(kv_rank, n_heads * d_head, bias=bias)
        self.out_proj = Linear(n_heads * d_head, d_model, bias=bias)

    def read(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the cache keeps, ``(B, 1, T, Dr)`` and ``(B, 1, T, R)``."""
        turned, latent = self.turned_proj(memory), self.latent_proj(memory)
        return turned.unsqueeze(1), latent.unsqueeze(1)

    def turn(self, q: Tensor, start: int | Tensor) -> Tensor:
        """Rotate the last part of the queries by their positions."""
        plain, turned = q[..., : self.d_head], q[..., self.d_head :]
        return torch.cat([plain, self.rotary(turned, start)], dim=-1)

    def lend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Make keys ``(B, H, T, Dh + Dr)`` and values ``(B, H, T, Dh)`` of latents."""
        latent = v.squeeze(1)  # (B, T, R)
        plain = self.split(self.k_proj(latent))
        keys = torch.cat([plain, k.expand(-1, self.n_heads, -1, -1)], dim=-1)
        return keys, self.split(self.v_proj(latent))

    def new_cache(self, context_length: int) -> WindowCache:
        """Return an empty cache for a text of at most so many tokens."""
        return WindowCache(context_length, self.window or context_length)

    def split(self, wide: Tensor) -> Tensor:
        """Cut vectors ``(B, T, H d)`` into heads ``(B, H, T, d)``."""
        return wide.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
