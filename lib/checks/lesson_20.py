"""The checks of the exercises in lesson 20, long context."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lib.attention import window_mask
from lib.checks import Mistake, exercise, expect, hint_for, hint_for_tensor, returned
from lib.checks import number as as_number
from lib.checks import tensor
from lib.models.gpt import GPT, GPTConfig

__all__ = ["check_window_bytes", "check_merge", "check_new_mask"]


def _noise(*shape: int, seed: int = 0) -> Tensor:
    """Return random numbers that are the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Exercise 1


@exercise
def check_window_bytes(window_bytes) -> str:
    """Takes a function of a config."""
    parts = dict(position="rotary", vocab_size=7, d_ff=20)
    for values in (
        dict(d_model=24, n_heads=4, n_layers=7, context_length=19, window=5)
        | dict(full_every=3, n_kv_heads=2),
        dict(d_model=24, n_heads=6, n_layers=3, context_length=9),
        dict(d_model=8, n_heads=2, n_layers=5, context_length=9, window=4)
        | dict(full_every=3),
        dict(d_model=8, n_heads=2, n_layers=3, context_length=9, window=4)
        | dict(full_every=1),
        dict(d_model=8, n_heads=2, n_layers=2, context_length=9, window=4)
        | dict(full_every=3),
        dict(d_model=16, n_heads=2, n_layers=2, context_length=6, window=50),
        dict(d_model=16, n_heads=4, n_layers=5, context_length=11, window=3)
        | dict(d_head=6),
        dict(d_model=16, n_heads=4, n_layers=6, context_length=11, window=4)
        | dict(full_every=2, n_kv_heads=1, d_head=10),
    ):
        _expect_bytes(window_bytes, GPTConfig(**values, **parts), values)
    return "A window's cache does not grow with the text."


def _expect_bytes(window_bytes, config: GPTConfig, values: dict) -> None:
    right = _real_bytes(config)
    given = as_number(window_bytes(config))
    otherwise = "Add the room of all blocks; times 2, key heads, `d_head`, 4 bytes."
    expect(
        given == right,
        f"With {values} the caches take {right:,} bytes; yours: {given:,.0f}. "
        + hint_for(given, _byte_mistakes(config, right), otherwise),
    )


def _byte_mistakes(c: GPTConfig, right: int) -> dict[float, str]:
    """Return the wrong numbers that known mistakes give."""
    length, d_head = c.context_length, c.d_head or c.d_model // c.n_heads
    n_kv_heads = c.n_kv_heads or c.n_heads
    per_token = 8 * n_kv_heads * d_head
    n_full = c.n_layers // c.full_every if c.full_every else 0
    room = length if c.window is None else min(c.window, length)

    def total(n_full: int, room: int, full: int = length) -> float:
        return per_token * (n_full * full + (c.n_layers - n_full) * room)

    hints = {
        total(n_full, length): "A block with a window has room for `window` tokens.",
        total(0, room): "The blocks that `full_every` names have no window.",
        total(n_full, c.window or length): "A window wider than the context has room "
        "for the context only.",
        right / 2: "Half of it: the cache holds keys *and* values.",
        right / 4: "These are numbers; a float32 takes 4 bytes.",
        right / d_head * (c.d_model // n_kv_heads): "A head is `d_model / n_heads` "
        "wide, however many key heads there are.",
        right / n_kv_heads * c.n_heads: "Count the *key* heads, `n_kv_heads`.",
        right / d_head * (c.d_model // c.n_heads): "`d_head` is given here: use it.",
        right / d_head * c.d_model: "A key is `d_head` wide, not `d_model`.",
        right / c.n_layers: "That is the mean of a block; add all blocks.",
    }
    if c.full_every:
        around = -(-c.n_layers // c.full_every)
        hints[total(around, room)] = "Blocks are counted from 1: the first is not full."
        hints[total(c.n_layers - n_full, room)] = "You swapped the two kinds of blocks."
        hints[total(1, room)] = "Each multiple of `full_every` is full, not one block."
    hints.pop(right, None)
    return hints


@torch.no_grad()
def _real_bytes(config: GPTConfig) -> int:
    """Fill the caches and measure them."""
    model = GPT(config)
    caches = model.new_cache()
    model(torch.zeros(1, config.context_length, dtype=torch.long), caches)
    return sum(cache.keys.nbytes + cache.values.nbytes for cache in caches)


# Exercise 2

Triple = tuple[Tensor, Tensor, Tensor]
NAMES = ("m", "l", "o")


@exercise
def check_merge(merge) -> str:
    """Takes a function of two triples (m, l, o)."""
    for length, width, cut, empty, far in (
        (5, 4, 3, None, 0),
        (3, 2, 1, None, 0),
        (4, 4, 6, slice(6, 8), 0),
        (2, 7, 4, slice(4), 0),
        (3, 2, 4, None, 200),
        (3, 2, 4, None, -200),
        (2, 3, 4, slice(4), -20_000),
    ):
        scores, values = 4 * _noise(length, 8, seed=length), _noise(8, width, seed=9)
        scores = scores + far  # e to the power of these is 0 or too large
        if empty is not None:
            scores[1, empty] = -math.inf
        first = _part(scores[:, :cut], values[:cut])
        second = _part(scores[:, cut:], values[cut:])
        _expect_merged(merge, first, second, _part(scores, values))
    return "So attention can be spread over many machines."


def _part(scores: Tensor, values: Tensor) -> Triple:
    """Return m, l and o of some keys; a score of -inf is no key."""
    m = scores.amax(dim=-1, keepdim=True)
    p = (scores - m.masked_fill(m == -math.inf, 0)).exp()
    return m, p.sum(dim=-1, keepdim=True), p @ values


def _expect_merged(merge, first: Triple, second: Triple, right: Triple) -> None:
    before = [w.clone() for w in (*first, *second)]
    answer = returned(merge(first, second))
    expect(
        isinstance(answer, tuple | list) and len(answer) == 3,
        "Return three tensors, m, l and o; yours is a "
        f"{type(answer).__name__} of {getattr(answer, '__len__', lambda: 0)()}.",
    )
    untouched = all(
        torch.equal(a, b) for a, b in zip(before, (*first, *second), strict=True)
    )
    expect(untouched, "Your function changed what it was given: make new tensors.")
    hints = _merge_mistakes(first, second, right)
    for name, given, wanted in zip(NAMES, answer, right, strict=True):
        given = tensor(given, tuple(wanted.shape), f"`{name}`")
        if not torch.allclose(given.double(), wanted.double(), rtol=1e-4, atol=1e-5):
            expect(
                bool(given.isfinite().all()),
                f"`{name}` holds nan or inf where one half is empty, or where scores "
                "are large. Shrink by e^(m_side - m), with the new m: that is 0 there.",
            )
            otherwise = f"`{name}` is wrong. Each side shrinks by e^(m_side - m)."
            if name == "m":
                otherwise = "`m` is wrong: it is the larger of the two, query by query."
            raise Mistake(hint_for_tensor(given, hints[name], otherwise))


def _merge_mistakes(first: Triple, second: Triple, right: Triple) -> dict:
    """Return, for each of the three, the wrong tensors that known mistakes give."""
    (m1, l1, o1), (m2, l2, o2), m = first, second, right[0]
    shrink1, shrink2 = (m1 - m).exp(), (m2 - m).exp()
    plain = "You added {} without shrinking what was computed with a smaller m."
    one = "Only one side of {} was shrunk; either may have the smaller m."
    grown = "{} grew: the exponent is m_side - m, not m - m_side."
    return {
        "m": {
            "`m` is the larger of the two, query by query.": m1,
            "`m` is the larger of the two, not the smaller.": torch.minimum(m1, m2),
            "`m` is the larger of the two, not their sum.": m1 + m2,
            "`m` is taken for each query on its own.": torch.full_like(m, m.max()),
        },
        "l": {
            plain.format("l"): l1 + l2,
            one.format("l"): shrink1 * l1 + l2,
            one.format("l") + " ": l1 + shrink2 * l2,
            grown.format("l"): l1 / shrink1 + l2 / shrink2,
        },
        "o": {
            plain.format("o"): o1 + o2,
            one.format("o"): shrink1 * o1 + o2,
            one.format("o") + " ": o1 + shrink2 * o2,
            "Return the sum o, not yet divided by l.": right[2] / right[1],
            "The mean of two outputs gives both halves the same weight.": (
                o1 / l1 + o2 / l2
            )
            / 2,
        },
    }


# Exercise 3


@exercise
def check_new_mask(new_mask) -> str:
    """Takes a function of n_new, n_keys and window."""
    for n_new, n_keys, window in (
        (4, 7, 3),
        (1, 6, 6),
        (5, 5, 2),
        (3, 9, 1),
        (6, 8, 50),
        (2, 12, 5),
        (1, 6, 3),
        (1, 500, 9),
    ):
        right = window_mask(n_keys, window)[n_keys - n_new :]
        with _Largest() as largest:
            answer = new_mask(n_new, n_keys, window)
        given = tensor(answer, (n_new, n_keys))
        expect(
            given.dtype == torch.bool,
            f"The mask must be bool; yours is {given.dtype}.",
        )
        if not torch.equal(given, right):
            _raise_wrong_mask(given, right, n_new, n_keys, window)
        expect(
            largest.n_numbers < max(100, n_keys**2),
            f"Right, but for {n_new} new token(s) it built a table of {n_keys} x "
            f"{n_keys}: compute the new rows only.",
        )
    return "The queries are the last of the positions."


def _raise_wrong_mask(
    given: Tensor, right: Tensor, n_new: int, n_keys: int, window: int
) -> None:
    row, key = (given != right).nonzero()[0].tolist()
    hints = _mask_mistakes(n_new, n_keys, window, right)
    otherwise = "The distance is `n_keys - n_new + i - j`: 0 to window - 1."
    raise Mistake(
        f"With n_new={n_new}, n_keys={n_keys}, window={window}: new token {row} "
        f"{'may' if right[row, key] else 'may not'} look at key {key}. "
        + hint_for_tensor(given, hints, otherwise)
    )


class _Largest(TorchDispatchMode):
    """Remembers how many numbers the largest new tensor holds."""

    n_numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.n_numbers = max(self.n_numbers, result.numel())
        return result


def _mask_mistakes(n_new: int, n_keys: int, window: int, right: Tensor) -> dict:
    """Return words that name a mistake, and the mask that it gives."""
    queries = torch.arange(n_keys - n_new, n_keys).unsqueeze(1)
    distance = queries - torch.arange(n_keys)
    top = torch.arange(n_new).unsqueeze(1) - torch.arange(n_keys)
    found = {
        "Your queries are the first positions; they are the last.": (top >= 0)
        & (top < window),
        "The window is one too wide: it holds the token itself.": (distance >= 0)
        & (distance <= window),
        "A token may look at itself.": (distance > 0) & (distance <= window),
        "It may not look at itself in yours, or the window is one too narrow.": (
            distance > 0
        )
        & (distance < window),
        "A token may look at itself; the window is one too narrow.": (distance >= 0)
        & (distance < window - 1),
        "There is no window in yours.": distance >= 0,
        "Yours looks into the future.": distance.abs() < window,
        "There is nothing against the future in yours.": distance < window,
        "True must stand where looking is allowed.": ~right,
        "Your queries stand one place too early: the first is at n_keys - n_new.": (
            distance - 1 >= 0
        )
        & (distance - 1 < window),
        "Old keys are n_keys - n_new, whatever the window is.": (top + window > 0)
        & (top + window <= window),
    }
    return {words: mask for words, mask in found.items() if not mask.equal(right)}
