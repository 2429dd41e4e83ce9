"""The tests of attention: the function, and the layer of several heads."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.attention import KVCache, causal_mask, padding_mask
from lib.own.tests.near import (
    expect,
    expect_gradient_near,
    expect_near,
    expect_unchanged,
    expect_weights,
    random,
    random_weights,
)

__all__ = [
    "ATTENTION",
    "MULTI_HEAD",
    "WEIGHTS",
    "attention_by_torchs_names",
    "attention_equals_torch",
    "by_hand",
    "layer_and_torchs",
]

Attend = Callable[..., tuple]
Part = Callable[..., nn.Module]
FLOAT = torch.float32
NO_FUTURE = "the softmax is taken before the mask: what is hidden still counts in it"


def by_hand(
    q: Tensor, k: Tensor, mask: Tensor | None, divisor: float | None = None
) -> Tensor:
    """Return the weights as the formula says; another divisor is a mistake's."""
    scores = q @ k.transpose(-2, -1) / (divisor or math.sqrt(q.size(-1)))
    if mask is None:
        return scores.softmax(dim=-1)
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    return weights.masked_fill(~mask, 0.0)


def _wrong_weights(q: Tensor, k: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """Return what known mistakes give, by the words that name them."""
    raw, allowed = q @ k.transpose(-2, -1), torch.ones(()) if mask is None else mask
    scores, hidden = raw / math.sqrt(q.size(-1)), ~allowed.bool()
    wrong = {
        "the softmax runs over the queries, not over the keys": scores.masked_fill(
            hidden, -math.inf
        ).softmax(dim=-2),
        "the scores are not divided by the root of d_head": by_hand(q, k, mask, 1.0),
        "the scores are divided by d_head, not by its root": by_hand(
            q, k, mask, q.size(-1)
        ),
        NO_FUTURE: scores.softmax(dim=-1).masked_fill(hidden, 0.0),
        "the mask is turned round: what may be seen is hidden": scores.masked_fill(
            allowed.bool(), -math.inf
        ).softmax(dim=-1),
    }
    return {words: weights.nan_to_num() for words, weights in wrong.items()}


def attention_equals_torch(
    attend: Attend,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = False,
) -> None:
    """Output, and gradients of queries, keys and values, are those of PyTorch."""
    ours = [x.clone().requires_grad_() for x in (q, k, v)]
    torchs = [x.double().requires_grad_() for x in (q, k, v)]
    output, _ = attend(*ours, mask, need_weights)
    expected = F.scaled_dot_product_attention(*torchs, attn_mask=mask)
    with torch.no_grad():
        wrong = _wrong_weights(*torchs[:2], mask).items()
        hints = {words: weights @ torchs[2] for words, weights in wrong}
    expect_near(output, expected, hints=hints)
    dtypes = output.dtype, q.dtype
    expect(dtypes[0] == dtypes[1], "the output has dtype %s for queries of %s" % dtypes)
    signs = random(*output.shape, seed=9).sign()
    gradients = torch.autograd.grad(output, ours, signs.to(output.dtype))
    same = torch.autograd.grad(expected, torchs, signs.double())
    for name, gradient, expected in zip("qkv", gradients, same):
        expect_gradient_near(gradient, expected, f"the gradient of {name}")


def _qkv(dtype: torch.dtype = FLOAT, n_queries: int = 5) -> tuple[Tensor, ...]:
    """Return queries, keys and values of two heads, ``(2, 2, T, 4)``."""
    lengths = (n_queries, 5, 5)
    return tuple(random(2, 2, t, 4, seed=i).to(dtype) for i, t in enumerate(lengths))


def _padding(n_rows: int = 2, length: int = 5) -> Tensor:
    """Return a mask ``(B, 1, 1, T)``: of the last row, the last two are hidden."""
    ids = torch.zeros(n_rows, length, dtype=torch.long)
    ids[-1, -2:] = 1
    return padding_mask(ids, pad_id=1)


def equals_torch_without_a_mask(attend: Attend) -> None:
    """Every position looks at every one."""
    attention_equals_torch(attend, *_qkv())


def equals_torch_with_a_causal_mask(attend: Attend) -> None:
    """Each position looks at itself and at the past: ``mask`` is True there."""
    attention_equals_torch(attend, *_qkv(), causal_mask(5))


def equals_torch_with_a_padding_mask(attend: Attend) -> None:
    """A mask ``(B, 1, 1, T)`` hides the same from all heads and positions."""
    attention_equals_torch(attend, *_qkv(), _padding() & causal_mask(5))


def equals_torch_for_other_lengths(attend: Attend) -> None:
    """There may be fewer queries than keys."""
    attention_equals_torch(attend, *_qkv(n_queries=2))


def attends_in_bfloat16(attend: Attend) -> None:
    """Numbers in half precision give such numbers, near the exact ones."""
    attention_equals_torch(attend, *_qkv(torch.bfloat16), causal_mask(5))


def gives_its_weights(attend: Attend) -> None:
    """The second of the pair are the weights, and the first is made of them."""
    q, k, v = _qkv()
    output, weights = attend(q, k, v, causal_mask(5), need_weights=True)
    expect(weights is not None, "the weights do not come when they are asked for")
    expected = by_hand(q.double(), k.double(), causal_mask(5))
    expect_near(weights, expected, "the table of weights")
    expect_near(output, expected @ v.double())


def gives_zeros_where_nothing_may_be_seen(attend: Attend) -> None:
    """A row of the mask without any True gives zeros, not NaN."""
    mask = causal_mask(5)
    mask[2] = False
    output, _ = attend(*_qkv(), mask)
    row = output[:, :, 2]
    expect(not row.isnan().any(), "a row that may look nowhere gives NaN")
    expect(not row.any(), "a row that may look nowhere does not give zeros")


def is_causal_stands_for_a_mask(attend: Attend) -> None:
    """``is_causal`` does what a mask does, also for the last queries alone."""
    for n_queries in (5, 2):
        inputs = _qkv(n_queries=n_queries)
        expected, _ = attend(*inputs, causal_mask(5)[-n_queries:])
        output, _ = attend(*inputs, is_causal=True)
        expect_near(output, expected.double(), "the output with is_causal")


def leaves_q_k_and_v_as_they_are(attend: Attend) -> None:
    """The inputs are not changed in place."""
    expect_unchanged(lambda *qkv: attend(*qkv, causal_mask(5)), *_qkv())


def weights_equal_the_formula(weigh: Callable[..., Tensor]) -> None:
    """The weights are those of the formula, with a mask and without."""
    q, k, _ = _qkv()
    for mask in (None, causal_mask(5), _padding()):
        wide = q.double(), k.double()
        hints = _wrong_weights(*wide, mask)
        expected = by_hand(*wide, mask)
        expect_near(weigh(q, k, mask), expected, "the table of weights", hints=hints)


def weights_are_zeros_where_nothing_may_be_seen(weigh: Callable[..., Tensor]) -> None:
    """A row of the mask without any True gives zeros, not NaN."""
    gives_zeros_where_nothing_may_be_seen(
        lambda q, k, v, mask: (weigh(q, k, mask), None)
    )


def leaves_q_and_k_as_they_are(weigh: Callable[..., Tensor]) -> None:
    """The inputs are not changed in place."""
    expect_unchanged(lambda q, k: weigh(q, k, causal_mask(5)), *_qkv()[:2])


# The layer


def attention_by_torchs_names(
    ours: nn.Module, read: Callable[[nn.Parameter], Tensor] = lambda p: p.data
) -> dict[str, Tensor]:
    """Return the weights of an attention as `nn.MultiheadAttention` packs them."""
    inputs = [ours.q_proj, ours.k_proj, ours.v_proj]
    named = {
        "in_proj_weight": torch.cat([read(p.weight) for p in inputs]),
        "out_proj.weight": read(ours.out_proj.weight),
    }
    if ours.q_proj.bias is not None:
        named["in_proj_bias"] = torch.cat([read(p.bias) for p in inputs])
        named["out_proj.bias"] = read(ours.out_proj.bias)
    return named


def layer_and_torchs(
    part: Part, d_model: int, n_heads: int, bias: bool, dtype: torch.dtype
) -> tuple[nn.Module, nn.Module]:
    """Return two layers with the same weights, PyTorch's in float64."""
    ours = part(d_model, n_heads, bias=bias).to(dtype)
    random_weights(ours)
    torchs = nn.MultiheadAttention(d_model, n_heads, bias=bias, batch_first=True)
    torchs.double().load_state_dict(attention_by_torchs_names(ours))
    return ours, torchs


def _wrong_layers(ours: nn.Module, x: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """Return what known mistakes of the layer give; x is ``(B, T, 6)``, 2 heads."""
    weights = [ours.q_proj, ours.k_proj, ours.v_proj]
    wide = [F.linear(x, p.weight.double(), p.bias.double()) for p in weights]
    (n_rows, length, d_model), last = x.shape, ours.out_proj

    def layer(split: Callable, divisor: float | None, back: Callable) -> Tensor:
        q, k, v = (split(w) for w in wide)
        mixed = back(by_hand(q, k, mask, divisor) @ v).reshape(x.shape)
        return F.linear(mixed, last.weight.double(), last.bias.double())

    def cut(w: Tensor) -> Tensor:
        return w.unflatten(-1, (2, -1)).transpose(1, 2)

    def viewed(w: Tensor) -> Tensor:
        return w.reshape(n_rows, 2, length, -1)

    def joined(mixed: Tensor) -> Tensor:
        return mixed.transpose(1, 2)

    mixed = by_hand(*(cut(w) for w in wide[:2]), mask) @ cut(wide[2])
    return {
        "the scores are divided by the root of d_model, not of d_head": layer(
            cut, math.sqrt(d_model), joined
        ),
        "the scores are not divided by the root of d_head": layer(cut, 1.0, joined),
        "heads are cut by a view alone: they need unflatten, then transpose": layer(
            viewed, None, lambda mixed: mixed
        ),
        "heads are cut by a view alone, and joined by a transpose": layer(
            viewed, None, joined
        ),
        "heads are joined without a transpose before": layer(
            cut, None, lambda mixed: mixed
        ),
        "the last projection, out_proj, is missing": joined(mixed).reshape(x.shape),
    }


def layer_equals_torch(part: Part, dtype: torch.dtype = FLOAT) -> None:
    """Output, weights and gradients are those of `nn.MultiheadAttention`."""
    ours, torchs = layer_and_torchs(part, 6, 2, True, dtype)
    for mask in (None, causal_mask(5)):
        x = random(2, 5, 6).to(dtype)
        same_x, x = x.double().requires_grad_(), x.requires_grad_()
        output, weights = ours(x, mask, need_weights=True)
        inputs = (same_x, same_x, same_x, None, True, None if mask is None else ~mask)
        expected, table = torchs(*inputs, average_attn_weights=False)
        with torch.no_grad():
            hints = _wrong_layers(ours, same_x, mask)
        expect_near(output, expected, hints=hints)
        expect(output.dtype == dtype, f"the output has dtype {output.dtype}")
        expect_near(weights, table, "the table of weights")
        expect_near(ours(x, mask)[0], expected, "the output without weights")
    output.backward(torch.ones_like(output))
    expected.backward(torch.ones_like(expected))
    expect_gradient_near(x.grad, same_x.grad, "the gradient of x")
    same = {name: p.grad for name, p in torchs.named_parameters()}
    grads = attention_by_torchs_names(ours, lambda p: p.grad)
    for name, gradient in grads.items():
        expect_gradient_near(gradient, same[name], f"the gradient of {name}")


def has_four_projections(part: Part) -> None:
    """The weights have the names that files use."""
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    shapes = {f"{name}__weight": (6, 6) for name in names}
    expect_weights(part(6, 2, bias=False), **shapes)
    expect_weights(part(6, 2), **shapes, **{f"{name}__bias": (6,) for name in names})
    expect(part(6, 2).d_model == 6, "its d_model is not the one it was built with")


def sees_no_future(part: Part) -> None:
    """With a causal mask, or is_causal, what comes later changes nothing."""
    layer, x = part(6, 2), random(2, 5, 6)
    for options in ({"mask": causal_mask(5)}, {"is_causal": True}):
        before, _ = layer(x, **options)
        for t in range(1, 5):
            changed = x.clone()
            changed[:, t:] += random(2, 5 - t, 6, seed=1)
            after, _ = layer(changed, **options)
            same = torch.allclose(before[:, :t], after[:, :t], atol=1e-6)
            expect(same, f"position {t - 1} changes with what stands at {t} and later")


def sees_no_padding(part: Part) -> None:
    """What a mask ``(B, 1, 1, T)`` hides changes nothing."""
    layer, x = part(6, 2), random(2, 5, 6)
    changed = x.clone()
    changed[1, 3:] += 1
    before, after = (layer(y, _padding())[0][1, :3] for y in (x, changed))
    expect_near(after, before.double(), "the output beside padding that was changed")


def a_cache_changes_nothing(part: Part) -> None:
    """Read in pieces, with a cache, it gives what it gives for all at once."""
    layer, x, cache = part(6, 2), random(2, 5, 6), KVCache(8)
    pieces = [(0, 2), (2, 3), (3, 5)]
    outputs = [layer(x[:, a:b], is_causal=True, cache=cache)[0] for a, b in pieces]
    expected = layer(x, is_causal=True)[0].double()
    expect_near(torch.cat(outputs, dim=1), expected, "the output with a cache")
    expect(cache.length == 5, f"the cache holds {cache.length} of 5 tokens")


def layer_in_bfloat16(part: Part) -> None:
    """Numbers in half precision give such numbers, near the exact ones."""
    layer_equals_torch(part, torch.bfloat16)


def layer_leaves_its_input_as_it_is(part: Part) -> None:
    """The input is not changed in place."""
    layer = part(6, 2)
    expect_unchanged(lambda x: layer(x, causal_mask(5)), random(2, 5, 6))


WEIGHTS = (
    weights_equal_the_formula,
    weights_are_zeros_where_nothing_may_be_seen,
    leaves_q_and_k_as_they_are,
)
ATTENTION = (
    equals_torch_without_a_mask,
    equals_torch_with_a_causal_mask,
    equals_torch_with_a_padding_mask,
    equals_torch_for_other_lengths,
    gives_its_weights,
    gives_zeros_where_nothing_may_be_seen,
    is_causal_stands_for_a_mask,
    leaves_q_k_and_v_as_they_are,
    attends_in_bfloat16,
)
MULTI_HEAD = (
    has_four_projections,
    layer_equals_torch,
    sees_no_future,
    sees_no_padding,
    a_cache_changes_nothing,
    layer_leaves_its_input_as_it_is,
    layer_in_bfloat16,
)
