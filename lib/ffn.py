"""The feed-forward network: the same small network at every position."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["FeedForward"]


class FeedForward(nn.Module):
    r"""Widen each vector, bend it, bring it back: :math:`W_2\,\mathrm{GELU}(W_1 x)`.

    Args:
        d_model: size of the vectors D.
        d_ff: size in the middle, often ``4 * d_model``.

    Shapes:
        x ``(..., D)`` -> ``(..., D)``. Positions do not see each other.

    Source: Vaswani et al. (2017), section 3.3, with the GELU of Hendrycks and
    Gimpel (2016) in place of the ReLU.

    Home lesson: 06_feed_forward
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, d_ff)
        self.activation = nn.GELU()
        self.down = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return the new vectors, position by position."""
        return self.down(self.activation(self.up(x)))
