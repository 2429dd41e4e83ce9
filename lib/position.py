"""Where a token stands: positions that a model can read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.module import Module
from lib.shapes import require_sizes, require_width

__all__ = ["LearnedPositions", "SinusoidalPositions", "Rotary"]


class LearnedPositions(Module):
    """Add one learned vector per position to the token vectors.

    Args:
        context_length: number of positions, the longest input allowed.
        d_model: size of the vectors D.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``, with start + T <= context_length.

    Raises:
        ValueError: for a size below 1, or if the input is longer than
            ``context_length`` or has another last dimension.

    Source: Radford et al. (2018), section 3.1.

    Home lesson: 05_positions
    """

    def __init__(self, context_length: int, d_model: int) -> None:
        super().__init__()
        require_sizes(context_length=context_length, d_model=d_model)
        self.table = nn.Embedding(context_length, d_model)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Return ``x`` plus the vectors of positions start .. start + T - 1."""
        return _add_rows(x, self.table.weight, start)


class SinusoidalPositions(Module):
    r"""Add one fixed vector of sines and cosines per position to the token vectors.

    :math:`p_{t,\,2i} = \sin(t \cdot \mathrm{base}^{-2i/D})` and
    :math:`p_{t,\,2i+1} = \cos(t \cdot \mathrm{base}^{-2i/D})`: pair :math:`i` is a
    hand of a clock that turns once in :math:`2\pi \, \mathrm{base}^{2i/D}` positions.

    Args:
        context_length: number of positions, the longest input allowed.
        d_model: size of the vectors D, an even number.
        base: sets the longest wavelength, in positions divided by 2 pi.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``, with start + T <= context_length.

    Raises:
        ValueError: for a size below 1 or an odd ``d_model``, or if the input is
            longer than ``context_length`` or has another last dimension.

    Source: Vaswani et al. (2017), section 3.5.

    Home lesson: 05_positions
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

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Return ``x`` plus the vectors of positions start .. start + T - 1."""
        return _add_rows(x, self.table, start)


class Rotary(Module):
    r"""Turn queries and keys by an angle that grows with their position.

    The numbers :math:`i` and :math:`i + D_h / 2` of a vector at position :math:`t` are
    turned as a pair by :math:`t \cdot \mathrm{base}^{-2i/D_h}`. A query and a key then
    see only how far they are apart.

    Args:
        d_head: size of the vectors Dh, an even number.
        context_length: number of positions, the longest input allowed.
        base: sets the longest wavelength, in positions divided by 2 pi.

    Shapes:
        x ``(..., T, Dh)`` -> ``(..., T, Dh)``, with start + T <= context_length.

    Raises:
        ValueError: for a size below 1 or an odd ``d_head``, or if the input is
            longer than ``context_length`` or has another last dimension.

    Source: Su et al. (2021), section 3.4.2, with the pairs laid out as in Llama.

    Home lesson: 19_modern_blocks
    """

    def __init__(self, d_head: int, context_length: int, base: float = 1e4) -> None:
        super().__init__()
        require_sizes(d_head=d_head, context_length=context_length)
        if d_head % 2:
            raise ValueError(f"d_head={d_head} must be even: its numbers turn in pairs")
        pairs = torch.arange(0, d_head, 2, dtype=torch.float64)  # 2i: (Dh/2,)
        frequencies = base ** (-pairs / d_head)
        angles = torch.arange(context_length).unsqueeze(1) * frequencies  # (T, Dh/2)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Return the vectors at positions start .. start + T - 1, turned."""
        context_length, half = self.cos.shape
        require_width(x, 2 * half)
        length = start + x.size(-2)
        if length > context_length:
            raise ValueError(f"{length=} is more than {context_length=}")
        cos, sin = self.cos[start:length], self.sin[start:length]  # (T, Dh/2)
        a, b = x.float().chunk(2, dim=-1)
        turned = torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
        return turned.to(x.dtype)


def _add_rows(x: Tensor, table: Tensor, start: int) -> Tensor:
    """Add row start + t of the table to vector t."""
    context_length, d_model = table.shape
    require_width(x, d_model)
    length = start + x.size(-2)
    if length > context_length:
        raise ValueError(f"{length=} is more than {context_length=}")
    return x + table[start:length]
