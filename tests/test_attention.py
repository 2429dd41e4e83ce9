"""Attention equals PyTorch's, does not see the future, and never gives NaN."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lib.attention import MultiHeadAttention, causal_mask, scaled_dot_product_attention


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 8))
def test_equals_torch_on_random_shapes(batch, heads, length, d_head):
    q, k, v = (random(batch, heads, length, d_head, seed=i) for i in range(3))
    ours, _ = scaled_dot_product_attention(q, k, v, causal_mask(length))
    torchs = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(ours, torchs, atol=1e-6, rtol=1e-5)
    without_mask, _ = scaled_dot_product_attention(q, k, v)
    torchs = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(without_mask, torchs, atol=1e-6, rtol=1e-5)


def test_weights_are_distributions_over_the_past():
    q, k, v = (random(2, 5, 4, seed=i) for i in range(3))
    _, weights = scaled_dot_product_attention(q, k, v, causal_mask(5))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5))
    assert (weights.triu(diagonal=1) == 0).all()
    assert (weights.tril() > 0).sum() == 2 * 15


def test_a_row_that_may_look_nowhere_gives_zeros():
    q, k, v = (random(3, 4, seed=i).requires_grad_() for i in range(3))
    mask = torch.tensor([[True, False, False], [False] * 3, [True] * 3])
    output, weights = scaled_dot_product_attention(q, k, v, mask)
    assert (output[1] == 0).all() and (weights[1] == 0).all()
    assert output.isfinite().all()


def test_multi_head_equals_torch_with_its_weights():
    ours = MultiHeadAttention(d_model=12, n_heads=3)
    torchs = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        nn.init.normal_(torchs.in_proj_bias)
        projections = (ours.q_proj, ours.k_proj, ours.v_proj)
        weights, biases = torchs.in_proj_weight.chunk(3), torchs.in_proj_bias.chunk(3)
        for projection, weight, bias in zip(projections, weights, biases):
            projection.weight.copy_(weight)
            projection.bias.copy_(bias)
    ours.out_proj.load_state_dict(torchs.out_proj.state_dict())
    x, mask = random(2, 7, 12), causal_mask(7)
    output, maps = ours(x, mask)
    expected, expected_maps = torchs(
        x, x, x, attn_mask=~mask, average_attn_weights=False
    )
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(maps, expected_maps, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("n_heads", [0, -1, 5, 24])
def test_heads_that_do_not_divide_the_width(n_heads):
    with pytest.raises(ValueError, match=f"n_heads={n_heads} .* d_model=12"):
        MultiHeadAttention(d_model=12, n_heads=n_heads)


def test_queries_and_keys_of_different_size():
    with pytest.raises(ValueError, match="q has d_head=4 but k has d_head=5"):
        scaled_dot_product_attention(random(3, 4), random(3, 5), random(3, 5))


@pytest.mark.parametrize("length", [0, -2])
def test_a_mask_needs_a_length(length):
    with pytest.raises(ValueError, match=f"length={length}"):
        causal_mask(length)
