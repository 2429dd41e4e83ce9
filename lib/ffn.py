"""The feed-forward network: the same small network at every position."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from lib.module import Linear, Module
from lib.shapes import require_sizes, require_width

__all__ = ["FeedForward", "SwiGLU"]


class FeedForward(Module):
    r"""Widen each vector, bend it, bring it back: :math:`W_2\,\phi(W_1 x + b_1) + b_2`.

    Args:
        d_model: size of the vectors D.
        d_ff: size in the middle F, often ``4 * d_model``.
        activation: the function :math:`\phi`, element by element.

    Shapes:
        x ``(..., D)`` -> ``(..., D)``. Positions do not see each other.

    Raises:
        ValueError: for a size below 1, or if x has another last dimension.

    Source: Vaswani et al. (2017), section 3.3, with the GELU of Hendrycks and
    Gimpel (2016) in place of the ReLU.

    Home lesson: 08_feed_forward
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        require_sizes(d_model=d_model, d_ff=d_ff)
        self.up = Linear(d_model, d_ff)
        self.down = Linear(d_ff, d_model)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the new vectors, position by position."""
        require_width(x, self.up.in_features)
        return self.down(self.activation(self.up(x)))


class SwiGLU(Module):
    r"""A feed-forward network whose middle is multiplied by a gate:
    :math:`W_2\,(\mathrm{SiLU}(W_g x) \odot W_1 x)`.

    Args:
        d_model: size of the vectors D.
        d_ff: size in the middle F. Three matrices instead of two: with two thirds of
            the ``d_ff`` of a `FeedForward` it has as many parameters.

    Shapes:
        x ``(..., D)`` -> ``(..., D)``. There are no biases.

    Raises:
        ValueError: for a size below 1, or if x has another last dimension.

    Source: Shazeer (2020), equation (6).

    Home lesson: 08_feed_forward
    """

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        require_sizes(d_model=d_model, d_ff=d_ff)
        self.gate = Linear(d_model, d_ff, bias=False)
        self.up = Linear(d_model, d_ff, bias=False)
        self.down = Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the new vectors, position by position."""
        require_width(x, self.up.in_features)
        return self.down(F.silu(self.gate(x)) * self.up(x))
