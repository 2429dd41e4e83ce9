"""Where a token stands: positions that a model can read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.module import Module
from lib.shapes import require_above_0, require_sizes, require_width

__all__ = ["LearnedPositions", "SinusoidalPositions", "Rotary", "RotaryScaling"]


class LearnedPositions(Module):
    """Add one learned vector per position to the token vectors.

    Args:
        context_length: number of positions, the longest input allowed.
        d_model: size of the vectors D.

    Shapes:
        x ``(B, T, D)`` -> ``(B, T, D)``, with start + T <= context_length. The start
        is a number, or the position of each token, int64 ``(B, T)``.

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

    def forward(self, x: Tensor, start: int | Tensor = 0) -> Tensor:
        """Return ``x`` plus the vectors of positions start .. start + T - 1."""
        require_width(x, self.table.embedding_dim)
        return x + _rows(self.table.weight, x, start)


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
        x ``(B, T, D)`` -> ``(B, T, D)``, with start + T <= context_length. The start
        is a number, or the position of each token, int64 ``(B, T)``.

    Raises:
        ValueError: for a size below 1, an odd ``d_model``, a base not above 0, or if
            the input is longer than ``context_length`` or has another last dimension.

    Source: Vaswani et al. (2017), section 3.5.

    Home lesson: 05_positions
    """

    def __init__(self, context_length: int, d_model: int, base: float = 1e4) -> None:
        super().__init__()
        require_sizes(context_length=context_length, d_model=d_model)
        if d_model % 2:
            raise ValueError(f"d_model={d_model} must be even: sines and cosines pair")
        pairs = torch.arange(0, d_model, 2, dtype=torch.float64)  # 2i: (D/2,)
        require_above_0(base=base)
        frequencies = base ** (-pairs / d_model)
        angles = torch.arange(context_length).unsqueeze(1) * frequencies  # (T, D/2)
        table = torch.stack([angles.sin(), angles.cos()], dim=-1)  # (T, D/2, 2)
        table = table.flatten(1).float()  # (T, D)
        self.register_buffer("table", table, persistent=False)

    def forward(self, x: Tensor, start: int | Tensor = 0) -> Tensor:
        """Return ``x`` plus the vectors of positions start .. start + T - 1."""
        require_width(x, self.table.size(1))
        return x + _rows(self.table, x, start)


@dataclass(frozen=True)
class RotaryScaling:
    r"""Slow down the rotations, so that more positions fit into the angles seen.

    A pair that turns :math:`r` times within the context that a model was trained on is
    turned more slowly by a factor: the full one for :math:`r` up to ``n_slow``, none
    from ``n_fast`` on, and between them a mean of both. YaRN does so, and sharpens the
    scores with :attr:`gain`.

    Attributes:
        factor: how many times slower.
        n_slow: turns up to which a pair gets the whole factor; None for all pairs.
        n_fast: turns from which a pair stays as it is; above ``n_slow``.
        trained_length: the context T that the model was trained on.
        gain: what queries and keys are multiplied by, so scores by its square; YaRN's
            is :math:`0.1 \ln \mathrm{factor} + 1`.
        by_pair: whether the mean moves evenly from pair to pair, between whole pairs,
            as in YaRN's code; or with the number of turns, as in its paper.

    Raises:
        TypeError: for a number that is none.
        ValueError: for a factor below 1 or infinite, a length below 1, a gain that is
            not above 0 and finite, an ``n_fast`` that is not above ``n_slow``, or
            ``by_pair`` without them.

    Source: Chen et al. (2023) for one factor for all, which is position
    interpolation; Peng et al. (2023), section 3.2, for sparing the fast pairs, and
    section 3.4 for the gain.

    Home lesson: 19_modern_blocks
    """

    factor: float
    n_slow: float | None = None
    n_fast: float | None = None
    trained_length: int = 1
    gain: float = 1.0
    by_pair: bool = False

    def __post_init__(self) -> None:
        for name in ("factor", "gain", "n_slow", "n_fast"):
            value, none = getattr(self, name), name.startswith("n_")
            if type(value) not in (int, float) and not (none and value is None):
                raise TypeError(f"{name}={value!r} must be a number")
        if type(self.trained_length) is not int:
            given = self.trained_length
            raise TypeError(f"trained_length={given!r} must be an integer")
        require_sizes(trained_length=self.trained_length)
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"factor={self.factor} must be at least 1 and finite")
        both = self.n_slow, self.n_fast
        if both != (None, None) and not (None not in both and 0 <= both[0] < both[1]):
            raise ValueError(f"n_fast={self.n_fast} must be above n_slow={self.n_slow}")
        if not 0 < self.gain < math.inf:
            raise ValueError(f"gain={self.gain} must be above 0 and finite")
        if self.by_pair and not self.n_slow:
            raise ValueError(f"by_pair=True needs n_slow={self.n_slow} above 0")

    def slowed(self, frequencies: Tensor) -> Tensor:
        """Return the frequencies ``(Dh/2,)``, in radians per position, slowed down."""
        if self.n_slow is None:
            return frequencies / self.factor
        n_turns = self.trained_length * frequencies / (2 * math.pi)
        if self.by_pair:
            spared = 1 - self._ramp(n_turns)
        else:
            spared = (n_turns - self.n_slow) / (self.n_fast - self.n_slow)
        spared = spared.clamp(0, 1)  # share of a pair that stays as it is
        return frequencies * (spared + (1 - spared) / self.factor)

    def _ramp(self, n_turns: Tensor) -> Tensor:
        """Return a line over the pairs: 0 where ``n_fast`` lies, 1 at ``n_slow``.

        Turns fall by the same factor from pair to pair, so their logarithm tells the
        pair. The ends of the line are whole pairs.
        """
        if len(n_turns) < 2:
            raise ValueError(f"by_pair=True needs 2 pairs or more, not {len(n_turns)}")
        first, second = n_turns[:2].log()  # no .item(): sizes may be wanted alone
        fast, slow = (
            (first - math.log(n)) / (first - second) for n in (self.n_fast, self.n_slow)
        )
        start = fast.floor().clamp(min=0)
        end = slow.ceil().clamp(max=2 * len(n_turns) - 1)
        end = end + 0.001 * (end == start)
        return (torch.arange(len(n_turns)) - start) / (end - start)


class Rotary(Module):
    r"""Turn queries and keys by an angle that grows with their position.

    The numbers :math:`i` and :math:`i + D_h / 2` of a vector at position :math:`t` are
    turned as a pair by :math:`t \cdot \mathrm{base}^{-2i/D_h}`. A query and a key then
    see only how far they are apart.

    Args:
        d_head: size of the vectors Dh, an even number.
        context_length: number of positions, the longest input allowed.
        base: sets the longest wavelength, in positions divided by 2 pi.
        scaling: how the rotations are slowed down; None for not at all.

    Shapes:
        x ``(..., T, Dh)`` -> ``(..., T, Dh)``, with start + T <= context_length. The
        start is a number, or for x ``(B, H, T, Dh)`` the position of each token, int64
        ``(B, T)``.

    Raises:
        ValueError: for a size below 1, an odd ``d_head``, a base not above 0, or if
            the input is longer than ``context_length`` or has another last dimension.

    Source: Su et al. (2021), section 3.4.2, with the pairs laid out as in Llama.

    Home lesson: 19_modern_blocks
    """

    def __init__(
        self,
        d_head: int,
        context_length: int,
        base: float = 1e4,
        scaling: RotaryScaling | None = None,
    ) -> None:
        super().__init__()
        require_sizes(d_head=d_head, context_length=context_length)
        if d_head % 2:
            raise ValueError(f"d_head={d_head} must be even: its numbers turn in pairs")
        pairs = torch.arange(0, d_head, 2, dtype=torch.float64)  # 2i: (Dh/2,)
        require_above_0(base=base)
        frequencies = base ** (-pairs / d_head)
        if scaling is not None:
            frequencies = scaling.slowed(frequencies)
        angles = torch.arange(context_length).unsqueeze(1) * frequencies  # (T, Dh/2)
        gain = 1.0 if scaling is None else scaling.gain
        for name, table in (("cos", angles.cos()), ("sin", angles.sin())):
            self.register_buffer(name, (gain * table).float(), persistent=False)

    def forward(self, x: Tensor, start: int | Tensor = 0) -> Tensor:
        """Return the vectors at positions start .. start + T - 1, turned."""
        require_width(x, 2 * self.cos.size(1), size="d_head")
        cos, sin = (_rows(t, x, start) for t in (self.cos, self.sin))
        if cos.dim() > 2:
            cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)  # (B, 1, T, Dh/2)
        a, b = x.float().chunk(2, dim=-1)
        turned = torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
        return turned.to(x.dtype)


def _rows(table: Tensor, x: Tensor, start: int | Tensor) -> Tensor:
    """Return the rows of positions start .. start + T - 1, or of those given."""
    context_length, length = len(table), x.size(-2)
    if isinstance(start, Tensor):
        _check_positions(start, (x.size(0), length), context_length)
        return table[start]  # (B, T, D)
    if start < 0:
        raise ValueError(f"{start=} must be 0 or more")
    if (length := start + length) > context_length:
        raise ValueError(f"{length=} is more than {context_length=}")
    return table[start:length]  # (T, D)


def _check_positions(
    positions: Tensor, shape: tuple[int, int], context_length: int
) -> None:
    """Refuse positions that are not one for each token, or have no row."""
    if positions.shape != shape:
        given = tuple(positions.shape)
        raise ValueError(f"positions has shape {given}; it must be (B, T) = {shape}")
    if positions.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"positions has dtype {positions.dtype}; it must be int64")
    low, high = positions.min().item(), positions.max().item()
    if low < 0 or high >= context_length:
        raise ValueError(
            f"positions lie between {low} and {high}; they must lie between 0 and "
            f"{context_length - 1}"
        )
