"""Attention equals PyTorch's, forward and backward, with any mask; it does not see
the future or the padding, never gives NaN, and refuses what does not fit.
"""

import re

import pytest
import torch
from against_torch import (
    assert_gradient_near,
    assert_gradients_near,
    assert_near,
    attention_by_torchs_names,
    both_types,
    few,
    gradients,
    random,
    random_weights,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lib.attention import (
    MultiHeadAttention,
    attention_weights,
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
)

small, length = st.integers(1, 3), st.integers(1, 7)
mask_names = st.sampled_from(["none", "causal", "padding", "both"])
dtypes = st.sampled_from(both_types)
PAD = -1


def padded_ids(batch: int, length: int) -> Tensor:
    """Row b begins with at least one token and ends with up to b + 1 pads."""
    ids = torch.zeros(batch, length, dtype=torch.long)
    for b in range(batch):
        ids[b, max(1, length - 1 - b) :] = PAD
    return ids


def make_mask(name: str, batch: int, n_queries: int, n_keys: int) -> Tensor | None:
    causal = causal_mask(max(n_queries, n_keys))[:n_queries, :n_keys]
    padding = padding_mask(padded_ids(batch, n_keys), PAD)
    masks = {"none": None, "causal": causal, "padding": padding}
    return causal & padding if name == "both" else masks[name]


def with_gradients(attend, *inputs: Tensor) -> tuple[Tensor, ...]:
    """What `attend` gives, and how it changes with each input."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    output = attend(*leaves)
    signs = random(*output.shape, seed=9).sign().to(output.dtype)
    return output.detach(), *torch.autograd.grad(output, leaves, signs)


# The function


def test_a_causal_mask_lets_each_position_see_itself_and_the_past():
    expected = [[True, False, False], [True, True, False], [True, True, True]]
    assert causal_mask(3).tolist() == expected


def test_a_padding_mask_hides_what_is_filled_up():
    mask = padding_mask(torch.tensor([[3, 0, 7], [5, 7, 7]]), pad_id=7)
    assert mask.tolist() == [[[[True, True, False]]], [[[True, False, False]]]]


@few
@given(small, small, length, length, small, mask_names, st.booleans(), dtypes)
def test_equals_torch(batch, heads, n_queries, n_keys, d_head, name, weights, dtype):
    q = random(batch, heads, n_queries, d_head, seed=1).to(dtype)
    k = random(batch, heads, n_keys, d_head, seed=2).to(dtype)
    v = random(batch, heads, n_keys, d_head + 1, seed=3).to(dtype)
    mask = make_mask(name, batch, n_queries, n_keys)
    ours = with_gradients(
        lambda *qkv: scaled_dot_product_attention(*qkv, mask, weights)[0], q, k, v
    )
    torchs = with_gradients(
        lambda *qkv: F.scaled_dot_product_attention(*qkv, attn_mask=mask),
        *(x.double() for x in (q, k, v)),
    )
    assert {x.dtype for x in ours} == {dtype}
    assert_near(ours[0], torchs[0])
    for our_gradient, torchs_gradient in zip(ours[1:], torchs[1:]):
        assert_gradient_near(our_gradient, torchs_gradient)


@few
@given(small, small, length, length, small, mask_names)
def test_by_hand_and_fused_agree(batch, heads, n_queries, n_keys, d_head, name):
    q = random(batch, heads, n_queries, d_head, seed=1)
    k, v = (random(batch, heads, n_keys, d_head, seed=i) for i in (2, 3))
    mask = make_mask(name, batch, n_queries, n_keys)
    fused, _ = scaled_dot_product_attention(q, k, v, mask)
    by_hand, weights = scaled_dot_product_attention(q, k, v, mask, need_weights=True)
    assert_near(by_hand, fused)
    assert torch.equal(attention_weights(q, k, mask), weights)
    assert_near(weights @ v, fused)
    assert_near(weights.sum(-1), torch.ones(batch, heads, n_queries))
    if mask is not None:
        assert (weights.masked_select(~mask) == 0).all()


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("dtype", both_types)
def test_which_path_runs(monkeypatch, dtype, learns, need_weights):
    calls, fused = [], F.scaled_dot_product_attention

    def spy(*args, **kwargs):
        calls.append(args)
        return fused(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    q = random(2, 3, 4).to(dtype).requires_grad_(learns)
    scaled_dot_product_attention(q, q, q, None, need_weights)
    assert len(calls) == (not need_weights)
    # Its backward pass is slow in bfloat16 on processors.
    given = [x for call in calls for x in call if x is not None]
    assert all(x.dtype == torch.float32 for x in given)


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("dtype", both_types)
def test_weights_come_only_when_they_are_needed(dtype, learns):
    q = random(2, 3, 4).to(dtype).requires_grad_(learns)
    assert scaled_dot_product_attention(q, q, q, need_weights=True)[1] is not None
    assert scaled_dot_product_attention(q, q, q)[1] is None


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("dtype", both_types)
def test_a_row_that_may_look_nowhere_gives_zeros(dtype, learns, need_weights):
    q, k, v = (random(2, 3, 4, seed=i).to(dtype) for i in range(3))
    q, k, v = (x.requires_grad_(learns) for x in (q, k, v))
    mask = torch.tensor([[True, False, False], [False] * 3, [True] * 3])
    output, weights = scaled_dot_product_attention(q, k, v, mask, need_weights)
    assert (output[:, 1] == 0).all() and output[:, [0, 2]].all()
    if need_weights:
        assert (weights[:, 1] == 0).all()
        assert_near(weights[:, [0, 2]].sum(-1), torch.ones(2, 2))
    if learns:
        output.sum().backward()
        assert all(x.grad.isfinite().all() for x in (q, k, v))
        assert (q.grad[:, 1] == 0).all()


def test_a_batch_without_any_token_gives_zeros():
    x = random(2, 3, 4).requires_grad_()
    mask = padding_mask(torch.tensor([[PAD] * 3, [0, 0, PAD]]), PAD)
    for need_weights in (False, True):
        attention = MultiHeadAttention(4, 2, bias=False)
        output, _ = attention(x, mask, need_weights=need_weights)
        assert (output[0] == 0).all() and output[1].any()
        output.sum().backward()
        assert all(p.grad.isfinite().all() for p in (x, *attention.parameters()))


# The layer


def run_torchs_layer(layer, x: Tensor, memory: Tensor, mask_name: str):
    """Give torch the masks of `make_mask` in its own form: True hides."""
    batch, n_queries, n_keys = len(x), x.size(1), memory.size(1)
    causal = padding = None
    if mask_name in ("causal", "both"):
        causal = ~make_mask("causal", batch, n_queries, n_keys)
    if mask_name in ("padding", "both"):
        padding = padded_ids(batch, n_keys) == PAD
    return layer(x, memory, memory, padding, True, causal, average_attn_weights=False)


def layer_and_torchs(d_model: int, n_heads: int, bias: bool, dtype: torch.dtype):
    """Two layers with the same weights, torch's in float64."""
    ours = MultiHeadAttention(d_model, n_heads, bias=bias).to(dtype)
    random_weights(ours)
    torchs = nn.MultiheadAttention(d_model, n_heads, bias=bias, batch_first=True)
    torchs.double().load_state_dict(attention_by_torchs_names(ours))
    return ours, torchs


@few
@given(small, small, small, length, mask_names, st.booleans(), st.booleans(), dtypes)
def test_layer_equals_torch(b, h, d_head, t, name, bias, need_weights, dtype):
    ours, torchs = layer_and_torchs(h * d_head, h, bias, dtype)
    x = random(b, t, h * d_head).to(dtype)
    same_x, x = x.double().requires_grad_(), x.requires_grad_()
    output, weights = ours(x, make_mask(name, b, t, t), need_weights=need_weights)
    expected, expected_weights = run_torchs_layer(torchs, same_x, same_x, name)
    assert_near(output, expected)
    if need_weights:
        assert_near(weights, expected_weights)
    output.backward(torch.ones_like(output))
    expected.backward(torch.ones_like(expected))
    assert_gradient_near(x.grad, same_x.grad)
    assert_gradients_near(attention_by_torchs_names(ours, gradients), torchs)


@few
@given(small, small, small, length, length, mask_names, st.booleans(), dtypes)
def test_looking_at_a_memory_equals_torch(b, h, d_head, t, n_keys, name, bias, dtype):
    ours, torchs = layer_and_torchs(h * d_head, h, bias, dtype)
    x, memory = random(b, t, h * d_head), random(b, n_keys, h * d_head, seed=1)
    inputs = [y.to(dtype).requires_grad_() for y in (x, memory)]
    same_inputs = [y.detach().double().requires_grad_() for y in inputs]
    output, weights = ours(
        inputs[0], make_mask(name, b, t, n_keys), memory=inputs[1], need_weights=True
    )
    expected, expected_weights = run_torchs_layer(torchs, *same_inputs, name)
    assert_near(output, expected)
    assert_near(weights, expected_weights)
    output.backward(torch.ones_like(output))
    expected.backward(torch.ones_like(expected))
    for y, same_y in zip(inputs, same_inputs):
        assert_gradient_near(y.grad, same_y.grad)
    assert_gradients_near(attention_by_torchs_names(ours, gradients), torchs)


@few
@given(small, st.integers(2, 7), st.data(), st.booleans())
def test_the_future_changes_nothing(batch, n, data, need_weights):
    t = data.draw(st.integers(1, n - 1))
    attention, x, mask = MultiHeadAttention(6, 2), random(batch, n, 6), causal_mask(n)
    changed = x.clone()
    changed[:, t:] += random(batch, n - t, 6, seed=1)
    before, _ = attention(x, mask, need_weights=need_weights)
    after, _ = attention(changed, mask, need_weights=need_weights)
    assert torch.equal(before[:, :t], after[:, :t])
    assert (before != after).any(-1)[:, t:].all()


@few
@given(small, st.integers(1, 6), st.integers(1, 7), st.booleans())
def test_new_queries_see_all_keys_up_to_their_own(batch, n_old, n_new, need_weights):
    """With a cache there are more keys than queries; the last ones belong together."""
    q, k, v = (random(batch, 2, n_old + n_new, 4, seed=seed) for seed in range(3))
    whole, _ = scaled_dot_product_attention(q, k, v, causal_mask(n_old + n_new))
    new = q[:, :, n_old:]
    ours, _ = scaled_dot_product_attention(
        new, k, v, None, need_weights, is_causal=True
    )
    assert_near(ours, whole[:, :, n_old:].double(), atol=1e-5)


@few
@given(small, length, st.integers(1, 5), st.booleans())
def test_padding_changes_nothing(batch, n, more, need_weights):
    attention, x = MultiHeadAttention(6, 2), random(batch, n, 6)
    ids = padded_ids(batch, n)
    real = ids != PAD

    def real_outputs(x, ids):
        output, _ = attention(x, padding_mask(ids, PAD), need_weights=need_weights)
        return output[:, :n][real]

    expected = real_outputs(x, ids)
    other_content = torch.where(real.unsqueeze(-1), x, random(batch, n, 6, seed=1))
    assert_near(real_outputs(other_content, ids), expected)
    longer = torch.cat([x, random(batch, more, 6, seed=2)], dim=1)
    longer_ids = F.pad(ids, (0, more), value=PAD)
    assert_near(real_outputs(longer, longer_ids), expected)


def test_order_matters_only_through_the_mask():
    attention, x = MultiHeadAttention(6, 2), random(2, 5, 6)
    turned = attention(x.flip(1))[0].flip(1)
    assert_near(turned, attention(x)[0])
    causal = causal_mask(5)
    assert not torch.allclose(attention(x.flip(1), causal)[0], attention(x, causal)[0])


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_fewer_key_and_value_heads_equal_torch(n_kv_heads):
    attention, x = MultiHeadAttention(12, 4, n_kv_heads=n_kv_heads), random(2, 5, 12)
    q, k, v = (
        projection(x).unflatten(-1, (-1, 3)).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    expected = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    for need_weights in (False, True):
        output, _ = attention(x, causal_mask(5), need_weights=need_weights)
        assert_near(output, expected)


# What does not fit


@pytest.mark.parametrize("n_heads", [5, 24])
def test_heads_that_do_not_divide_the_width(n_heads):
    with pytest.raises(ValueError, match=f"n_heads={n_heads} .* d_model=12"):
        MultiHeadAttention(d_model=12, n_heads=n_heads)


@pytest.mark.parametrize("name", ["d_model", "n_heads"])
@pytest.mark.parametrize("size", [0, -2])
def test_sizes_below_one(name, size):
    with pytest.raises(ValueError, match=f"{name}={size} must be at least 1"):
        MultiHeadAttention(**{"d_model": 4, "n_heads": 2, name: size})


def test_vectors_of_another_width():
    attention = MultiHeadAttention(6, 2)
    with pytest.raises(ValueError, match=r"x has shape \(2, 3, 5\).* d_model=6"):
        attention(random(2, 3, 5))
    with pytest.raises(ValueError, match=r"memory has shape \(2, 3, 7\).* d_model=6"):
        attention(random(2, 3, 6), memory=random(2, 3, 7))


@pytest.mark.parametrize("n_heads", [1, 2])
def test_a_sequence_without_a_batch(n_heads):
    with pytest.raises(ValueError, match=r"\(5, 6\)"):
        MultiHeadAttention(6, n_heads)(random(5, 6))


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_memory_of_another_batch(need_weights):
    x, memory = random(2, 3, 6), random(4, 3, 6)
    with pytest.raises(ValueError, match=r"\b2\b.*\b4\b"):
        MultiHeadAttention(6, 2)(x, memory=memory, need_weights=need_weights)


def test_queries_keys_and_values_that_do_not_fit():
    with pytest.raises(ValueError, match="q has d_head=4 but k has d_head=5"):
        scaled_dot_product_attention(random(3, 4), random(3, 5), random(3, 5))
    with pytest.raises(ValueError, match="k has 3 positions but v has 2"):
        scaled_dot_product_attention(random(3, 4), random(3, 4), random(2, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.long])
def test_a_mask_that_is_not_bool(dtype):
    x = random(2, 3, 4)
    with pytest.raises(TypeError, match=f"mask has dtype {dtype}.* torch.bool"):
        scaled_dot_product_attention(x, x, x, torch.ones(3, 3, dtype=dtype))


# Queries are (2, 3, 4, 6) and keys (2, 3, 5, 6): scores are (2, 3, 4, 5).
wrong_masks = {
    "padding (B, T)": (2, 5),
    "one per text (B, T, T)": (2, 4, 5),
    "a column": (4, 1),
    "a row": (1, 5),
    "one dimension": (5,),
    "none": (),
    "queries and keys swapped": (5, 4),
    "another batch": (4, 1, 1, 5),
    "another number of heads": (2, 2, 4, 5),
    "a 1 for the keys": (2, 1, 4, 1),
    "one dimension too many": (1, 2, 1, 1, 5),
}


@pytest.mark.parametrize("shape", wrong_masks.values(), ids=wrong_masks)
@pytest.mark.parametrize("need_weights", [False, True])
def test_a_mask_that_would_be_broadcast_the_wrong_way(shape, need_weights):
    q, k = random(2, 3, 4, 6), random(2, 3, 5, 6)
    mask = torch.ones(shape, dtype=torch.bool)
    with pytest.raises(ValueError, match=re.escape(f"mask has shape {shape}")) as error:
        scaled_dot_product_attention(q, k, k, mask, need_weights)
    assert "(4, 5)" in str(error.value) and "(2, 3, 4, 5)" in str(error.value)


@pytest.mark.parametrize("shape", [(4, 5), (1, 1, 4, 5), (2, 1, 1, 5), (2, 3, 4, 5)])
def test_a_mask_that_fits(shape):
    q, k = random(2, 3, 4, 6), random(2, 3, 5, 6)
    mask = torch.ones(shape, dtype=torch.bool)
    mask[..., -1] = False
    masked, _ = scaled_dot_product_attention(q, k, k, mask)
    shorter, _ = scaled_dot_product_attention(q, k[:, :, :-1], k[:, :, :-1])
    assert_near(masked, shorter)


@pytest.mark.parametrize("length", [0, -2])
def test_a_causal_mask_needs_a_length(length):
    with pytest.raises(ValueError, match=f"length={length}"):
        causal_mask(length)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 1)])
def test_a_padding_mask_needs_a_batch_of_texts(shape):
    with pytest.raises(ValueError, match=re.escape(f"ids has shape {shape}")):
        padding_mask(torch.zeros(shape, dtype=torch.long), PAD)
