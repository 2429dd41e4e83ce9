"""The checks of the exercises in lesson 26, fine-tuning."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from lib.checks import Mistake, exercise, expect, hint_for, returned, tensor
from lib.models.gpt import GPT, GPTConfig

__all__ = ["check_freeze_first", "check_drift", "check_mixed_batch"]

SMALL = GPTConfig(11, 8, 2, 3, 12, 6, position="rotary", tie_weights=False)
TIED = replace(SMALL, tie_weights=True)
LEARNED = replace(SMALL, position="learned")


def _model(config: GPTConfig, seed: int) -> GPT:
    """Return a model whose parameters are all different from 0."""
    generator = torch.Generator().manual_seed(seed)
    model = GPT(config).eval()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model


def _expect_weights(before: nn.Module, now: nn.Module, words: str) -> None:
    pairs = zip(before.parameters(), now.parameters(), strict=True)
    expect(all(torch.equal(old, new) for old, new in pairs), words)


# Exercise 1


@exercise
def check_freeze_first(freeze_first) -> str:
    """Takes a function of a GPT and a number of blocks."""
    for config in (SMALL, TIED, replace(TIED, n_layers=12), LEARNED):
        for n in (2, 0, 1, 3, 11):
            if n <= config.n_layers:
                model = _model(config, seed=n)
                model.requires_grad_(n == 0)  # what was frozen before
                _check_frozen(freeze_first, model, n)
    return "The upper blocks learn, whatever was frozen before."


def _check_frozen(freeze_first, model: GPT, n: int) -> None:
    before = copy.deepcopy(model)
    answer = returned(freeze_first(model, n))
    _expect_weights(before, model, "The weights themselves must stay as they are.")
    learn = {name for name, p in model.named_parameters() if p.requires_grad}
    frozen = ("tokens.", *(f"blocks.{i}." for i in range(n)))
    right = {k for k, _ in model.named_parameters() if not k.startswith(frozen)}
    old = {name for name, p in before.named_parameters() if p.requires_grad}
    words = "Your function changed nothing. Let everything learn first, then freeze; "
    words += "and change the model that you get, no copy."
    expect(learn != old or old == right, words)
    _expect_names(learn, right, n)
    kind = type(answer).__name__
    expect(type(answer) is int, f"Return an int; yours has the type {kind}.")
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    count, total = sum(sizes[name] for name in right), sum(sizes.values())
    hints = {
        total - count: "That is how many are frozen.",
        total: "Those are all parameters.",
        len(right): "Those are tensors; count their numbers.",
    }
    words = "Count the numbers of every parameter that learns, each once."
    expect(
        answer == count,
        f"With n={n}, {count} parameters learn; you returned {answer}. "
        + hint_for(answer, hints, words),
    )


def _expect_names(learn: set[str], right: set[str], n: int) -> None:
    """Expect that those parameters learn which should."""
    if missing := sorted(right - learn):
        words = "was it frozen before? Let everything learn first."
        if missing[0].startswith(f"blocks.{n}."):
            words = f"with n={n} only blocks before number {n} are frozen. Or {words}"
        raise Mistake(f"With n={n}, {missing[0]} does not learn: {words}")
    if extra := sorted(learn - right):
        words = "the embedding is frozen too, with a tied head as well."
        if extra[0].startswith("blocks."):
            words = f"the first {n} blocks are frozen."
        raise Mistake(f"With n={n}, {extra[0]} learns: {words}")


# Exercise 2


@exercise
def check_drift(drift) -> str:
    """Takes a function of two models."""
    for config, seed in ((SMALL, 0), (TIED, 5)):
        pair = [_model(config, seed + i) for i in range(2)]
        pair[1].head.weight.data *= 3
        for model in pair:
            model.blocks[0].requires_grad_(False)
        kept = copy.deepcopy(pair)
        answer = returned(drift(*pair))
        for name, old, new in zip(("before", "after"), kept, pair, strict=True):
            _expect_weights(old, new, f"You changed the model `{name}` itself.")
            same = all(
                a.requires_grad == b.requires_grad
                for a, b in zip(old.parameters(), new.parameters(), strict=True)
            )
            expect(same, f"You froze parts of the model `{name}`.")
        _expect_drift(answer, *pair)
    same = drift(pair[0], pair[0])
    expect(all(v == 0 for v in same.values()), "A model has not moved from itself.")
    return "Now you can see where a tuning went."


def _expect_drift(answer: object, before: GPT, after: GPT) -> None:
    kind = type(answer).__name__
    expect(isinstance(answer, dict), f"Return a dictionary; yours is a {kind}.")
    olds = dict(before.named_parameters())
    if wrong := sorted(olds.keys() ^ set(answer), key=str):
        raise Mistake(f"One entry for each parameter, by its name: see {wrong[0]!r}.")
    for name, new in after.named_parameters():
        given, old = answer[name], olds[name].detach()
        kind = type(given).__name__
        expect(isinstance(given, float), f"{name} has a {kind}, not a Python float.")
        change = new.detach() - old
        size = change.norm().item()
        hints = {
            size: "Divide by the norm of what it was before.",
            size / new.norm().item(): "You divided by the norm afterwards.",
            (size / old.norm().item()) ** 2: "These are squares: take the root.",
            (new.norm() / old.norm()).item(): "Subtract first, then take the norm.",
            (new.norm() / old.norm() - 1).item(): "Subtract the matrices, not norms.",
            (new.norm() / old.norm() - 1).abs().item(): "Subtract matrices, not norms.",
            (change.abs().sum() / old.abs().sum()).item(): "The norm is the root of "
            "the sum of squares.",
            (change / old).norm().item(): "Take both norms first, then divide.",
            change.abs().max().item(): "The norm of all numbers, not the largest.",
        }
        right = size / old.norm().item()
        expect(
            math.isclose(given, right, rel_tol=1e-4),
            f"{name} has moved by {right:.4f}; yours: {given:.4f}. "
            + hint_for(given, hints, "The norm of the change over the norm before."),
        )


# Exercise 3

SIZES = ((6, 2, 4, 9), (5, 0, 3, 1), (3, 3, 7, 2), (8, 5, 1, 4))


@exercise
def check_mixed_batch(mixed_batch) -> str:
    """Takes a function of new, old, batch_size, n_old, T and a generator."""
    for size, n_old, length, room in SIZES:
        draw = torch.Generator().manual_seed(7)
        new = torch.randperm(room + length, generator=draw)
        old = 500 + torch.randperm(2 * room + length, generator=draw)
        places = torch.zeros(1000, dtype=torch.long)  # where an id stands in its text
        for text in (new, old):
            places[text] = torch.arange(len(text))
        kept, seen = (new.clone(), old.clone()), []
        for seed in range(60):
            generator = torch.Generator().manual_seed(seed)
            answer = returned(mixed_batch(new, old, size, n_old, length, generator))
            same = torch.equal(new, kept[0]) and torch.equal(old, kept[1])
            expect(same, "Your function changed `new` or `old` itself.")
            _expect_rows(answer, places, size, n_old, length)
            seen.append(answer[0][:, 0])
        _expect_random(places[torch.stack(seen)], n_old, (2 * room, room))
        again = torch.Generator().manual_seed(0)
        again = mixed_batch(new, old, size, n_old, length, again)[0]
        words = "The same seed must give the same batch: use `generator` for all rows."
        expect(torch.equal(again[:, 0], seen[0]), words)
        generator = torch.Generator().manual_seed(0)
        both = [mixed_batch(new, old, size, n_old, length, generator)[0] for _ in "ab"]
        words = "Two batches in a row are the same: do not seed the generator again."
        expect(room < 3 or not torch.equal(*both), words)
    return "Old and new in every step."


def _expect_rows(
    answer: object, places: Tensor, size: int, n_old: int, length: int
) -> None:
    pair = isinstance(answer, (tuple, list)) and len(answer) == 2
    expect(pair, "Return two tensors: inputs and targets.")
    inputs = tensor(answer[0], (size, length), "The inputs")
    targets = tensor(answer[1], (size, length), "The targets")
    for each in (inputs, targets):
        words = f"Ids stay whole numbers, of the type int64; yours are {each.dtype}."
        expect(each.dtype == torch.int64, words)
    known = bool(((inputs >= 0) & (inputs < len(places))).all())
    expect(known, "The inputs must be ids of the two texts.")
    is_old = inputs[:, 0] >= 500
    expect(
        bool(is_old[:n_old].all()) and not bool(is_old[n_old:].any()),
        f"The first n_old={n_old} rows must come from `old`, the others from `new`; in "
        f"yours {is_old.nonzero().flatten().tolist()} come from `old`.",
    )
    at = places[inputs]
    expect(
        torch.equal(at, at[:, :1] + torch.arange(length)),
        "A row of inputs must be a window: tokens that stand side by side.",
    )
    known = bool(((targets >= 0) & (targets < len(places))).all())
    expect(
        known
        and torch.equal(places[targets], at + 1)
        and torch.equal(targets >= 500, inputs >= 500),
        "The targets are the tokens of the text one place further, not larger numbers.",
    )


def _expect_random(seen: Tensor, n_old: int, rooms: tuple[int, int]) -> None:
    """Expect each row to start anywhere, and rows to differ."""
    starts_of = {"old": seen[:, :n_old], "new": seen[:, n_old:]}
    for (name, starts), room in zip(starts_of.items(), rooms, strict=True):
        if not starts.numel():
            continue
        highest = starts.max().item()
        expect(
            highest == room - 1 and starts.min().item() == 0,
            f"In 60 batches, windows of `{name}` start at {starts.min().item()} to "
            f"{highest}; there are places 0 to {room - 1}.",
        )
        if starts.size(1) < 2 or room < 2:
            continue
        apart = (starts - starts[:, :1]) % room
        alike = bool((apart == 0).all())
        expect(not alike, "All rows of a batch start at the same place.")
        fixed = bool((apart == apart[:1]).all())
        words = "The rows of a batch keep the same distance: draw a place for each row."
        expect(not fixed, words)
