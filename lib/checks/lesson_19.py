"""The checks of the exercises in lesson 19, modern blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from lib.checks import Mistake, exercise, expect, hint_for, hint_for_tensor
from lib.checks import number as as_number
from lib.checks import tensor
from lib.models.gpt import GPT, GPTConfig
from lib.position import Rotary

__all__ = ["check_cache_bytes", "check_half_split", "check_share_heads"]


def _noise(*shape: int, seed: int = 0) -> Tensor:
    """Return random numbers that are the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Exercise 1


@exercise
def check_cache_bytes(cache_bytes) -> str:
    """Takes a function of a config."""
    parts = dict(position="rotary", vocab_size=7)
    for values in (
        dict(d_model=36, n_heads=6, n_layers=7, context_length=11, n_kv_heads=3),
        dict(d_model=24, n_heads=4, n_layers=2, context_length=9),
        dict(d_model=16, n_heads=2, n_layers=1, context_length=5, d_head=12),
        dict(d_model=16, n_heads=8, n_layers=5, context_length=6, n_kv_heads=1),
        dict(
            d_model=16, n_heads=4, n_layers=3, context_length=5, n_kv_heads=2, d_head=14
        ),
    ):
        _expect_bytes(cache_bytes, GPTConfig(**values, **parts, d_ff=20), values)
    return "Fewer key heads, a smaller cache."


def _expect_bytes(cache_bytes, config: GPTConfig, values: dict) -> None:
    right = _real_bytes(config)
    given = as_number(cache_bytes(config))
    d_head = config.d_head or config.d_model // config.n_heads
    n_kv_heads, length = config.n_kv_heads or config.n_heads, config.context_length
    hints = {
        right / d_head * (config.d_model // n_kv_heads): "A head is "
        "`d_model / n_heads` wide, however many key heads there are.",
        right / 2: "Half of it: the cache holds keys *and* values.",
        right / 4: "These are numbers; a float32 takes 4 bytes.",
        right / config.n_layers: "That is one block; each block has a cache.",
        right / length: "That is one position; the cache has room for all.",
        right / n_kv_heads * config.n_heads: "Count the *key* heads, `n_kv_heads`.",
        right / n_kv_heads: "That is one key head; there are `n_kv_heads` of them.",
        right / d_head * config.d_model: "A key is `d_head` wide, not `d_model`.",
        right / d_head * (config.d_model // config.n_heads): "`d_head` is given here: "
        "use it.",
    }
    otherwise = "Multiply blocks, 2, key heads, positions, `d_head` and 4 bytes."
    expect(
        given == right,
        f"With {values} the cache takes {right:,} bytes; yours: {given:,.0f}. "
        + hint_for(given, hints, otherwise),
    )


@torch.no_grad()
def _real_bytes(config: GPTConfig) -> int:
    """Fill a cache and measure it."""
    model = GPT(config)
    caches = model.new_cache()
    model(torch.zeros(1, config.context_length, dtype=torch.long), caches)
    return sum(cache.keys.nbytes + cache.values.nbytes for cache in caches)


# Exercises 2 and 3


def _expect_untouched(before: Tensor, now: Tensor) -> None:
    expect(
        torch.equal(before, now),
        "Your function changed `weight` itself: return a new matrix.",
    )


def _expect_near(given: Tensor, right: Tensor, hints: dict, otherwise: str) -> None:
    if torch.allclose(given.double(), right.double(), atol=1e-5):
        return
    far = ~torch.isclose(given.double(), right.double(), atol=1e-5)
    row, column = far.nonzero()[0].tolist()
    raise Mistake(
        f"The first wrong number, in row {row}, is {given[row, column]:.3f}, not "
        f"{right[row, column]:.3f}. " + hint_for_tensor(given, hints, otherwise)
    )


@exercise
def check_half_split(half_split) -> str:
    """Takes a function of weight and n_heads."""
    for n_heads, d_head, d_model in ((2, 8, 6), (3, 4, 5), (1, 6, 6)):
        weight = _noise(n_heads * d_head, d_model, seed=n_heads)
        heads = weight.unflatten(0, (n_heads, -1))
        right = torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1).flatten(0, 1)
        before = weight.clone()
        given = tensor(half_split(weight, n_heads), tuple(weight.shape))
        _expect_untouched(before, weight)
        _expect_near(given, right, _split_mistakes(weight, heads), SPLIT_OTHERWISE)
        _expect_same_scores(given, weight, n_heads)
    return "The same scores, in the other layout."


SPLIT_OTHERWISE = "In each head first the even rows, then the odd ones."


def _split_mistakes(weight: Tensor, heads: Tensor) -> dict[str, Tensor]:
    first, second = heads.chunk(2, dim=1)
    back = torch.stack([first, second], dim=2).flatten(0, 2)
    return {
        "That is the order that you were given.": weight,
        "That is the way back, from half-split to interleaved.": back,
        "You split all rows at once; split the rows of each head.": torch.cat(
            [weight[0::2], weight[1::2]]
        ),
        "Even rows first, then the odd ones.": torch.cat(
            [heads[:, 1::2], heads[:, 0::2]], dim=1
        ).flatten(0, 1),
    }


def _expect_same_scores(given: Tensor, weight: Tensor, n_heads: int) -> None:
    """Compare with the rotation of neighbours, by complex numbers."""
    x = _noise(7, weight.size(1), seed=9)
    q = (x @ weight.T).unflatten(-1, (n_heads, -1)).transpose(0, 1)  # (H, T, Dh)
    pairs = torch.view_as_complex(q.unflatten(-1, (-1, 2)).contiguous())
    speeds = 1e4 ** -(torch.arange(pairs.size(-1)) / pairs.size(-1))
    turns = torch.polar(torch.ones(1), torch.arange(7).unsqueeze(1) * speeds)
    turned = torch.view_as_real(pairs * turns).flatten(-2)
    ours = (x @ given.float().T).unflatten(-1, (n_heads, -1)).transpose(0, 1)
    ours = Rotary(ours.size(-1), 7)(ours)
    same = torch.allclose(ours @ ours.mT, turned @ turned.mT, atol=1e-3)
    expect(same, "The scores of the library's `Rotary` are not those of the file.")


@exercise
def check_share_heads(share_heads) -> str:
    """Takes a function of weight, n_heads and n_kv_heads."""
    for n_heads, n_kv_heads, d_head, d_model in (
        (4, 2, 3, 5),
        (6, 2, 4, 4),
        (4, 1, 2, 3),
        (3, 3, 2, 4),
    ):
        weight = _noise(n_heads * d_head, d_model, seed=n_heads)
        groups = weight.unflatten(0, (n_kv_heads, n_heads // n_kv_heads, d_head))
        before = weight.clone()
        answer = share_heads(weight, n_heads, n_kv_heads)
        given = tensor(answer, (n_kv_heads * d_head, d_model))
        _expect_untouched(before, weight)
        right = groups.mean(dim=1).flatten(0, 1)
        hints = _share_mistakes(weight, groups)
        _expect_near(given, right, hints, "Each new head is the mean of its group.")
    return "As many keys as there are groups."


def _share_mistakes(weight: Tensor, groups: Tensor) -> dict[str, Tensor]:
    n_kv_heads, n_shared, d_head = groups.shape[:3]
    in_turn = weight.unflatten(0, (n_shared, n_kv_heads, d_head)).mean(dim=0)
    return {
        "That is the sum of each group; take the mean.": groups.sum(1).flatten(0, 1),
        "You kept the first head of each group; take the mean.": groups[:, 0].flatten(
            0, 1
        ),
        "You kept the last head of each group; take the mean.": groups[:, -1].flatten(
            0, 1
        ),
        "You grouped heads 0, 2, 4, ...; groups are neighbours.": in_turn.flatten(0, 1),
        "You grouped rows across heads: unflatten into (H_kv, H / H_kv, Dh).": (
            weight.unflatten(0, (n_kv_heads, d_head, n_shared)).mean(2).flatten(0, 1)
        ),
    }
