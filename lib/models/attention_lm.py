"""Attention alone as a language model: the presets of lessons 06 and 07."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lib.attention import MultiHeadAttention
from lib.models.language_model import LanguageModel
from lib.shapes import require_divides, require_sizes

__all__ = ["AttentionConfig", "AttentionLM"]


@dataclass(frozen=True)
class AttentionConfig:
    """What an `AttentionLM` is made of.

    Attributes:
        vocab_size: number of different tokens V.
        d_model: size of the vectors D.
        n_heads: number of heads; must divide ``d_model``. One head has no output
            projection: it has nothing to mix.
        context_length: the longest input allowed.

    Raises:
        ValueError: for a size below 1, or heads that do not divide.
    """

    vocab_size: int = 65
    d_model: int = 64
    n_heads: int = 4
    context_length: int = 32

    def __post_init__(self) -> None:
        require_sizes(**vars(self))
        require_divides(n_heads=self.n_heads, d_model=self.d_model)


class AttentionLM(LanguageModel):
    """A language model whose only block is an attention, without a residual stream.

    Args:
        config: sizes.

    Shapes:
        ids ``(B, T)``, T <= context_length -> logits ``(B, T, V)``.
    """

    def __init__(self, config: AttentionConfig) -> None:
        c = config
        attention = MultiHeadAttention(c.d_model, c.n_heads, bias=False)
        if c.n_heads == 1:
            attention.out_proj = nn.Identity()
        block = _AttentionAlone(attention)
        super().__init__(c.vocab_size, c.d_model, c.context_length, [block])
        self.config = config


class _AttentionAlone(nn.Module):
    """A block that gives what its attention gathers."""

    def __init__(self, attention: MultiHeadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return what each position gathered."""
        return self.attention(x, mask)[0]
