"""Attention block by block: the same numbers, without a table of all scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lib.device import at_least_float32
from lib.shapes import require_sizes

__all__ = ["flash_attention"]


def flash_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    window: int | None = None,
    block_size: int = 64,
) -> Tensor:
    r"""Mix the values as attention does, and look at the keys block by block.

    For each query three things are kept: the largest score so far :math:`m`, the sum
    :math:`\ell = \sum_j e^{s_j - m}` and the output :math:`o = \sum_j e^{s_j - m} v_j`.
    A larger score in a new block shrinks what there is by :math:`e^{m - m'}`. In the
    end the output is :math:`o / \ell`. The gradients compute the scores again.

    Args:
        q: queries ``(..., T_q, Dh)``.
        k: keys ``(..., T_k, Dh)``.
        v: values ``(..., T_k, Dv)``.
        mask: bool, the size of ``k`` without its last dimension or 1 for each of them,
            ``(..., T_k)``: True where a key may be looked at. A query that sees no key
            gets zeros.
        is_causal: the queries are the last T_q of the T_k positions, and each looks at
            itself and at the past.
        window: with ``is_causal``: each looks at so many positions, itself included.
        block_size: number of keys that are looked at together. No tensor holds more
            than T_q times this many scores.

    Returns:
        The output ``(..., T_q, Dv)``, in the number format of ``v``, computed in
        float32 or better.

    Raises:
        ValueError: if the shapes do not fit each other, for a size below 1, or for a
            window without ``is_causal``.
        TypeError: if ``mask`` is not bool.

    Source: Milakov and Gimelshein (2018), section 3; Dao et al. (2022), section 3.1 and
    appendix B.

    Home lesson: 20_long_context
    """
    require_sizes(block_size=block_size, window=1 if window is None else window)
    _check(q, k, v, mask)
    n_queries, n_keys = q.size(-2), k.size(-2)
    if window is not None and not is_causal:
        raise ValueError(f"window={window} needs is_causal=True")
    if is_causal and n_queries > n_keys:
        raise ValueError(
            f"is_causal=True with {n_queries} queries for {n_keys} keys: the queries "
            "must be the last of the positions"
        )
    reach = (window or n_keys) if is_causal else None
    return _Flash.apply(q, k, v, mask, reach, block_size)


class _Flash(torch.autograd.Function):
    """The forward pass in blocks, and its gradients from the log of the sums."""

    @staticmethod
    def forward(ctx, q, k, v, mask, reach, block_size):
        """Return the output; keep it, and one number per query beside it."""
        wide = [at_least_float32(w) for w in (q, k, v)]
        with torch.autocast(q.device.type, enabled=False):
            out, log_sum = _forward(*wide, mask, reach, block_size)
        ctx.save_for_backward(q, k, v, out, log_sum, mask)
        ctx.reach, ctx.block_size = reach, block_size
        return out.to(v.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """Return the gradients of q, k and v, also block by block."""
        *inputs, out, log_sum, mask = ctx.saved_tensors
        wide = [at_least_float32(w) for w in (*inputs, grad)]
        options = (mask, ctx.reach, ctx.block_size)
        with torch.autocast(grad.device.type, enabled=False):
            found = _backward(*wide, out, log_sum, *options)
        grads = (g.to(w.dtype) for g, w in zip(found, inputs, strict=True))
        return *grads, None, None, None


def _forward(q, k, v, mask, reach, block_size):
    """Return the output and ln of the sum of all e^score, per query."""
    top = q.new_full((*q.shape[:-1], 1), -math.inf)  # m: (..., T_q, 1)
    total, out = torch.zeros_like(top), q.new_zeros(*q.shape[:-1], v.size(-1))
    for keys, rows in _blocks(q.size(-2), k.size(-2), reach, block_size):
        scores = _scores(q, k, mask, reach, keys, rows)  # (..., rows, block)
        old = top[..., rows, :]
        new = torch.maximum(old, scores.amax(dim=-1, keepdim=True))
        base = new.masked_fill(new == -math.inf, 0)  # nothing was seen so far
        shrink, p = (old - base).exp(), (scores - base).exp()
        total[..., rows, :] = shrink * total[..., rows, :] + p.sum(-1, keepdim=True)
        out[..., rows, :] = shrink * out[..., rows, :] + p @ v[..., keys, :]
        top[..., rows, :] = new
    total.clamp_(min=1)  # the largest score adds 1: less is a query that sees nothing
    top.masked_fill_(top == -math.inf, 0)
    return out / total, top + total.log()


def _backward(q, k, v, grad, out, log_sum, mask, reach, block_size):
    """Return the gradients of q, k and v."""
    grads = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    taken = (grad * out).sum(dim=-1, keepdim=True)  # what the softmax takes off
    for keys, rows in _blocks(q.size(-2), k.size(-2), reach, block_size):
        scores = _scores(q, k, mask, reach, keys, rows)
        p = (scores - log_sum[..., rows, :]).exp()  # the weights, once more
        from_weights = grad[..., rows, :] @ v[..., keys, :].mT
        on_scores = p * (from_weights - taken[..., rows, :]) / math.sqrt(q.size(-1))
        grads[0][..., rows, :] += on_scores @ k[..., keys, :]
        grads[1][..., keys, :] = on_scores.mT @ q[..., rows, :]
        grads[2][..., keys, :] = p.mT @ grad[..., rows, :]
    return grads


def _blocks(n_queries: int, n_keys: int, reach: int | None, block_size: int):
    """Yield slices of keys, and of the queries that see one of them."""
    before = n_keys - n_queries  # positions before the first query
    for start in range(0, n_keys, block_size):
        end = min(start + block_size, n_keys)
        first, last = 0, n_queries
        if reach is not None:
            first = max(0, start - before)
            last = max(first, min(n_queries, end - 1 + reach - before))
        if first < last:
            yield slice(start, end), slice(first, last)


def _scores(q, k, mask, reach, keys: slice, rows: slice) -> Tensor:
    """Return the scores of some queries and keys, -inf where none may look."""
    scores = q[..., rows, :] @ k[..., keys, :].mT / math.sqrt(q.size(-1))
    if mask is not None:
        allowed = mask if mask.size(-1) == 1 else mask[..., keys]
        scores = scores.masked_fill(~allowed.unsqueeze(-2), -math.inf)
    if reach is not None:
        queries = torch.arange(rows.start, rows.stop, device=q.device).unsqueeze(1)
        places = torch.arange(keys.start, keys.stop, device=q.device)
        distance = queries + k.size(-2) - q.size(-2) - places
        hidden = (distance < 0) | (distance >= reach)
        scores = scores.masked_fill(hidden, -math.inf)
    return scores


def _check(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> None:
    """Refuse shapes that do not fit each other."""
    if q.size(-1) != k.size(-1):
        raise ValueError(f"q has d_head={q.size(-1)} but k has d_head={k.size(-1)}")
    if k.size(-2) != v.size(-2):
        raise ValueError(f"k has {k.size(-2)} positions but v has {v.size(-2)}")
    if not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        raise ValueError(
            f"q, k, v have shapes {tuple(q.shape)}, {tuple(k.shape)}, "
            f"{tuple(v.shape)}; all but the last two dimensions must be the same"
        )
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(f"mask has dtype {mask.dtype}; it must be torch.bool")
    shape = tuple(k.shape[:-1])
    fits = mask.dim() == len(shape) and all(
        m in (1, s) for m, s in zip(mask.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}; it must be {shape}, or with a 1 for "
            "a dimension that it shares"
        )
