"""The parts of a block next to attention equal torch's: feed-forward and norms."""

import pytest
import torch
from against_torch import (
    assert_near,
    both_types,
    few,
    random,
    random_weights,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lib.ffn import FeedForward, SwiGLU
from lib.norm import LayerNorm, RMSNorm
from lib.own.tests.ffn import (
    feed_forward_equals_torch,
    keeps_positions_apart,
    swiglu_equals_its_formula,
)
from lib.own.tests.norm import layer_norm_equals_torch, rms_norm_equals_torch

shapes = st.lists(st.integers(1, 4), max_size=3)  # of what stands before the width
sizes, dtypes = st.integers(1, 9), st.sampled_from(both_types)
feed_forwards = pytest.mark.parametrize("feed_forward", [FeedForward, SwiGLU])


def n_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Feed-forward


@few
@given(shapes, sizes, sizes, st.sampled_from([None, F.gelu, F.relu]), dtypes)
def test_feed_forward_equals_torch(shape, d_model, d_ff, activation, dtype):
    feed_forward_equals_torch(FeedForward, shape, d_model, d_ff, activation, dtype)


@few
@given(shapes, sizes, sizes, dtypes)
def test_swiglu_equals_its_formula(shape, d_model, d_ff, dtype):
    swiglu_equals_its_formula(SwiGLU, shape, d_model, d_ff, dtype)


@feed_forwards
def test_positions_are_kept_apart(feed_forward):
    keeps_positions_apart(feed_forward)


def test_parameter_counts():
    assert n_parameters(FeedForward(6, 24)) == 6 * 24 + 24 + 24 * 6 + 6
    assert n_parameters(SwiGLU(6, 24)) == 3 * 6 * 24
    assert n_parameters(LayerNorm(6)) == 2 * 6


@pytest.mark.parametrize("d_model, d_ff", [(6, 24), (64, 192), (5, 3)])
def test_two_thirds_of_the_middle_make_swiglu_as_large(d_model, d_ff):
    biases = d_ff + d_model
    without_biases = n_parameters(FeedForward(d_model, d_ff)) - biases
    assert n_parameters(SwiGLU(d_model, 2 * d_ff // 3)) == without_biases


@feed_forwards
def test_feed_forward_of_another_width(feed_forward):
    with pytest.raises(ValueError, match=r"x has shape \(2, 3, 5\).* d_model=6"):
        feed_forward(6, 24)(random(2, 3, 5))


@feed_forwards
@pytest.mark.parametrize("name", ["d_model", "d_ff"])
@pytest.mark.parametrize("size", [0, -2])
def test_feed_forward_sizes_below_one(feed_forward, name, size):
    with pytest.raises(ValueError, match=f"{name}={size} must be at least 1"):
        feed_forward(**{"d_model": 4, "d_ff": 4, name: size})


# LayerNorm


@few
@given(shapes, st.integers(4, 12), st.sampled_from([1e-5, 0.1]), dtypes)
def test_layer_norm_equals_torch(shape, d_model, eps, dtype):
    layer_norm_equals_torch(LayerNorm, shape, d_model, eps, dtype)


def test_layer_norm_starts_without_gain_and_bias():
    x = 3 * random(4, 50) + 7
    output = LayerNorm(50)(x)
    assert_near(output.mean(-1), torch.zeros(4))
    assert_near(output.var(-1, unbiased=False), torch.ones(4), atol=1e-5)


@pytest.mark.parametrize("offset", [-1000, 1000, 30_000])
def test_layer_norm_far_from_zero(offset):
    x = offset + random(20, 64)
    expected = F.layer_norm(x.double(), (64,))
    rounding = abs(offset) * 2**-23  # one step between float32 numbers there
    assert_near(LayerNorm(64)(x), expected, atol=2 * rounding)


@few
@given(sizes, st.integers(-1000, 1000))
def test_layer_norm_of_equal_numbers_is_its_bias(d_model, number):
    norm = LayerNorm(d_model)
    random_weights(norm)
    output = norm(torch.full((2, d_model), float(number)))
    assert torch.equal(output, norm.bias.expand(2, -1))


def test_layer_norm_of_another_width():
    with pytest.raises(ValueError, match=r"x has shape \(2, 1\).* d_model=4"):
        LayerNorm(4)(random(2, 1))


@pytest.mark.parametrize("size", [0, -2])
def test_layer_norm_of_a_size_below_one(size):
    with pytest.raises(ValueError, match=f"d_model={size} must be at least 1"):
        LayerNorm(size)


# RMSNorm


@few
@given(shapes, st.integers(1, 12), st.sampled_from([1e-5, 0.1]), dtypes)
def test_rms_norm_equals_torch(shape, d_model, eps, dtype):
    rms_norm_equals_torch(RMSNorm, shape, d_model, eps, dtype)
    ours, x = RMSNorm(d_model, eps).to(dtype), random(*shape, d_model).to(dtype)
    with torch.no_grad():
        assert_near(ours(x), F.rms_norm(x.double(), (d_model,), eps=eps))


def test_rms_norm_starts_without_a_gain_and_keeps_the_mean():
    x = 3 * random(4, 50) + 7
    output = RMSNorm(50)(x)
    assert_near(output.square().mean(-1), torch.ones(4), atol=1e-5)
    assert_near(output / output[:, :1], x / x[:, :1], atol=1e-5)  # nothing was moved
    assert n_parameters(RMSNorm(6)) == 6


def test_rms_norm_of_zeros_is_zero_and_can_be_learned_from():
    x = torch.zeros(2, 6, requires_grad=True)
    output = RMSNorm(6)(x)
    output.sum().backward()
    assert torch.equal(output, torch.zeros(2, 6)) and x.grad.isfinite().all()


def test_rms_norm_of_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match=r"x has shape \(2, 1\).* d_model=4"):
        RMSNorm(4)(random(2, 1))
    with pytest.raises(ValueError, match="d_model=0 must be at least 1"):
        RMSNorm(0)
