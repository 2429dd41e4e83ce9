"""Attention: each position gathers what it needs from other positions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.device import at_least_float32
from lib.module import Linear, Module
from lib.position import Rotary
from lib.shapes import (
    require_divides,
    require_like,
    require_sizes,
    require_vectors,
)

__all__ = [
    "causal_mask",
    "padding_mask",
    "document_mask",
    "window_mask",
    "attention_weights",
    "scaled_dot_product_attention",
    "KVCache",
    "WindowCache",
    "MultiHeadAttention",
]


def causal_mask(length: int) -> Tensor:
    """Return which positions may look at which: each at itself and at the past.

    Args:
        length: number of positions T, at least 1.

    Returns:
        Bool ``(T, T)``: ``mask[i, j]`` is True where position i may look at j,
        that is where ``j <= i``.

    Raises:
        ValueError: if ``length`` is below 1.

    Source: Vaswani et al. (2017), section 3.2.3.

    Home lesson: 06_attention
    """
    require_sizes(length=length)
    return torch.ones(length, length, dtype=torch.bool).tril()


def padding_mask(ids: Tensor, pad_id: int) -> Tensor:
    """Return which positions may be looked at: those that hold a token.

    Args:
        ids: sequences filled up to one length, ``(B, T)``.
        pad_id: the id that they are filled up with.

    Returns:
        Bool ``(B, 1, 1, T)``: the same for all heads and all positions that look.
        Combine it with a causal mask by ``&``.

    Raises:
        ValueError: if ``ids`` is not ``(B, T)``.

    Source: none; every model that reads batches of unequal lengths has one.

    Home lesson: 07_multi_head_attention
    """
    if ids.dim() != 2:
        raise ValueError(f"ids has shape {tuple(ids.shape)}; it must be (B, T)")
    return (ids != pad_id)[:, None, None, :]


def document_mask(documents: Tensor) -> Tensor:
    """Return which positions belong together, where a row holds several texts.

    Args:
        documents: the number of the text that each token belongs to, ``(B, T)``.

    Returns:
        Bool ``(B, 1, T, T)``: True where both tokens belong to the same text. Combine
        it with a causal mask by ``&``; `GPT` does.

    Raises:
        ValueError: if ``documents`` is not ``(B, T)``.

    Source: Raffel et al. (2020), section 3.5.2 packs texts; Krell et al. (2021) keep
    them apart by such a mask.

    Home lesson: 28_data_preparation
    """
    if documents.dim() != 2:
        raise ValueError(
            f"documents has shape {tuple(documents.shape)}; it must be (B, T)"
        )
    return (documents[:, :, None] == documents[:, None, :]).unsqueeze(1)


def window_mask(length: int, window: int) -> Tensor:
    """Return which positions may look at which: each at itself and the few before it.

    Args:
        length: number of positions T, at least 1.
        window: number of positions that one may look at, itself included.

    Returns:
        Bool ``(T, T)``: ``mask[i, j]`` is True where ``i - window < j <= i``.

    Raises:
        ValueError: for a number below 1.

    Source: Child et al. (2019), section 4.3; Beltagy et al. (2020), section 3.1.

    Home lesson: 20_long_context
    """
    require_sizes(length=length, window=window)
    return causal_mask(length).triu(1 - window)


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Return how much each query takes from each position.

    :math:`\mathrm{softmax}(q k^\top / \sqrt{d_\mathrm{head}})`

    Args:
        q: queries ``(..., T_q, Dh)``.
        k: keys ``(..., T_k, Dh)``.
        mask: bool, ``(T_q, T_k)``, or with as many dimensions as ``q`` and a 1 where
            it is shared; True where looking is allowed. A row without any True gives
            zeros.

    Returns:
        Weights ``(..., T_q, T_k)``; each other row sums to 1.

    Raises:
        ValueError: if the shapes do not fit each other.
        TypeError: if ``mask`` is not bool.

    Source: Vaswani et al. (2017), section 3.2.1, equation (1).

    Home lesson: 06_attention
    """
    _check_shapes(q, k, mask)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T_q, T_k)
    if mask is None:
        return scores.softmax(dim=-1)
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    return weights.masked_fill(~mask, 0.0)  # the softmax of a row of -inf is NaN


def scaled_dot_product_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = False,
    *,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    r"""Mix the values, weighted by how well each key fits the query.

    :math:`\mathrm{softmax}(q k^\top / \sqrt{d_\mathrm{head}})\, v`

    Args:
        q: queries ``(..., T_q, Dh)``.
        k: keys ``(..., T_k, Dh)``.
        v: values ``(..., T_k, Dv)``.
        mask: bool, ``(T_q, T_k)``, or with as many dimensions as ``q`` and a 1 where
            it is shared, as in ``(B, 1, 1, T_k)``; True where looking is allowed. A
            row without any True gives zeros.
        need_weights: whether to return the weights. Without them PyTorch's fused
            kernel computes the same output in one go, faster and in less memory.
        is_causal: in place of a mask: the queries are the last T_q of the T_k
            positions, and each looks at itself and at the past.

    Returns:
        The output ``(..., T_q, Dv)``, and the weights ``(..., T_q, T_k)`` or None.

    Raises:
        ValueError: if the shapes do not fit each other, or both a mask and
            ``is_causal`` are given.
        TypeError: if ``mask`` is not bool.

    Source: Vaswani et al. (2017), section 3.2.1, equation (1).

    Home lesson: 06_attention
    """
    if k.size(-2) != v.size(-2):
        raise ValueError(f"k has {k.size(-2)} positions but v has {v.size(-2)}")
    n_queries, n_keys = q.size(-2), k.size(-2)
    if is_causal:
        _check_causal(n_queries, n_keys, mask)
        if n_queries > 1 and (need_weights or n_queries < n_keys):
            mask = causal_mask(n_keys)[n_keys - n_queries :].to(q.device)
        is_causal = n_queries > 1 and mask is None  # one query may look everywhere
    _check_shapes(q, k, mask)
    if need_weights:
        weights = attention_weights(q, k, mask)
        return weights @ v, weights
    half = v.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
    if half and v.device.type == "cpu":
        return _fused_in_float32(q, k, v, mask, is_causal), None
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal), None


def _fused_in_float32(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool
) -> Tensor:
    """Return PyTorch's attention in float32 or better: 16 bits are slow there."""
    wide = (at_least_float32(w) for w in (q, k, v))
    with torch.autocast("cpu", enabled=False):  # it would turn them back
        mixed = F.scaled_dot_product_attention(*wide, mask, is_causal=is_causal)
    return mixed.to(v.dtype)


def _check_causal(n_queries: int, n_keys: int, mask: Tensor | None) -> None:
    """Refuse a mask beside ``is_causal``, and more queries than there are positions."""
    if mask is not None:
        raise ValueError("mask was given with is_causal=True: give one of them")
    if n_queries > n_keys:
        raise ValueError(
            f"is_causal=True with {n_queries} queries for {n_keys} keys: the queries "
            "must be the last of the positions"
        )


def _check_shapes(q: Tensor, k: Tensor, mask: Tensor | None) -> None:
    """Refuse shapes that do not fit, or that would be broadcast the wrong way."""
    if q.size(-1) != k.size(-1):
        raise ValueError(f"q has d_head={q.size(-1)} but k has d_head={k.size(-1)}")
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(f"mask has dtype {mask.dtype}; it must be torch.bool")
    scores = (*q.shape[:-1], k.size(-2))  # (..., T_q, T_k)
    sizes = zip(mask.shape, scores[-mask.dim() :])
    full = mask.dim() == len(scores) and all(m in (1, s) for m, s in sizes)
    if mask.shape != scores[-2:] and not (full and mask.size(-1) == scores[-1]):
        raise ValueError(
            f"mask has shape {tuple(mask.shape)}; it must be {scores[-2:]}, or "
            f"{scores} with a 1 for a dimension before the last that it shares"
        )


class KVCache:
    """The keys and values of the tokens that one attention has read so far.

    Args:
        context_length: number of tokens that it has room for.

    Attributes:
        length: number of tokens that it holds.

    Raises:
        ValueError: if ``context_length`` is below 1; in `append` if the tokens do not
            fit in any more, or have another batch, heads, width, number format or
            device than those that it holds.

    Source: Shazeer (2019), section 2.4, for incremental inference and its cost.

    Home lesson: 13_generation
    """

    def __init__(self, context_length: int) -> None:
        require_sizes(context_length=context_length)
        self.context_length, self.length = context_length, 0
        self.keys = self.values = torch.empty(0)

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store ``(B, H, T, Dh)`` more; return all of them ``(B, H, length, Dh)``."""
        start, n_new = self.length, k.size(2)
        length = start + n_new
        if length > self.context_length:
            raise ValueError(f"{length=} is more than {self.context_length=}")
        if start == 0:
            room = (*k.shape[:2], self.context_length, k.size(3))
            self.keys, self.values = k.new_empty(room), v.new_empty(room)
        new_keys = self.keys.narrow(2, start, n_new)
        new_values = self.values.narrow(2, start, n_new)
        require_like(k, new_keys, "k")
        require_like(v, new_values, "v")
        new_keys.copy_(k)
        new_values.copy_(v)
        self.length = length
        return self.keys.narrow(2, 0, length), self.values.narrow(2, 0, length)


class WindowCache(KVCache):
    """A cache of the last tokens only: as many as a window can still see.

    The token at position p lies in place p modulo the window, where it takes the place
    of one that nobody can see any more.

    Args:
        context_length: number of tokens that it can read.
        window: number of tokens that it has room for.

    Attributes:
        length: number of tokens that it has read. Positions go on counting.

    Raises:
        ValueError: for a number below 1; in `append` as `KVCache` does.

    Source: Jiang et al. (2023), section 2, figure 2.

    Home lesson: 20_long_context
    """

    def __init__(self, context_length: int, window: int) -> None:
        super().__init__(context_length)
        require_sizes(window=window)
        self.window = min(window, context_length)

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store ``(B, H, T, Dh)``; return what the first of them can see, and them."""
        start, n_new, window = self.length, k.size(2), self.window
        length = start + n_new
        if length > self.context_length:
            raise ValueError(f"{length=} is more than {self.context_length=}")
        if start == 0:
            self.keys, self.values = (
                w.new_empty(*w.shape[:2], window, w.size(3)) for w in (k, v)
            )
        for name, new, kept in (("k", k, self.keys), ("v", v, self.values)):
            require_like(new, kept[:, :, :1].expand(-1, -1, n_new, -1), name)
        n_old, n_kept = min(start, window - 1), min(n_new, window)
        old = torch.arange(start - n_old, start, device=k.device) % window
        places = torch.arange(length - n_kept, length, device=k.device) % window
        seen = [torch.cat([self.keys[:, :, old], k], dim=2)]
        seen += [torch.cat([self.values[:, :, old], v], dim=2)]
        self.keys[:, :, places] = k[:, :, n_new - n_kept :]
        self.values[:, :, places] = v[:, :, n_new - n_kept :]
        self.length = length
        return seen[0], seen[1]


class MultiHeadAttention(Module):
    """Several attentions side by side, each in its own slice of the vectors.

    Args:
        d_model: size of the vectors D.
        n_heads: number of query heads H; must divide ``d_model`` if there is no
            ``d_head``.
        bias: whether the four projections have a bias.
        n_kv_heads: number of key and value heads; must divide ``n_heads``. With fewer
            than ``n_heads``, several query heads share one (grouped-query attention).
            None for ``n_heads``.
        rotary: rotates queries and keys by their position.
        d_head: size of queries, keys and values Dh; None for ``d_model / n_heads``.
        qk_norm: makes a normalisation of vectors of a given size: one for the queries
            and one for the keys, each head on its own, before they are rotated.
        window: how many positions each may look at, itself and those before it; None
            for all that the mask allows.

    Shapes:
        x ``(B, T, D)``, mask ``(T, T_k)`` or ``(B, 1, 1, T_k)`` -> output
        ``(B, T, D)`` and weights ``(B, H, T, T_k)`` or None. Without a memory x looks
        at itself. A memory is ``(B, T_k, D)``, or what `read` made of one: then x looks
        at that. With a cache x looks at what the cache holds, and at itself.
        Positions, int64 ``(B, T)``, say where each token stands, for rotary attention.

    Raises:
        ValueError: for a size below 1, for heads that do not divide, if an input does
            not fit, if a memory is given with a cache or to rotary attention, or if a
            window gets a memory, or neither a mask nor ``is_causal``.
        TypeError: if ``mask`` is not bool.

    Source: Vaswani et al. (2017), section 3.2.2; Ainslie et al. (2023) for grouped
    heads; Su et al. (2021) for rotary; Henry et al. (2020) for ``qk_norm``; Beltagy et
    al. (2020) for ``window``.

    Home lesson: 07_multi_head_attention
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        bias: bool = True,
        n_kv_heads: int | None = None,
        rotary: Rotary | None = None,
        d_head: int | None = None,
        qk_norm: Callable[[int], nn.Module] | None = None,
        window: int | None = None,
    ) -> None:
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        require_sizes(d_model=d_model, n_heads=n_heads, n_kv_heads=n_kv_heads)
        require_divides(n_kv_heads=n_kv_heads, n_heads=n_heads)
        if d_head is None:
            require_divides(n_heads=n_heads, d_model=d_model)
            d_head = d_model // n_heads
        require_sizes(d_head=d_head, window=1 if window is None else window)
        self.d_model, self.d_head, self.window = d_model, d_head, window
        self.n_shared, self.rotary = n_heads // n_kv_heads, rotary
        self.q_proj = Linear(d_model, n_heads * d_head, bias=bias)
        self.k_proj = Linear(d_model, n_kv_heads * d_head, bias=bias)
        self.v_proj = Linear(d_model, n_kv_heads * d_head, bias=bias)
        self.out_proj = Linear(n_heads * d_head, d_model, bias=bias)
        self.q_norm = None if qk_norm is None else qk_norm(d_head)
        self.k_norm = None if qk_norm is None else qk_norm(d_head)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        is_causal: bool = False,
        memory: Tensor | tuple[Tensor, Tensor] | None = None,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what each position gathered, and the weights if they are needed."""
        self._check_inputs(x, memory, cache)
        q = self.split(self.q_proj(x))  # (B, H, T, Dh)
        if self.q_norm is not None:
            q = self.q_norm(q)
        if memory is None:
            k, v = self.read(x)  # (B, H_kv, T, Dh)
            if self.rotary is not None:
                start = 0 if cache is None else cache.length
                start = start if positions is None else positions
                q, k = self.turn(q, start), self.rotary(k, start)
            if cache is not None:
                k, v = cache.append(k, v)  # (B, H_kv, T_k, Dh)
        else:
            k, v = self.read(memory) if isinstance(memory, Tensor) else memory
        k, v = self.lend(k, v)
        if self.window is not None:
            mask, is_causal = self._in_window(mask, is_causal, q, k), False
        mixed, weights = scaled_dot_product_attention(
            q, k, v, mask, need_weights, is_causal=is_causal
        )
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights

    def read(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of a memory, both ``(B, H_kv, T_k, Dh)``."""
        k, v = self.split(self.k_proj(memory)), self.split(self.v_proj(memory))
        return (k if self.k_norm is None else self.k_norm(k)), v

    def turn(self, q: Tensor, start: int | Tensor) -> Tensor:
        """Rotate the queries by their positions."""
        return self.rotary(q, start)

    def lend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values for each query head, ``(B, H, T_k, Dh)``."""
        if self.n_shared == 1:
            return k, v
        n_shared = self.n_shared
        return k.repeat_interleave(n_shared, dim=1), v.repeat_interleave(n_shared, 1)

    def new_cache(self, context_length: int) -> KVCache:
        """Return an empty cache for a text of at most so many tokens."""
        if self.window is None:
            return KVCache(context_length)
        return WindowCache(context_length, self.window)

    def split(self, wide: Tensor) -> Tensor:
        """Cut queries, keys or values ``(B, T, H Dh)`` into heads ``(B, H, T, Dh)``."""
        n_rows, length, _ = wide.shape
        return wide.view(n_rows, length, -1, self.d_head).transpose(1, 2)

    def _in_window(
        self, mask: Tensor | None, is_causal: bool, q: Tensor, k: Tensor
    ) -> Tensor | None:
        """Return what the window allows, of what a mask allows if there is one."""
        n_queries, n_keys = q.size(2), k.size(2)
        if mask is None and not is_causal:
            raise ValueError(f"window={self.window} needs is_causal=True or a mask")
        if mask is not None and mask.dtype != torch.bool:
            raise TypeError(f"mask has dtype {mask.dtype}; it must be torch.bool")
        if mask is not None and mask.size(-1) < n_keys:
            given = tuple(mask.shape)
            raise ValueError(f"mask has shape {given}; it must have {n_keys} keys")
        if n_queries == 1 and n_keys <= self.window:  # the last one sees all of them
            return None if mask is None else mask[..., -n_keys:]
        band = window_mask(n_keys, self.window)[n_keys - n_queries :].to(q.device)
        return band if mask is None else mask[..., -n_keys:] & band

    def _check_inputs(
        self, x: Tensor, memory: Tensor | tuple | None, cache: KVCache | None
    ) -> None:
        """Refuse inputs that do not fit this attention or each other."""
        require_vectors(x, self.d_model)
        if memory is None:
            return
        has = {"cache": cache, "rotary": self.rotary, "window": self.window}
        for reason in (name for name, part in has.items() if part is not None):
            raise ValueError(f"memory was given with a {reason}: it has its own places")
        if isinstance(memory, Tensor):
            require_vectors(memory, self.d_model, "memory")
        n_rows = len(memory if isinstance(memory, Tensor) else memory[0])
        if len(x) != n_rows:
            raise ValueError(f"x has a batch of {len(x)} but memory of {n_rows}")
