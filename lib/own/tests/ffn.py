"""The tests of the feed-forward networks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.own.tests.near import (
    Unknown,
    expect,
    expect_near_both_ways,
    expect_unchanged,
    expect_weights,
    random,
    random_weights,
)

__all__ = [
    "FEED_FORWARD",
    "SWIGLU",
    "feed_forward_equals_torch",
    "swiglu_equals_its_formula",
    "keeps_positions_apart",
]

Part = Callable[..., nn.Module]


def feed_forward_equals_torch(
    part: Part,
    shape: tuple[int, ...] = (2, 5),
    d_model: int = 6,
    d_ff: int = 10,
    activation: Callable[[Tensor], Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Output and gradients are those of two `nn.Linear` with a GELU between them."""
    chosen = [] if activation is None else [activation]  # GELU, if none is chosen
    ours = part(d_model, d_ff, *chosen).to(dtype)
    bend = activation or F.gelu
    random_weights(ours)
    names = ("up.weight", "up.bias", "down.weight", "down.bias")
    weights = [ours.get_parameter(name) for name in names]
    same = [w.detach().double().requires_grad_() for w in weights]

    def torchs(x: Tensor, bend: Callable[[Tensor], Tensor] = bend) -> Tensor:
        return F.linear(bend(F.linear(x, *same[:2])), *same[2:])

    x = random(*shape, d_model).to(dtype)
    with torch.no_grad():
        middle = F.linear(x.double(), *same[:2])
        hints = {
            "nothing bends the numbers in the middle": F.linear(middle, *same[2:]),
            "a ReLU stands where a GELU should": F.linear(middle.relu(), *same[2:]),
            "the numbers are bent after the second layer": bend(
                F.linear(middle, *same[2:])
            ),
        }
    expect_near_both_ways(ours, torchs, x, weights, same, hints)


def swiglu_equals_its_formula(
    part: Part,
    shape: tuple[int, ...] = (2, 5),
    d_model: int = 6,
    d_ff: int = 10,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Output and gradients are those of the formula in PyTorch's functions."""
    ours = part(d_model, d_ff).to(dtype)
    random_weights(ours)
    weights = [ours.gate.weight, ours.up.weight, ours.down.weight]
    same = [w.detach().double().requires_grad_() for w in weights]
    gate, up, down = same

    def formula(x: Tensor) -> Tensor:
        return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T

    x = random(*shape, d_model).to(dtype)
    with torch.no_grad():
        shut, open_ = x.double() @ gate.T, x.double() @ up.T
        hints = {
            "the SiLU stands on `up`, not on `gate`": (shut * F.silu(open_)) @ down.T,
            "the gate is a plain sigmoid": (shut.sigmoid() * open_) @ down.T,
        }
    expect_near_both_ways(ours, formula, x, weights, same, hints)


def feed_forward_has_its_weights(part: Part) -> None:
    """The weights have the names that files use."""
    shapes = {"up__weight": (9, 6), "up__bias": (9,)}
    expect_weights(part(6, 9), **shapes, down__weight=(6, 9), down__bias=(6,))


def swiglu_has_its_weights(part: Part) -> None:
    """The weights have the names that files use, and there are no biases."""
    shapes = {"gate__weight": (9, 6), "up__weight": (9, 6), "down__weight": (6, 9)}
    expect_weights(part(6, 9), **shapes)


def keeps_positions_apart(part: Part) -> None:
    """A position changes its own vector, and no other."""
    ours, x = part(6, 24), random(2, 5, 6)
    for t in range(5):
        changed = x.clone()
        changed[:, t] += 1
        differs = (ours(changed) != ours(x)).any(-1)
        expect(bool(differs[:, t].all()), f"position {t} does not reach its output")
        expect(differs.sum() == 2, f"position {t} changes other positions, too")


def leaves_its_input_as_it_is(part: Part) -> None:
    """The input is not changed in place."""
    expect_unchanged(part(6, 9), random(2, 5, 6))


def takes_another_activation(part: Part) -> None:
    """An activation that is given is used; a part that takes none passes."""
    try:
        feed_forward_equals_torch(part, activation=F.relu)
    except Unknown:
        pass


def feed_forward_in_bfloat16(part: Part) -> None:
    """Numbers in half precision give such numbers, near the exact ones."""
    feed_forward_equals_torch(part, dtype=torch.bfloat16)


def swiglu_in_bfloat16(part: Part) -> None:
    """Numbers in half precision give such numbers, near the exact ones."""
    swiglu_equals_its_formula(part, dtype=torch.bfloat16)


FEED_FORWARD = (
    feed_forward_has_its_weights,
    keeps_positions_apart,
    feed_forward_equals_torch,
    takes_another_activation,
    leaves_its_input_as_it_is,
    feed_forward_in_bfloat16,
)
SWIGLU = (
    swiglu_has_its_weights,
    keeps_positions_apart,
    swiglu_equals_its_formula,
    leaves_its_input_as_it_is,
    swiglu_in_bfloat16,
)
