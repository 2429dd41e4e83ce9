"""The tests of LoRA's product of two thin matrices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.own.tests.near import (
    expect,
    expect_near,
    expect_near_both_ways,
    expect_unchanged,
    expect_weights,
    random,
)

__all__ = ["LORA"]

Part = Callable[..., nn.Module]
SIZES = {"d_in": 6, "d_out": 4, "rank": 3, "alpha": 5.0}


def _shaken(part: Part, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return an adapter that does something."""
    adapter = part(**SIZES).to(dtype)
    for seed, weight in enumerate((adapter.a, adapter.b)):
        weight.data.copy_(random(*weight.shape, seed=seed))
    return adapter


def has_two_matrices(part: Part) -> None:
    """The weights have the names that files use: A ``(r, d_in)``, B ``(d_out, r)``."""
    adapter = part(**SIZES)
    expect_weights(adapter, a=(3, 6), b=(4, 3))
    for name in ("alpha", "dropout"):
        expect(hasattr(adapter, name), f"there is no `{name}`, which a file records")


def adds_nothing_at_first(part: Part) -> None:
    """B begins as zeros and A does not, so that both can learn."""
    adapter = part(**SIZES)
    expect(not adapter(random(5, 6)).any(), "a new adapter changes the output")
    expect(bool(adapter.a.any()), "A begins as zeros: then B has no gradient")
    expect(not adapter.b.any(), "B does not begin as zeros")


def equals_its_formula(part: Part, dtype: torch.dtype = torch.float32) -> None:
    """Output and gradients are those of alpha / r times B A x."""
    adapter = _shaken(part, dtype)
    same = [w.detach().double().requires_grad_() for w in (adapter.a, adapter.b)]
    x, scale = random(2, 5, 6).to(dtype), 5.0 / 3

    def formula(x: Tensor) -> Tensor:
        return scale * (x @ same[0].T @ same[1].T)

    with torch.no_grad():
        plain = formula(x.double()) / scale
        hints = {
            "it is multiplied by alpha, not by alpha / r": 5.0 * plain,
            "it is not multiplied by alpha / r": plain,
            "it is divided by r alone": plain / 3,
        }
    weights = [adapter.a, adapter.b]
    expect_near_both_ways(adapter, formula, x, weights, same, hints)


def gives_its_product(part: Part) -> None:
    """`product` is the same as one matrix, for a merge."""
    adapter = _shaken(part)
    expect(hasattr(adapter, "product"), "there is no method `product`, for a merge")
    expected = 5.0 / 3 * (adapter.b.double() @ adapter.a.double()).detach()
    expect_near(adapter.product().detach(), expected, "the product")


def leaves_its_input_as_it_is(part: Part) -> None:
    """The input is not changed in place."""
    expect_unchanged(_shaken(part), random(2, 5, 6))


def in_bfloat16(part: Part) -> None:
    """Numbers in half precision give such numbers, near the exact ones."""
    equals_its_formula(part, torch.bfloat16)


LORA = (
    has_two_matrices,
    adds_nothing_at_first,
    equals_its_formula,
    gives_its_product,
    leaves_its_input_as_it_is,
    in_bfloat16,
)
