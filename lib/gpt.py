"""GPT: tokens and positions in, a stack of blocks, logits of the next token out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lib.attention import MultiHeadAttention
from lib.block import Block
from lib.ffn import FeedForward
from lib.language_model import LanguageModel
from lib.norm import LayerNorm
from lib.shapes import require_sizes

__all__ = ["GPTConfig", "GPT"]


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a `GPT`; the defaults are the demo model of 5,162 parameters.

    Attributes:
        vocab_size: number of different tokens V.
        d_model: size of the vectors D.
        n_heads: heads per block H; must divide ``d_model``.
        n_layers: number of blocks.
        d_ff: size of the feed-forward networks in the middle.
        context_length: the longest input allowed.
        attention_bias: whether the projections of the attention have a bias.
        final_norm: whether a `LayerNorm` stands between the last block and the head.

    Raises:
        ValueError: for a size below 1.

    Source: Radford et al. (2019), section 2.3.

    Home lesson: 08_gpt
    """

    vocab_size: int = 10
    d_model: int = 16
    n_heads: int = 2
    n_layers: int = 2
    d_ff: int = 32
    context_length: int = 32
    attention_bias: bool = False
    final_norm: bool = False

    def __post_init__(self) -> None:
        require_sizes(
            **{n: s for n, s in vars(self).items() if not isinstance(s, bool)}
        )


class GPT(LanguageModel):
    """A decoder-only Transformer: predicts the next token at every position.

    Args:
        config: the sizes.

    Shapes:
        ids ``(B, T)``, T <= context_length -> logits ``(B, T, V)``.

    Raises:
        ValueError: if the input is longer than ``context_length``, or ``n_heads``
            does not divide ``d_model``.

    Source: Radford et al. (2018), section 3.1.

    Home lesson: 08_gpt
    """

    def __init__(self, config: GPTConfig) -> None:
        c = config
        blocks = [
            Block(
                MultiHeadAttention(c.d_model, c.n_heads, c.attention_bias),
                FeedForward(c.d_model, c.d_ff),
            )
            for _ in range(c.n_layers)
        ]
        final_norm = LayerNorm(c.d_model) if c.final_norm else None
        super().__init__(c.vocab_size, c.d_model, c.context_length, blocks, final_norm)
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        """Start with small weights, so that the first predictions are near uniform."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
