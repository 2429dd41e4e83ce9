"""A language model around any blocks: tokens and positions in, logits out."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from lib.attention import causal_mask
from lib.position import LearnedPositions
from lib.shapes import require_sizes

__all__ = ["LanguageModel"]


class LanguageModel(nn.Module):
    """Predict the next token at every position, with any blocks in the middle.

    Args:
        vocab_size: number of different tokens V.
        d_model: size of the vectors D.
        context_length: the longest input allowed.
        blocks: what stands between embedding and head, one after the other; each maps
            ``(B, T, D)`` and a causal mask ``(T, T)`` to ``(B, T, D)``.
        final_norm: normalises what the last block gives.

    Shapes:
        ids ``(B, T)``, T <= context_length -> logits ``(B, T, V)``.

    Raises:
        ValueError: for a size below 1, or an input longer than ``context_length``.

    Source: Radford et al. (2018), section 3.1.

    Home lesson: 06_attention
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        context_length: int,
        blocks: Iterable[nn.Module],
        final_norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        require_sizes(vocab_size=vocab_size, d_model=d_model)
        self.context_length = context_length
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.positions = LearnedPositions(context_length, d_model)
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = final_norm or nn.Identity()
        self.head = nn.Linear(d_model, vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of the next token at each position."""
        mask = causal_mask(ids.size(1)).to(ids.device)
        x = self.positions(self.tokens(ids))  # (B, T) -> (B, T, D)
        for block in self.blocks:
            x = block(x, mask)
        return self.head(self.final_norm(x))  # (B, T, D) -> (B, T, V)
