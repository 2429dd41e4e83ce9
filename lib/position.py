"""Where a token stands: positions that a model can read."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["LearnedPositions"]


class LearnedPositions(nn.Module):
    """Add one learned vector per position to the token vectors.

    Args:
        context_length: number of positions, the longest input allowed.
        d_model: size of the vectors D.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``, with T <= context_length.

    Raises:
        ValueError: if the input is longer than ``context_length``.

    Source: Radford et al. (2018), section 3.1.

    Home lesson: 03_embeddings_and_positions
    """

    def __init__(self, context_length: int, d_model: int) -> None:
        super().__init__()
        self.table = nn.Embedding(context_length, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the vectors of positions 0 .. T - 1."""
        length, context_length = x.size(-2), self.table.num_embeddings
        if length > context_length:
            raise ValueError(f"{length=} is more than {context_length=}")
        return x + self.table.weight[:length]
