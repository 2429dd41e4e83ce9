"""Reading one more token with a cache, without the cost of calling modules.

Calling a module costs microseconds before anything is computed. Where a window is read
that is nothing; where a single token is read it is as much as the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.block import Block
from lib.ffn import FeedForward
from lib.gpt import GPT
from lib.norm import LayerNorm
from lib.self_attention import KVCache, SelfAttention

__all__ = ["OneToken"]


class OneToken:
    """Read one token at a time with a `GPT`: the same logits as the model's, sooner.

    The weights of queries, keys and values are copied into one matrix when it is made;
    it does not see later changes to them. Parts that are not the course's own are
    called as they are.

    Args:
        model: in evaluation mode.
        cache: what the model has read so far; it grows.

    Shapes:
        ids ``(B, 1)`` -> logits ``(B, 1, V)``.

    Raises:
        ValueError: if the cache is full.
    """

    def __init__(self, model: GPT, cache: list[KVCache]) -> None:
        self.tokens, self.positions, self.cache = model.tokens, model.positions, cache
        self.final_norm, self.head = _plain(model.final_norm), _plain(model.head)
        each = zip(model.blocks, cache, strict=True)
        self.steps = [_step(block, kept) for block, kept in each]

    @torch.inference_mode()
    def __call__(self, ids: Tensor) -> Tensor:
        """Return the logits of the token after this one."""
        start = self.cache[0].length
        x = self.tokens(ids)  # (B, 1, D)
        if self.positions is not None:
            x = self.positions(x, start)
        for step in self.steps:
            x = step(x, start)
        return self.head(self.final_norm(x))


def _plain(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return what a module computes as a function; the module if it is no plain one."""
    kind = type(module)  # a subclass may compute something else
    if kind is nn.Linear:
        return partial(F.linear, weight=module.weight, bias=module.bias)
    if kind is LayerNorm:
        norm = partial(F.layer_norm, normalized_shape=module.gain.shape)
        return partial(norm, weight=module.gain, bias=module.bias, eps=module.eps)
    if kind is FeedForward:
        up, down, bend = _plain(module.up), _plain(module.down), module.activation
        return lambda x: down(bend(up(x)))
    return module


def _step(block: nn.Module, kept: KVCache) -> Callable[[Tensor, int], Tensor]:
    """Return what a block makes of the vector at a position, ``(B, 1, D)``."""
    attention = getattr(block, "attention", None)
    if type(block) is not Block or type(attention) is not SelfAttention:
        return lambda x, start: block(x, cache=kept)
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    if not block.pre_norm or any(type(part) is not nn.Linear for part in parts):
        return lambda x, start: block(x, cache=kept)
    look, ffn = _look(attention, parts, kept), _plain(block.ffn)
    norm, ffn_norm = _plain(block.attention_norm), _plain(block.ffn_norm)

    def step(x: Tensor, start: int) -> Tensor:
        x = x + look(norm(x), start)
        return x + ffn(ffn_norm(x))

    return step


def _look(
    attention: SelfAttention, parts: tuple[nn.Linear, ...], kept: KVCache
) -> Callable[[Tensor, int], Tensor]:
    """Return what an attention gathers, with one product for queries, keys, values."""
    weight = torch.cat([part.weight for part in parts])
    bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts])
    heads = [part.out_features // attention.d_head for part in parts]
    shape, shared = (-1, sum(heads), 1, attention.d_head), heads[0] // heads[1]
    out, rotary = _plain(attention.out_proj), attention.rotary

    def look(x: Tensor, start: int) -> Tensor:
        q, k, v = F.linear(x, weight, bias).view(shape).split(heads, dim=1)
        if rotary is not None:
            q, k = rotary(q, start), rotary(k, start)
        k, v = kept.append(k, v)  # (B, H, start + 1, Dh)
        if shared > 1:
            k, v = (w.repeat_interleave(shared, 1) for w in (k, v))
        return out(F.scaled_dot_product_attention(q, k, v).view(x.shape))

    return look
