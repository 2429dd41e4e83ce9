"""One Transformer block: attention, then feed-forward, each added to its input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from lib.attention import MultiHeadAttention
from lib.norm import LayerNorm

__all__ = ["Block"]


class Block(nn.Module):
    """Wire an attention and a feed-forward network around the residual stream.

    Pre-norm adds ``part(norm(x))`` to x, for one part after the other; post-norm adds
    ``part(x)`` and normalises the sum.

    Args:
        attention: lets the positions of x look at each other.
        ffn: works on each position on its own, ``(B, T, D)`` -> ``(B, T, D)``.
        cross_attention: lets x look at a memory between the two, as in the decoder of
            the original Transformer.
        pre_norm: False for the post-norm of the original paper.

    Shapes:
        x ``(B, T, D)``, mask ``(T, T)``, memory ``(B, T_k, D)``, memory_mask
        ``(T, T_k)`` or ``(B, 1, 1, T_k)`` -> ``(B, T, D)``.

    Raises:
        ValueError: if a memory is given without a cross-attention or the other way
            round, or if an input does not fit.

    Source: Vaswani et al. (2017), section 3.1; pre-norm: Xiong et al. (2020).

    Home lesson: 07_transformer_block
    """

    def __init__(
        self,
        attention: MultiHeadAttention,
        ffn: nn.Module,
        cross_attention: MultiHeadAttention | None = None,
        pre_norm: bool = True,
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention_norm = LayerNorm(attention.d_model)
        self.attention = attention
        self.cross_attention = cross_attention
        if cross_attention is not None:
            self.cross_norm = LayerNorm(attention.d_model)
        self.ffn_norm = LayerNorm(attention.d_model)
        self.ffn = ffn

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the new vectors."""
        if memory is not None and self.cross_attention is None:
            raise ValueError("memory was given but the block has cross_attention=None")
        if memory is None and self.cross_attention is not None:
            raise ValueError("memory=None but the block has a cross_attention")
        if memory is None and memory_mask is not None:
            raise ValueError("memory_mask was given but memory=None")
        x = self._add(x, self.attention_norm, lambda y: self.attention(y, mask)[0])
        if self.cross_attention is not None:
            look = partial(self.cross_attention, mask=memory_mask, memory=memory)
            x = self._add(x, self.cross_norm, lambda y: look(y)[0])
        return self._add(x, self.ffn_norm, self.ffn)

    def _add(self, x: Tensor, norm: nn.Module, part: Callable) -> Tensor:
        """Add what a part makes of x to x."""
        return x + part(norm(x)) if self.pre_norm else norm(x + part(x))
