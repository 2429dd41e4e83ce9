"""The attention of GPT equals plain multi-head attention and torch's grouped one; with
a cache it gives the same numbers as without, however the input is cut.
"""

import pytest
import torch
from against_torch import assert_near, few, random, random_weights
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from lib.attention import KVCache, MultiHeadAttention, causal_mask
from lib.position import Rotary

small, length = st.integers(1, 3), st.integers(1, 7)


def make(d_model=12, n_heads=6, n_kv_heads=None, rotary=None, bias=True):
    attention = MultiHeadAttention(
        d_model, n_heads, bias=bias, n_kv_heads=n_kv_heads, rotary=rotary
    )
    random_weights(attention)
    return attention


def heads(x, projection, d_head):
    """The vectors of each head, ``(B, H, T, Dh)``."""
    return projection(x).unflatten(-1, (-1, d_head)).transpose(1, 2)


@few
@given(small, length, small, small, st.booleans(), st.booleans())
def test_with_nothing_switched_on_it_is_multi_head_attention(
    batch, t, n_heads, d_head, bias, with_mask
):
    d_model = n_heads * d_head
    ours = make(d_model, n_heads, bias=bias)
    plain = MultiHeadAttention(d_model, n_heads, bias=bias)
    plain.load_state_dict(ours.state_dict())
    x, mask = random(batch, t, d_model), causal_mask(t) if with_mask else None
    for need_weights in (False, True):
        output, weights = ours(x, mask, need_weights=need_weights)
        expected = plain(x, mask, need_weights=need_weights)
        assert torch.equal(output, expected[0])
        assert (weights is None) == (not need_weights)
        assert weights is None or torch.equal(weights, expected[1])


@few
@given(small, length, st.sampled_from([1, 2, 3, 6]))
def test_grouped_heads_equal_full_heads_with_repeated_weights(batch, t, n_kv_heads):
    grouped, full = make(n_kv_heads=n_kv_heads), MultiHeadAttention(12, 6)
    for name, weight in grouped.named_parameters():
        if name.startswith(("k_proj", "v_proj")):
            by_head = weight.unflatten(0, (n_kv_heads, 2))  # d_head = 2
            weight = by_head.repeat_interleave(6 // n_kv_heads, 0).flatten(0, 1)
        full.get_parameter(name).data.copy_(weight)
    x = random(batch, t, 12)
    output, weights = grouped(x, causal_mask(t), need_weights=True)
    expected, same = full(x, causal_mask(t), need_weights=True)
    assert_near(output, expected)
    assert_near(weights, same)


@few
@given(small, length, st.sampled_from([1, 2, 3, 6]), st.booleans())
def test_grouped_heads_equal_torchs(batch, t, n_kv_heads, turned):
    rotary = Rotary(2, 7) if turned else (lambda x, start=0: x)
    ours = make(n_kv_heads=n_kv_heads, rotary=rotary if turned else None)
    x = random(batch, t, 12)
    q = rotary(heads(x, ours.q_proj, 2))
    k, v = rotary(heads(x, ours.k_proj, 2)), heads(x, ours.v_proj, 2)
    assert k.size(1) == n_kv_heads
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    expected = ours.out_proj(mixed.transpose(1, 2).flatten(2))
    assert_near(ours(x, causal_mask(t))[0], expected)


def test_fewer_heads_have_fewer_weights():
    for n_kv_heads, n in ((6, 4 * 156), (2, 2 * 156 + 2 * 52), (1, 2 * 156 + 2 * 26)):
        assert sum(p.numel() for p in make(n_kv_heads=n_kv_heads).parameters()) == n
    assert sum(p.numel() for p in make(rotary=Rotary(2, 9)).parameters()) == 4 * 156


@few
@given(st.integers(1, 6), st.integers(1, 6))
def test_with_rotary_positions_only_the_distance_counts(t, before):
    ours, x = make(rotary=Rotary(2, 12), n_kv_heads=2), random(2, t, 12)
    longer = torch.cat([random(2, before, 12, seed=1), x], dim=1)
    mask = causal_mask(before + t)
    mask[:, :before] = False  # nobody looks at what was put before
    assert_near(ours(longer, mask)[0][:, before:], ours(x, causal_mask(t))[0])


def test_rotary_positions_tell_the_order():
    ours, x = make(rotary=Rotary(2, 12)), random(1, 5, 12)
    swapped = x[:, [1, 0, 2, 3, 4]]
    assert (ours(swapped)[0] - ours(x)[0])[:, 2:].abs().min() > 1e-4
    assert_near(make()(swapped)[0][:, 2:], make()(x)[0][:, 2:])


@few
@given(
    small,
    st.lists(st.integers(1, 4), min_size=1, max_size=6),
    st.sampled_from([1, 2, 6]),
    st.booleans(),
)
def test_with_a_cache_it_is_the_same_in_chunks_of_any_size(batch, chunks, kv, turned):
    t = sum(chunks)
    ours = make(n_kv_heads=kv, rotary=Rotary(2, t) if turned else None)
    x = random(batch, t, 12)
    expected, all_weights = ours(x, causal_mask(t), need_weights=True)
    cache, outputs = KVCache(t), []
    for chunk in x.split(chunks, dim=1):
        start, n = cache.length, chunk.size(1)
        mask = causal_mask(start + n)[start:]
        output, weights = ours(chunk, mask, cache=cache, need_weights=True)
        outputs.append(output)
        assert_near(weights, all_weights[:, :, start : start + n, : start + n])
        assert cache.length == start + n
    assert_near(torch.cat(outputs, dim=1), expected)


def test_a_cache_keeps_what_it_was_given():
    cache, parts = KVCache(5), [random(2, 3, n, 4, seed=n) for n in (2, 1, 2)]
    for part in parts:
        k, v = cache.append(part, -part)
    everything = torch.cat(parts, dim=2)
    assert torch.equal(k, everything) and torch.equal(v, -everything)


def test_a_cache_keeps_the_number_format():
    k = random(1, 1, 2, 4).bfloat16()
    assert {w.dtype for w in KVCache(3).append(k, k)} == {torch.bfloat16}


def test_a_full_cache_takes_no_more_and_says_so():
    cache, k = KVCache(5), random(1, 2, 3, 4)
    cache.append(k, k)
    with pytest.raises(ValueError, match="length=6 is more than .*context_length=5"):
        cache.append(k, k)
    assert cache.length == 3
    kept, _ = cache.append(k[:, :, :2], k[:, :, :2])
    assert torch.equal(kept, torch.cat([k, k[:, :, :2]], dim=2))


@pytest.mark.parametrize(
    "other, message",
    [
        (random(1, 2, 1, 4), r"\(1, 2, 1, 4\).* must have shape \(2, 2, 1, 4\)"),
        (random(2, 1, 1, 4), r"\(2, 1, 1, 4\).* must have shape \(2, 2, 1, 4\)"),
        (random(2, 2, 1, 1), r"\(2, 2, 1, 1\).* must have shape \(2, 2, 1, 4\)"),
        (random(2, 2, 1, 4).bfloat16(), "torch.bfloat16 on cpu; .*float32 on cpu"),
        (random(2, 2, 1, 4).to("meta"), "torch.float32 on meta; .*float32 on cpu"),
    ],
)
def test_a_cache_of_other_rows_does_not_answer(other, message):
    cache, k = KVCache(5), random(2, 2, 3, 4)
    cache.append(k, k)
    for pair in ((other, k[:, :, :1]), (k[:, :, :1], other)):
        with pytest.raises(ValueError, match=message):
            cache.append(*pair)
        assert cache.length == 3


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_below_one(size):
    with pytest.raises(ValueError, match=f"context_length={size} must be at least 1"):
        KVCache(size)
    with pytest.raises(ValueError, match=f"n_kv_heads={size} must be at least 1"):
        MultiHeadAttention(12, 6, n_kv_heads=size)


@pytest.mark.parametrize("n_kv_heads", [4, 5, 12])
def test_heads_that_do_not_divide(n_kv_heads):
    with pytest.raises(ValueError, match=f"n_kv_heads={n_kv_heads} .* n_heads=6"):
        MultiHeadAttention(12, 6, n_kv_heads=n_kv_heads)
    with pytest.raises(ValueError, match="n_heads=5 does not divide d_model=12"):
        MultiHeadAttention(12, 5)


def test_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match=r"x has shape \(2, 3, 11\).* d_model=12"):
        make()(random(2, 3, 11))
    with pytest.raises(TypeError, match="mask has dtype torch.float32"):
        make()(random(2, 3, 12), torch.zeros(3, 3))
    with pytest.raises(ValueError, match=r"mask has shape \(3, 3\)"):
        cache = KVCache(9)
        make()(random(2, 3, 12), causal_mask(3), cache=cache)
        make()(random(2, 3, 12), causal_mask(3), cache=cache)
    with pytest.raises(ValueError, match="length=4 is more than context_length=3"):
        make(rotary=Rotary(2, 3))(random(2, 4, 12))
