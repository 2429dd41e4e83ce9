"""Normalisation: keep the numbers inside a deep network at one scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.module import Module
from lib.shapes import require_above_0, require_sizes, require_width

__all__ = ["LayerNorm", "RMSNorm"]


class LayerNorm(Module):
    r"""Shift and scale each vector to mean 0 and variance 1, then apply a learned
    gain and bias.

    :math:`(x - \mu) / \sqrt{\sigma^2 + \epsilon} \cdot g + b`, with the variance taken
    over the D numbers of one vector and divided by D (not D - 1).

    Args:
        d_model: size of the vectors D.
        eps: added to the variance, inside the root.

    Shapes:
        x ``(..., D)`` -> ``(..., D)``, of the dtype of x; mean and variance are float32
        or better.

    Raises:
        ValueError: if ``d_model`` is below 1, ``eps`` is not above 0, or x has another
            last dimension.

    Source: Ba, Kiros and Hinton (2016), equation (4).

    Home lesson: 09_transformer_block
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        require_sizes(d_model=d_model)
        require_above_0(eps=eps)
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.d_model, self.eps = d_model, eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised vectors."""
        require_width(x, self.d_model)
        gain, bias = self.own("gain"), self.own("bias")
        return F.layer_norm(x, (self.d_model,), gain, bias, self.eps)


class RMSNorm(Module):
    r"""Scale each vector to a mean square of 1, then apply a learned gain.

    :math:`x / \sqrt{\mathrm{mean}(x^2) + \epsilon} \cdot g`: a `LayerNorm` that does
    not take off the mean and has no bias.

    Args:
        d_model: size of the vectors D.
        eps: added to the mean square, inside the root.

    Shapes:
        x ``(..., D)`` -> ``(..., D)``, of the dtype of x; the mean square is float32 or
        better.

    Raises:
        ValueError: if ``d_model`` is below 1, ``eps`` is not above 0, or x has another
            last dimension.

    Source: Zhang and Sennrich (2019), equation (4).

    Home lesson: 19_modern_blocks
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        require_sizes(d_model=d_model)
        require_above_0(eps=eps)
        self.gain = nn.Parameter(torch.ones(d_model))
        self.d_model, self.eps = d_model, eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled vectors."""
        require_width(x, self.d_model)
        return F.rms_norm(x, (self.d_model,), self.own("gain"), self.eps)
