"""One Transformer block: attention, then feed-forward, each added to its input."""

from __future__ import annotations

from torch import Tensor, nn

from lib.attention import MultiHeadAttention
from lib.ffn import FeedForward
from lib.norm import LayerNorm

__all__ = ["Block"]


class Block(nn.Module):
    """A pre-norm block: ``x + attention(norm(x))``, then ``x + ffn(norm(x))``.

    Args:
        d_model: size of the vectors D.
        n_heads: number of heads H; must divide ``d_model``.
        d_ff: size of the feed-forward network in the middle.
        attention_bias: whether the projections of the attention have a bias.

    Shapes:
        x ``(B, T, D)`` and mask ``(T, T)`` -> output ``(B, T, D)`` and attention
        weights ``(B, H, T, T)``.

    Raises:
        ValueError: if ``n_heads`` does not divide ``d_model``.

    Source: Vaswani et al. (2017), section 3.1; pre-norm: Xiong et al. (2020).

    Home lesson: 07_transformer_block
    """

    def __init__(
        self, d_model: int, n_heads: int, d_ff: int, attention_bias: bool = True
    ) -> None:
        super().__init__()
        self.attention_norm = LayerNorm(d_model)
        self.attention = MultiHeadAttention(d_model, n_heads, bias=attention_bias)
        self.ffn_norm = LayerNorm(d_model)
        self.ffn = FeedForward(d_model, d_ff)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the new vectors and the attention weights."""
        gathered, weights = self.attention(self.attention_norm(x), mask)
        x = x + gathered
        return x + self.ffn(self.ffn_norm(x)), weights
