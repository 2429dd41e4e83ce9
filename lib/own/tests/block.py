"""The tests of the block."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.attention import KVCache, MultiHeadAttention, causal_mask
from lib.ffn import FeedForward
from lib.own.tests.attention import attention_by_torchs_names
from lib.own.tests.near import (
    expect,
    expect_gradient_near,
    expect_near,
    expect_unchanged,
    random,
    random_weights,
)

__all__ = ["BLOCK", "block_by_torchs_names", "block_equals_torch"]

Part = Callable[..., nn.Module]


def block_by_torchs_names(
    ours: nn.Module, read: Callable[[nn.Parameter], Tensor] = lambda p: p.data
) -> dict[str, Tensor]:
    """Return the weights as torch's encoder and decoder layers name them."""
    attentions = {"self_attn": ours.attention}
    norms = [ours.attention_norm, ours.ffn_norm]
    if getattr(ours, "cross_attention", None) is not None:
        attentions["multihead_attn"] = ours.cross_attention
        norms.insert(1, ours.cross_norm)
    named = {}
    for place, attention in attentions.items():
        for name, tensor in attention_by_torchs_names(attention, read).items():
            named[f"{place}.{name}"] = tensor
    for i, norm in enumerate(norms, start=1):
        named[f"norm{i}.weight"] = read(norm.gain)
        named[f"norm{i}.bias"] = read(norm.bias)
    for i, linear in enumerate([ours.ffn.up, ours.ffn.down], start=1):
        named[f"linear{i}.weight"] = read(linear.weight)
        named[f"linear{i}.bias"] = read(linear.bias)
    return named


def _block(part: Part) -> nn.Module:
    """Return a block of width 8 around the library's parts, with random weights."""
    block = part(MultiHeadAttention(8, 2), FeedForward(8, 12))
    random_weights(block)
    return block


def _wrong_blocks(b: nn.Module, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Return what known mistakes give, by the words that name them."""

    def attend(y: Tensor) -> Tensor:
        return b.attention(y, mask)[0]

    norm, norm2, ffn = b.attention_norm, b.ffn_norm, b.ffn
    after = norm(x + attend(x))
    middle = x + attend(norm(x))
    alone = attend(norm(x))
    return {
        "the norms stand after the additions (post-norm); here each stands before its "
        "part": norm2(after + ffn(after)),
        "nothing is added to x: the residual stream is missing": ffn(norm2(alone)),
        "the attention's output is not added to x": alone + ffn(norm2(alone)),
        "the feed-forward output is not added to x": ffn(norm2(middle)),
        "both parts read x: the second must read what the first has added to": x
        + alone
        + ffn(norm2(x)),
        "the same norm stands before both parts": middle + ffn(norm(middle)),
        "what is added to is the normalised x, not x": norm(x)
        + alone
        + ffn(norm2(norm(x) + alone)),
        "there is no norm before the feed-forward network": middle + ffn(middle),
        "there is no norm before the attention": (x + attend(x))
        + ffn(norm2(x + attend(x))),
    }


def block_equals_torch(part: Part, dtype: torch.dtype = torch.float32) -> None:
    """Output and gradients are those of PyTorch's encoder layer with pre-norm."""
    block, mask = _block(part).to(dtype), causal_mask(5)
    options = {"batch_first": True, "norm_first": True}
    layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, F.gelu, **options).double()
    layer.load_state_dict(block_by_torchs_names(block))
    x = random(2, 5, 8).to(dtype)
    same_x, x = x.double().requires_grad_(), x.requires_grad_()
    with torch.no_grad():
        hints = _wrong_blocks(block, x, mask)
    output, expected = block(x, mask), layer(same_x, src_mask=~mask)
    expect_near(output, expected, atol=1e-5, hints=hints)
    expect(output.dtype == dtype, f"the output has dtype {output.dtype}")
    signs = random(*output.shape, seed=9).sign()
    output.backward(signs.to(dtype))
    expected.backward(signs.double())
    expect_gradient_near(x.grad, same_x.grad, "the gradient of x")
    same = {name: p.grad for name, p in layer.named_parameters()}
    for name, gradient in block_by_torchs_names(block, lambda p: p.grad).items():
        expect_gradient_near(gradient, same[name], f"the gradient of {name}")


def has_two_norms_and_two_parts(part: Part) -> None:
    """The weights have the names that files use."""
    given = [name for name, _ in _block(part).named_children()]
    for name in ("attention_norm", "attention", "ffn_norm", "ffn"):
        expect(name in given, f"there is no part {name}; there are {given}")
    tops = {name.split(".")[0] for name, _ in _block(part).named_parameters()}
    more = sorted(tops - {"attention_norm", "attention", "ffn_norm", "ffn"})
    expect(not more, f"the weights of {more} are in no file of the library's model")


def sees_no_future(part: Part) -> None:
    """With a causal mask, or is_causal, what comes later changes nothing."""
    block, x = _block(part), random(2, 5, 8)
    for options in ({"mask": causal_mask(5)}, {"is_causal": True}):
        before = block(x, **options)
        for t in range(1, 5):
            changed = x.clone()
            changed[:, t:] += random(2, 5 - t, 8, seed=1)
            same = torch.allclose(before[:, :t], block(changed, **options)[:, :t])
            expect(same, f"position {t - 1} changes with what stands at {t} and later")


def a_cache_changes_nothing(part: Part) -> None:
    """Read in pieces, with a cache, it gives what it gives for all at once."""
    block, x, cache = _block(part), random(2, 5, 8), KVCache(8)
    pieces = [(0, 2), (2, 3), (3, 5)]
    outputs = [block(x[:, a:b], is_causal=True, cache=cache) for a, b in pieces]
    expected = block(x, is_causal=True).double()
    words = "the output with a cache"
    expect_near(torch.cat(outputs, dim=1), expected, words, atol=1e-5)


def leaves_its_input_as_it_is(part: Part) -> None:
    """The input is not changed in place, as ``x += ...`` does."""
    block = _block(part)
    expect_unchanged(lambda x: block(x, causal_mask(5)), random(2, 5, 8))


def block_in_bfloat16(part: Part) -> None:
    """Numbers in half precision give such numbers, near the exact ones."""
    block_equals_torch(part, torch.bfloat16)


BLOCK = (
    has_two_norms_and_two_parts,
    leaves_its_input_as_it_is,
    block_equals_torch,
    sees_no_future,
    a_cache_changes_nothing,
    block_in_bfloat16,
)
