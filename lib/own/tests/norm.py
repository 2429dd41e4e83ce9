"""The tests of the norms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.own.tests.near import (
    Unknown,
    expect_near,
    expect_near_both_ways,
    expect_unchanged,
    expect_weights,
    random,
    random_weights,
)

__all__ = ["LAYER_NORM", "RMS_NORM", "layer_norm_equals_torch", "rms_norm_equals_torch"]

Part = Callable[..., nn.Module]
EPS = 1e-5  # what the norms add if they are not told


def layer_norm_equals_torch(
    part: Part,
    shape: tuple[int, ...] = (3, 4),
    d_model: int = 8,
    eps: float = EPS,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Output and gradients are those of PyTorch, for large vectors and small ones."""
    ours = part(d_model, eps=eps).to(dtype)
    random_weights(ours)
    same = [w.detach().double().requires_grad_() for w in (ours.gain, ours.bias)]

    def torchs(x: Tensor) -> Tensor:
        return F.layer_norm(x, (d_model,), *same, eps=eps)

    def mended(x: Tensor, divisor: Tensor) -> Tensor:
        return (centred(x) / divisor * same[0] + same[1]).detach()

    def centred(x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True)

    for scale in (1.0, 0.01):
        x = (scale * (1 + 2 * random(*shape, d_model))).to(dtype)
        wide = x.double()
        std = wide.std(-1, correction=0, keepdim=True)
        var1 = wide.var(-1, keepdim=True) if d_model > 1 else std
        hints = {
            "the variance is divided by D - 1, not by D": mended(
                wide, (var1 + eps) ** 0.5
            ),
            "epsilon is added outside the root": mended(wide, std + eps),
            "epsilon is missing": mended(wide, std),
            "the variance has no root": mended(wide, std**2 + eps),
        }  # fmt: skip
        weights = [ours.gain, ours.bias]
        ours.zero_grad()
        for w in same:
            w.grad = None
        expect_near_both_ways(ours, torchs, x, weights, same, hints)


def rms_norm_equals_torch(
    part: Part,
    shape: tuple[int, ...] = (3, 4),
    d_model: int = 8,
    eps: float = EPS,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Output and gradients are those of PyTorch, for large vectors and small ones."""
    ours = part(d_model, eps=eps).to(dtype)
    random_weights(ours)
    same = [ours.gain.detach().double().requires_grad_()]

    def torchs(x: Tensor) -> Tensor:
        return F.rms_norm(x, (d_model,), *same, eps=eps)

    for scale in (1.0, 0.01):
        x = (scale * (1 + 2 * random(*shape, d_model))).to(dtype)
        wide, gain = x.double(), same[0].detach()
        centred = wide - wide.mean(-1, keepdim=True)
        root = wide.square().mean(-1, keepdim=True).sqrt()
        hints = {
            "the mean is taken off, as in a LayerNorm": F.rms_norm(
                centred, (d_model,), gain, eps
            ),
            "epsilon is added outside the root": wide / (root + eps) * gain,
            "epsilon is missing": wide / root * gain,
        }
        ours.zero_grad()
        same[0].grad = None
        expect_near_both_ways(ours, torchs, x, [ours.gain], same, hints)


def has_a_gain_and_a_bias(part: Part) -> None:
    """The weights have the names that files use; they begin as ones and zeros."""
    norm = part(6)
    expect_weights(norm, gain=(6,), bias=(6,))
    expect_near(norm.gain.detach(), torch.ones(6), "the first gain")
    expect_near(norm.bias.detach(), torch.zeros(6), "the first bias")


def has_a_gain(part: Part) -> None:
    """The weight has the name that files use; it begins as ones."""
    norm = part(6)
    expect_weights(norm, gain=(6,))
    expect_near(norm.gain.detach(), torch.ones(6), "the first gain")


def normalises_each_vector_on_its_own(part: Part) -> None:
    """What stands in one vector changes no other one."""
    norm, x = part(8), random(2, 5, 8)
    changed = x.clone()
    changed[:, 2] = 3 * random(2, 8, seed=1)
    others = [0, 1, 3, 4]
    what = "a vector beside one that was changed"
    expect_near(norm(changed)[:, others], norm(x)[:, others], what)


def layer_norm_in_bfloat16(part: Part) -> None:
    """Numbers in half precision give such numbers, near the exact ones."""
    layer_norm_equals_torch(part, d_model=16, dtype=torch.bfloat16)


def rms_norm_in_bfloat16(part: Part) -> None:
    """Numbers in half precision give such numbers, near the exact ones."""
    rms_norm_equals_torch(part, d_model=16, dtype=torch.bfloat16)


def leaves_its_input_as_it_is(part: Part) -> None:
    """The input is not changed in place."""
    expect_unchanged(part(8), random(2, 5, 8))


def layer_norm_takes_another_epsilon(part: Part) -> None:
    """An epsilon that is given is used; a part that takes none passes."""
    try:
        layer_norm_equals_torch(part, eps=0.1)
    except Unknown:
        pass


def rms_norm_takes_another_epsilon(part: Part) -> None:
    """An epsilon that is given is used; a part that takes none passes."""
    try:
        rms_norm_equals_torch(part, eps=0.1)
    except Unknown:
        pass


LAYER_NORM = (
    has_a_gain_and_a_bias,
    normalises_each_vector_on_its_own,
    layer_norm_equals_torch,
    layer_norm_takes_another_epsilon,
    leaves_its_input_as_it_is,
    layer_norm_in_bfloat16,
)
RMS_NORM = (
    has_a_gain,
    normalises_each_vector_on_its_own,
    rms_norm_equals_torch,
    rms_norm_takes_another_epsilon,
    leaves_its_input_as_it_is,
    rms_norm_in_bfloat16,
)
