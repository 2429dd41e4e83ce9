"""A model that fills in blanks: the encoder alone, reading in both directions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.models.encoder_decoder import Encoder
from lib.position import LearnedPositions
from lib.shapes import require_sizes

__all__ = ["mask_tokens", "MaskedLMConfig", "MaskedLM"]


def mask_tokens(
    ids: Tensor,
    mask_id: int,
    share: float = 0.15,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Hide some tokens of each row, drawn at random.

    Args:
        ids: the tokens, ``(B, T)``.
        mask_id: the id that stands for a hidden token.
        share: of the tokens of each row that are hidden; at least one is.
        generator: source of the random draws.

    Returns:
        The tokens with the blanks, ``(B, T)``, and where they are, bool ``(B, T)``.

    Raises:
        ValueError: if ``share`` is not in (0, 1].

    Source: Devlin et al. (2019), section 3.1, without its random and unchanged tokens.

    Home lesson: 17_masked_language_model
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share} must be above 0 and at most 1")
    n_hidden = max(1, round(share * ids.size(1)))
    draws = torch.rand(ids.shape, generator=generator).to(ids.device)
    places = draws.topk(n_hidden, dim=1).indices  # (B, n_hidden)
    hidden = torch.zeros_like(ids, dtype=torch.bool).scatter(1, places, True)
    return ids.masked_fill(hidden, mask_id), hidden


@dataclass(frozen=True)
class MaskedLMConfig:
    """What a `MaskedLM` is made of.

    Attributes:
        vocab_size: number of different tokens V; the id V is the blank.
        d_model: size of the vectors D.
        n_heads: heads per block; must divide ``d_model``.
        n_layers: number of blocks.
        d_ff: size of the feed-forward networks in the middle.
        context_length: the longest input allowed.

    Raises:
        ValueError: for a size below 1.

    Home lesson: 17_masked_language_model
    """

    vocab_size: int
    d_model: int
    n_heads: int
    n_layers: int
    d_ff: int
    context_length: int

    def __post_init__(self) -> None:
        require_sizes(**vars(self))


class MaskedLM(nn.Module):
    """Predict the token at every position from all positions around it.

    Args:
        config: sizes.

    Attributes:
        mask_id: the id that stands for a hidden token, V.

    Shapes:
        ids ``(B, T)``, T <= context_length, mask ``(T, T)`` or none for both
        directions -> logits ``(B, T, V)`` of the token that stands there.

    Raises:
        ValueError: for heads that do not divide, or an input longer than
            ``context_length``.

    Source: Devlin et al. (2019), section 3.

    Home lesson: 17_masked_language_model
    """

    def __init__(self, config: MaskedLMConfig) -> None:
        super().__init__()
        c = self.config = config
        self.context_length, self.mask_id = c.context_length, c.vocab_size
        self.tokens = nn.Embedding(c.vocab_size + 1, c.d_model)
        self.positions = LearnedPositions(c.context_length, c.d_model)
        self.encoder = Encoder(c.d_model, c.n_heads, c.n_layers, c.d_ff)
        self.head = nn.Linear(c.d_model, c.vocab_size, bias=False)
        for weight in (p for p in self.parameters() if p.dim() > 1):
            nn.init.normal_(weight, std=0.7 / math.sqrt(weight.size(1)))

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the logits of the token at each position."""
        x = self.positions(self.tokens(ids))  # (B, T) -> (B, T, D)
        return self.head(self.encoder(x, mask))  # (B, T, D) -> (B, T, V)
