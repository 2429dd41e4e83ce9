"""Where a token stands: positions that a model can read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.shapes import require_sizes, require_width

__all__ = ["LearnedPositions", "SinusoidalPositions"]


class LearnedPositions(nn.Module):
    """Add one learned vector per position to the token vectors.

    Args:
        context_length: number of positions, the longest input allowed.
        d_model: size of the vectors D.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``, with T <= context_length.

    Raises:
        ValueError: for a size below 1, or if the input is longer than
            ``context_length`` or has another last dimension.

    Source: Radford et al. (2018), section 3.1.

    Home lesson: 03_embeddings_and_positions
    """

    def __init__(self, context_length: int, d_model: int) -> None:
        super().__init__()
        require_sizes(context_length=context_length, d_model=d_model)
        self.table = nn.Embedding(context_length, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the vectors of positions 0 .. T - 1."""
        return _add_rows(x, self.table.weight)


class SinusoidalPositions(nn.Module):
    r"""Add one fixed vector of sines and cosines per position to the token vectors.

    :math:`p_{t,\,2i} = \sin(t \cdot \mathrm{base}^{-2i/D})` and
    :math:`p_{t,\,2i+1} = \cos(t \cdot \mathrm{base}^{-2i/D})`: pair :math:`i` is a
    hand of a clock that turns once in :math:`2\pi \, \mathrm{base}^{2i/D}` positions.

    Args:
        context_length: number of positions, the longest input allowed.
        d_model: size of the vectors D, an even number.
        base: sets the longest wavelength, in positions divided by 2 pi.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``, with T <= context_length.

    Raises:
        ValueError: for a size below 1 or an odd ``d_model``, or if the input is
            longer than ``context_length`` or has another last dimension.

    Source: Vaswani et al. (2017), section 3.5.

    Home lesson: 03_embeddings_and_positions
    """

    def __init__(self, context_length: int, d_model: int, base: float = 1e4) -> None:
        super().__init__()
        require_sizes(context_length=context_length, d_model=d_model)
        if d_model % 2:
            raise ValueError(f"d_model={d_model} must be even: sines and cosines pair")
        pairs = torch.arange(0, d_model, 2, dtype=torch.float64)  # 2i: (D/2,)
        frequencies = base ** (-pairs / d_model)
        angles = torch.arange(context_length).unsqueeze(1) * frequencies  # (T, D/2)
        table = torch.stack([angles.sin(), angles.cos()], dim=-1)  # (T, D/2, 2)
        table = table.flatten(1).float()  # (T, D)
        self.register_buffer("table", table, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the vectors of positions 0 .. T - 1."""
        return _add_rows(x, self.table)


def _add_rows(x: Tensor, table: Tensor) -> Tensor:
    """Add row t of the table to the vector at position t."""
    context_length, d_model = table.shape
    require_width(x, d_model)
    length = x.size(-2)
    if length > context_length:
        raise ValueError(f"{length=} is more than {context_length=}")
    return x + table[:length]
