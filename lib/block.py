"""One Transformer block: attention, then feed-forward, each added to its input."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from lib.attention import MultiHeadAttention
from lib.module import Module
from lib.norm import LayerNorm

__all__ = ["Block"]


def _check_memory(
    memory: Tensor | None, memory_mask: Tensor | None, cross: nn.Module | None
) -> None:
    """Refuse a memory that nobody reads, or a reader without a memory."""
    if memory is not None and cross is None:
        raise ValueError("memory was given but the block has cross_attention=None")
    if memory is None and cross is not None:
        raise ValueError("memory=None but the block has a cross_attention")
    if memory is None and memory_mask is not None:
        raise ValueError("memory_mask was given but memory=None")


class Block(Module):
    """Wire an attention and a feed-forward network around the residual stream.

    Pre-norm adds ``part(norm(x))`` to x, for one part after the other; post-norm adds
    ``part(x)`` and normalises the sum.

    Args:
        attention: lets the positions of x look at each other.
        ffn: works on each position on its own, ``(B, T, D)`` -> ``(B, T, D)``; None for
            a block of attention only.
        cross_attention: lets x look at a memory between the two, as in the decoder of
            the original Transformer.
        pre_norm: False for the post-norm of the original paper.
        norm: makes the normalisation of vectors of a given size.
        dropout: share of the numbers of each part's output that are set to 0 in
            training, before they are added to x.

    Shapes:
        x ``(B, T, D)``, mask ``(T, T)``, memory ``(B, T_k, D)``, memory_mask
        ``(T, T_k)`` or ``(B, 1, 1, T_k)`` -> ``(B, T, D)``.

    Raises:
        ValueError: if a memory is given without a cross-attention or the other way
            round, or if an input does not fit.

    Source: Vaswani et al. (2017), section 3.1; pre-norm: Xiong et al. (2020).

    Home lesson: 09_transformer_block
    """

    def __init__(
        self,
        attention: MultiHeadAttention,
        ffn: nn.Module | None,
        cross_attention: MultiHeadAttention | None = None,
        pre_norm: bool = True,
        norm: Callable[[int], nn.Module] = LayerNorm,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention_norm = norm(attention.d_model)
        self.attention = attention
        self.cross_attention = cross_attention
        if cross_attention is not None:
            self.cross_norm = norm(attention.d_model)
        self.ffn_norm = None if ffn is None else norm(attention.d_model)
        self.ffn = ffn
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        memory: Tensor | tuple[Tensor, Tensor] | None = None,
        memory_mask: Tensor | None = None,
        **options,
    ) -> Tensor:
        """Return the new vectors; ``options`` go on to the self-attention."""
        _check_memory(memory, memory_mask, self.cross_attention)
        if self.pre_norm:
            y, _ = self.attention(self.attention_norm(x), mask, **options)
            x = x + self._drop(y)
            if self.cross_attention is not None:
                y = self.cross_norm(x)
                y, _ = self.cross_attention(y, memory_mask, memory=memory)
                x = x + self._drop(y)
            if self.ffn is None:
                return x
            return x + self._drop(self.ffn(self.ffn_norm(x)))
        y, _ = self.attention(x, mask, **options)
        x = self.attention_norm(x + self._drop(y))
        if self.cross_attention is not None:
            y, _ = self.cross_attention(x, memory_mask, memory=memory)
            x = self.cross_norm(x + self._drop(y))
        if self.ffn is None:
            return x
        return self.ffn_norm(x + self._drop(self.ffn(x)))

    def _drop(self, y: Tensor) -> Tensor:
        """Set some numbers to 0 in training; where none are, save the call."""
        return self.dropout(y) if self.dropout.training else y
