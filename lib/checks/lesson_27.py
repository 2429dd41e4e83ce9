"""The checks of the exercises in lesson 27, LoRA."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib.checks import Mistake, exercise, expect, hint_for, hint_for_tensor
from lib.checks import number as as_number
from lib.checks import returned, tensor
from lib.models.gpt import GPT, GPTConfig

__all__ = ["check_count", "check_merged", "check_best_adapter"]


def _noise(*shape: int, seed: int = 0) -> Tensor:
    """Return random numbers that are the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Exercise 1

GROUPED = GPTConfig(11, 12, 4, 2, 20, 6, n_kv_heads=2, ffn="swiglu")
EXPERTS = GPTConfig(11, 8, 2, 3, 20, 6, n_experts=2)


@exercise
def check_count(count_adapters) -> str:
    """Takes a function of a model, a rank and endings of names."""
    for config, rank, targets in (
        (GROUPED, 3, ("q_proj", "k_proj", "down")),
        (GROUPED, 1, ("k_proj",)),
        (GROUPED, 5, ("gate", "up", "out_proj")),
        (EXPERTS, 2, ("up", "v_proj")),
        (EXPERTS, 4, ("norm", "tokens")),
        (GROUPED, 2, ("attention.q_proj",)),
        (GROUPED, 2, ("0.attention.q_proj",)),
        (GROUPED, 2, ("q_proj", "proj")),
        (GROUPED, 2, ("attention",)),
        (GROUPED, 2, ("head",)),
    ):
        model = GPT(config)
        before = {name: p.clone() for name, p in model.named_parameters()}
        parts = [type(part) for part in model.modules()]
        answer = count_adapters(model, rank, targets)
        now = dict(model.named_parameters())
        same = now.keys() == before.keys() and all(
            torch.equal(now[name], p) and now[name].requires_grad
            for name, p in before.items()
        )
        words = "Your function changed the model; it should only count."
        same = same and model.training
        expect(same and parts == [type(part) for part in model.modules()], words)
        _expect_count(answer, model, rank, targets)
    return "A thin product for every matrix."


def _expect_count(answer: object, model: GPT, rank: int, targets: tuple) -> None:
    named = [
        p
        for n, p in model.named_modules()
        if isinstance(p, nn.Linear) and n.endswith(targets)
    ]
    given = as_number(answer)
    right = sum(rank * (p.in_features + p.out_features) for p in named)
    hints = _count_mistakes(model, named, rank)
    hints.pop(right, None)
    hints.pop(0, None)
    words = "Each layer that matches has r (d_in + d_out) numbers more; any ending of "
    words += "its whole name counts, such as `proj` of `blocks.0.attention.q_proj`."
    expect(
        given == right,
        f"With rank {rank} and {targets} it is {right}; yours: {given:g}. "
        + hint_for(given, hints, words),
    )
    if type(answer) is not int:
        raise Mistake(f"A number of parameters is an int, not {type(answer).__name__}.")


def _count_mistakes(model: GPT, named: list[nn.Linear], rank: int) -> dict[int, str]:
    """Return the numbers that known mistakes give, with what to say of them."""
    sizes = [(p.in_features, p.out_features) for p in named]
    both = sum(i + o for i, o in sizes)
    square = "Layers need not be square: A has d_in columns, B has d_out rows."
    linear = [p for p in model.modules() if isinstance(p, nn.Linear)]
    every = sum(p.in_features + p.out_features for p in linear)
    return {
        rank * sum(2 * i for i, _ in sizes): square,
        rank * sum(2 * o for _, o in sizes): square,
        rank * sum(2 * i for i, o in sizes if i == o): (
            "You left out all layers that are not square."
        ),
        sum(i * o for i, o in sizes): "Those are the numbers of the layers.",
        rank * sum(i for i, _ in sizes): "B is missing.",
        rank * sum(o for _, o in sizes): "A is missing.",
        rank * sum(sizes[0] if sizes else ()): (
            "That is the first layer alone; add up all that match."
        ),
        both: "Times the rank.",
        rank * both + sum(o for _, o in sizes): "An adapter has no bias.",
        rank * every: "Those are all layers; take those whose names end with a target.",
        (rank + 1) * both: "A rank of r means r rows in A, not r + 1.",
    }


# Exercise 2


@exercise
def check_merged(merge_two) -> str:
    """Takes a function of a weight, two adapters and a share."""
    for d_out, d_in, ranks, alphas, share in (
        (5, 7, (2, 4), (9.0, 7.0), 0.25),
        (6, 4, (3, 3), (2.0, 5.0), 0.8),
        (4, 4, (4, 1), (1.0, 6.0), 1.0),
        (3, 8, (2, 3), (4.0, 4.0), 0.0),
    ):
        weight = _noise(d_out, d_in, seed=d_in)
        pair = []
        for number, (rank, alpha) in enumerate(zip(ranks, alphas, strict=True)):
            seed = 10 * number + rank
            a, b = _noise(rank, d_in, seed=seed), _noise(d_out, rank, seed=seed + 1)
            pair.append((a, b, alpha))
        given_ones = [weight, *pair[0][:2], *pair[1][:2]]
        before = [each.clone() for each in given_ones]
        given = tensor(merge_two(weight, *pair, share), (d_out, d_in))
        names = ("weight", "a", "b", "a", "b")
        for name, old, now in zip(names, before, given_ones, strict=True):
            words = f"Your function changed `{name}` itself: leave it as it is."
            expect(torch.equal(old, now), words)
        right = _mixed(weight, *pair, share)
        if not torch.allclose(given.double(), right.double(), atol=1e-4):
            words = "The weight, plus share times alpha / r times b @ a, for both."
            hint = hint_for_tensor(given, _merge_mistakes(weight, *pair, share), words)
            raise Mistake(f"With ranks {ranks} and share {share} it is wrong. {hint}")
        expect(given.data_ptr() != weight.data_ptr(), "Return a new matrix.")
    return "Two voices in one matrix."


def _product(one: tuple, rank: int | None = None) -> Tensor:
    a, b, alpha = one
    return alpha / (rank or len(a)) * (b @ a)


def _mixed(weight: Tensor, first: tuple, second: tuple, share: float) -> Tensor:
    return weight + share * _product(first) + (1 - share) * _product(second)


def _merge_mistakes(weight: Tensor, first: tuple, second: tuple, share: float) -> dict:
    right, alone = _mixed(weight, first, second, share), (1, 1)
    loud = [_product(one, rank) for one, rank in zip((first, second), alone)]
    ranks = len(first[0]), len(second[0])
    found = {
        "Divide alpha by the rank.": weight + share * loud[0] + (1 - share) * loud[1],
        "The first adapter gets `share`, the second the rest.": _mixed(
            weight, second, first, share
        ),
        "Each adapter only gets its share.": weight
        + _product(first)
        + _product(second),
        "The weight itself is missing.": right - weight,
        "Each adapter has a rank of its own.": weight
        + share * _product(first)
        + (1 - share) * _product(second, ranks[0]),
        "The rank is `len(a)`; `len(b)` is the size of the output.": weight
        + share * _product(first, len(weight))
        + (1 - share) * _product(second, len(weight)),
        "The second adapter is missing.": weight + share * _product(first),
        "The weight counts in full, whatever the shares.": share * weight
        + right
        - weight,
    }
    if ranks[0] == ranks[1]:
        words = "Mix the products, not the matrices A and B."
        found[words] = weight + _product(_mixed_matrices(first, second, share))
    return found | _other_mistakes(weight, first, second, share)


def _other_mistakes(weight: Tensor, first: tuple, second: tuple, share: float) -> dict:
    whole = [(a, b, len(a) * (alpha // len(a))) for a, b, alpha in (first, second)]
    return {
        "`//` cuts off what is behind the comma: divide alpha by the rank with `/`.": (
            _mixed(weight, *whole, share)
        ),
        "Each adapter has an alpha of its own.": _mixed(
            weight, first, (*second[:2], first[2]), share
        ),
        "`share` is missing: yours mixes half and half.": _mixed(
            weight, first, second, 0.5
        ),
    }


def _mixed_matrices(first: tuple, second: tuple, share: float) -> tuple:
    """Return an adapter whose matrices are mixed, which is a mistake."""
    pairs = zip(first, second, strict=True)
    return tuple(share * one + (1 - share) * other for one, other in pairs)


# Exercise 3

TERMS = (
    "Take the first `rank` terms of the SVD: columns of u, and rows of vh, in float32."
)
SIZES = ((6, 9, 2, 5.0), (8, 5, 3, 1.0), (5, 5, 1, 3.0), (4, 7, 4, 8.0))


@exercise
def check_best_adapter(best_adapter) -> str:
    """Takes a function of two matrices, a rank and alpha."""
    for d_out, d_in, rank, alpha in SIZES:
        old, new = _noise(d_out, d_in, seed=1), _noise(d_out, d_in, seed=2)
        before = old.clone(), new.clone()
        answer = returned(best_adapter(old, new, rank, alpha))
        pair = isinstance(answer, (tuple, list)) and len(answer) == 2
        expect(pair, "Return a pair: a and b.")
        for name, kept, now in zip(("old", "new"), before, (old, new), strict=True):
            expect(torch.equal(kept, now), f"Your function changed `{name}` itself.")
        shapes = [tuple(each.shape) for each in answer if isinstance(each, Tensor)]
        swapped = shapes == [(d_out, rank), (rank, d_in)]
        expect(not swapped, "a comes first, and has `rank` rows; b has `rank` columns.")
        a = tensor(answer[0], (rank, d_in), "a").double()
        b = tensor(answer[1], (d_out, rank), "b").double()
        change = (new - old).double()
        _expect_best(b @ a, change, new.double(), rank, alpha)
    return "The first terms say most."


def _terms(matrix: Tensor, places: slice) -> Tensor:
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u[:, places] @ s[places].diag() @ vh[places]


def _expect_best(
    product: Tensor, change: Tensor, new: Tensor, rank: int, alpha: float
) -> None:
    error = (alpha / rank * product - change).norm().item()
    best = (_terms(change, slice(rank)) - change).norm().item()
    hints = _best_mistakes(change, new, rank, alpha)
    expect(
        error <= best + 1e-4 * (1 + best),
        f"With rank {rank} the best leaves an error of {best:.3f}; yours leaves "
        f"{error:.3f}. "
        + hint_for_tensor(product, hints, TERMS),
    )


def _best_mistakes(
    change: Tensor, new: Tensor, rank: int, alpha: float
) -> dict[str, Tensor]:
    """Return what to say of the products that known mistakes give."""
    u, s, vh = torch.linalg.svd(change, full_matrices=False)
    first, scale = _terms(change, slice(rank)), rank / alpha
    last = _terms(change, slice(len(s) - rank, None))
    bare, twice = (
        u[:, :rank] @ values.diag() @ vh[:rank]
        for values in (torch.ones_like(s[:rank]), s[:rank].square())
    )
    return {
        "The scale is missing: b @ a is multiplied by alpha / rank later.": first,
        "Divide by alpha / rank; you multiplied.": first / scale,
        "Divide by alpha / rank, not by alpha.": first / alpha,
        "Each of a and b took the whole scale: together it counts twice.": (
            scale**2 * first
        ),
        "Those are the last terms; the first ones are the largest.": scale * last,
        "Approximate the change, new - old.": scale * _terms(new, slice(rank)),
        "It is new - old, not the other way round.": -scale * first,
        "The singular values are missing.": scale * bare,
        "The singular values count once: in a, in b, or half in each.": scale * twice,
    }
