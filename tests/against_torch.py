"""Held against torch: random numbers, how near is equal, our weights in its layers.

The reference computes in float64, so a difference is an error of ours alone.
"""

import torch
from hypothesis import settings
from torch import Tensor, nn

from lib.own.tests.attention import attention_by_torchs_names
from lib.own.tests.block import block_by_torchs_names
from lib.own.tests.near import random, random_weights, size

__all__ = [
    "assert_gradient_near",
    "assert_gradients_near",
    "assert_near",
    "attention_by_torchs_names",
    "block_by_torchs_names",
    "both_types",
    "few",
    "gradients",
    "random",
    "random_weights",
    "size",
    "values",
]

few = settings(derandomize=True, max_examples=20, deadline=None)
both_types = [torch.float32, torch.bfloat16]


def assert_near(
    ours: Tensor, torchs: Tensor, atol: float = 1e-6, average: float = 0.02
) -> None:
    """Each number within `atol` and its last digits; bfloat16 only on average."""
    if ours.dtype == torch.bfloat16:
        assert ours.shape == torchs.shape
        assert size(ours.double() - torchs) <= average * (1 + size(torchs))
    else:
        torch.testing.assert_close(ours, torchs.to(ours.dtype), atol=atol, rtol=1e-5)


def assert_gradient_near(ours: Tensor, torchs: Tensor) -> None:
    """Gradients are sums over all positions, so more of the last digits are lost."""
    assert_near(ours, torchs, atol=1e-5, average=0.1)


def assert_gradients_near(ours: dict[str, Tensor], torchs: nn.Module) -> None:
    """Our gradients by torch's names against the ones of its layer."""
    expected = {name: p.grad for name, p in torchs.named_parameters()}
    assert ours.keys() == expected.keys()
    for name, gradient in ours.items():
        assert_gradient_near(gradient, expected[name])


def values(parameter: nn.Parameter) -> Tensor:
    return parameter.data


def gradients(parameter: nn.Parameter) -> Tensor:
    return parameter.grad
