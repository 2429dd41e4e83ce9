"""GPT: tokens and positions in, a stack of blocks, logits of the next token out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lib.attention import causal_mask
from lib.block import Block
from lib.norm import LayerNorm
from lib.position import LearnedPositions

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
        for name, size in vars(self).items():
            if not isinstance(size, bool) and size < 1:
                raise ValueError(f"{name}={size} must be at least 1")


class GPT(nn.Module):
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
        super().__init__()
        c = config
        self.context_length = c.context_length
        self.tokens = nn.Embedding(c.vocab_size, c.d_model)
        self.positions = LearnedPositions(c.context_length, c.d_model)
        self.blocks = nn.ModuleList(
            Block(c.d_model, c.n_heads, c.d_ff, c.attention_bias)
            for _ in range(c.n_layers)
        )
        self.final_norm = LayerNorm(c.d_model) if c.final_norm else nn.Identity()
        self.head = nn.Linear(c.d_model, c.vocab_size)
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        """Start with small weights, so that the first predictions are near uniform."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of the next token at each position."""
        return self._run(ids)[0]

    def attention_maps(self, ids: Tensor) -> list[Tensor]:
        """Return the attention weights of each block, each ``(B, H, T, T)``."""
        return self._run(ids)[1]

    def _run(self, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
        mask = causal_mask(ids.size(1)).to(ids.device)
        x = self.positions(self.tokens(ids))  # (B, T) -> (B, T, D)
        maps = []
        for block in self.blocks:
            x, weights = block(x, mask)
            maps.append(weights)
        return self.head(self.final_norm(x)), maps
