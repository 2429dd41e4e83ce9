"""The checks of the exercises in lesson 17, masked language model."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from numbers import Integral

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.checks import (
    exercise,
    expect,
    hint_for,
    hint_for_tensor,
    number,
    returned,
    rounded,
)
from lib.models.masked_lm import MaskedLM, MaskedLMConfig

__all__ = ["check_count_losses", "check_corrupt", "check_fill_in", "check_scores"]


@exercise
def check_count_losses(count_losses) -> str:
    """Takes a function of n_steps, batch_size, context_length, share."""
    for n_steps, rows, T, share in (
        (270, 64, 16, 0.3),
        (50, 8, 40, 0.15),
        (10, 4, 3, 0.1),
        (20, 4, 16, 0.15),
        (3, 2, 8, 1.0),
    ):
        n_hidden = max(1, round(share * T))
        right = n_steps * rows * n_hidden
        answer = count_losses(n_steps, rows, T, share)
        given = number(answer)
        hints = _loss_mistakes(n_steps, rows, T, share)
        hints.pop(right, None)
        expect(
            abs(given - right) < 1e-6,
            f"For n_steps={n_steps}, batch_size={rows}, context_length={T} and share="
            f"{share} there are {right:,} losses, you return {given:,.0f}. "
            + hint_for(given, hints, "How many blanks has one row?"),
        )
        expect(
            isinstance(answer, Integral) and not isinstance(answer, bool),
            f"The number is right, but return an integer, not a "
            f"{type(answer).__name__}.",
        )
    return "From the left there would be one for every position."


def _loss_mistakes(n_steps: int, rows: int, T: int, share: float) -> dict[float, str]:
    n_hidden, n_rows = max(1, round(share * T)), n_steps * rows
    whole = "Each row has a whole number of blanks: round for one row first."
    return {
        n_rows * T: "That counts every position; only the blanks count.",
        n_steps * n_hidden: "That is one row per step; there are batch_size rows.",
        rows * n_hidden: "That is one batch; there are n_steps of them.",
        n_rows: "That is one loss per row.",
        n_rows * round(share * T): "Even a short row has one blank: see the `max` in "
        "mask_tokens.",
        n_rows * max(1, int(share * T)): "mask_tokens rounds to the nearest number, "
        "not down.",
        n_rows * math.ceil(share * T): "mask_tokens rounds to the nearest number, "
        "not up.",
        n_rows * share * T: whole,
        round(n_rows * share * T): whole,
        n_rows * (T - n_hidden): "Those are the visible places.",
        n_rows * min(T - 1, n_hidden): "With share=1.0 all of a row is hidden.",
    }


@exercise
def check_corrupt(corrupt) -> str:
    """Takes a function of ids, hidden, mask_id, vocab_size, generator."""
    for V, mask_id, seed in ((20, 20, 0), (50, 60, 1)):
        draw = torch.Generator().manual_seed(seed)
        ids = torch.randint(V, (300, 100), generator=draw)
        hidden = torch.rand(ids.shape, generator=draw) < 0.4
        before, drawn_before = ids.clone(), hidden.clone()
        given = returned(corrupt(ids, hidden, mask_id, V, _generator(5)))
        expect(
            torch.equal(ids, before) and torch.equal(hidden, drawn_before),
            "You changed `ids` or `hidden`; work on a copy.",
        )
        _expect_ids(given, ids)
        _expect_tokens(given, ids, hidden, mask_id, V)
        _expect_shares(given, ids, hidden, mask_id, V)
        again = [corrupt(ids, hidden, mask_id, V, _generator(s)) for s in (5, 6)]
        expect(
            torch.equal(given, again[0]),
            "Twice the same generator, and two results: take every random number from "
            "`generator`.",
        )
        expect(
            not torch.equal(given, again[1]),
            "Another generator gives the same result: use `generator`.",
        )
    _expect_any_token(corrupt)
    _expect_nothing_drawn(corrupt)
    return "Now a visible token may be a question, too."


def _expect_ids(given: object, ids: Tensor) -> None:
    expect(
        isinstance(given, Tensor) and given.shape == ids.shape,
        f"Return the inputs, one tensor of the shape {tuple(ids.shape)}.",
    )
    expect(
        given.dtype == ids.dtype,
        f"The inputs are token ids, of the dtype {ids.dtype}; yours are {given.dtype}.",
    )


def _expect_any_token(corrupt) -> None:
    """On one and the same token everywhere, with four generators."""
    ids, V = torch.ones(200, 100, dtype=torch.long), 2
    hidden = torch.rand(ids.shape, generator=_generator(3)) < 0.5
    given = [corrupt(ids, hidden, V, V, _generator(seed)) for seed in range(4)]
    other = (given[0][hidden] == 0).double().mean().item()
    hint = "one may happen to be the right one, so do not leave that one out."
    if other < 0.01:
        hint = "draw them with `torch.randint`, not from `ids`."
    expect(
        abs(other - 0.05) < 0.02,
        f"In a text of ones, with vocab_size={V}, {other:.0%} of the drawn tokens "
        f"became a 0; it should be about 5 %. A random token is any of 0 to "
        f"{V - 1}: {hint}",
    )
    expect(
        len({(inputs == V).sum().item() for inputs in given}) > 1,
        "There are equally many blanks with each generator: each place must decide by "
        "chance, not fill a fixed number.",
    )


def _expect_nothing_drawn(corrupt) -> None:
    """Where no place was drawn, and where no generator is given."""
    ids = torch.randint(6, (2, 5), generator=_generator(4))
    none = corrupt(ids, torch.zeros_like(ids, dtype=torch.bool), 6, 6, _generator(0))
    expect(
        torch.equal(none, ids),
        "Where `hidden` is False everywhere, nothing may change.",
    )
    every = torch.ones(80, 90, dtype=torch.bool)
    given = [corrupt(torch.full((80, 90), 3), every, 6, 6) for _ in range(2)]
    expect(
        not torch.equal(*given),
        "Without a `generator` two calls give the same: then PyTorch's own random "
        "numbers decide, not a fixed seed.",
    )


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _expect_tokens(
    given: Tensor, ids: Tensor, hidden: Tensor, mask_id: int, V: int
) -> None:
    expect(
        torch.equal(given[~hidden], ids[~hidden]),
        "A place that was not drawn has changed; only those in `hidden` may.",
    )
    others = given[hidden & (given != mask_id) & (given != ids)]
    inside = (others >= 0) & (others < V)
    expect(
        bool(inside.all()),
        f"A random token is {others[~inside][:1].tolist()}; with vocab_size={V} it "
        f"must be one of 0 to {V - 1}.",
    )
    if len(others) > 20 * V:
        shares = others.long().bincount(minlength=V) / len(others)
        expect(
            shares.min() > 0.4 / V and shares.max() < 2 / V,
            "Not all tokens come equally often as random tokens: draw a new one from "
            f"0 to {V - 1} for each place, with `torch.randint`.",
        )


def _expect_shares(
    given: Tensor, ids: Tensor, hidden: Tensor, mask_id: int, V: int
) -> None:
    found, same = given[hidden], given[hidden] == ids[hidden]
    blank = (found == mask_id).double().mean().item()
    same = same.double().mean().item()
    other = 1 - blank - same
    _expect_independence(given == mask_id, hidden)
    expect(
        abs(blank - 0.8) < 0.02
        and abs(same - 0.1 - 0.1 / V) < 0.02
        and abs(other - 0.1 + 0.1 / V) < 0.02,
        f"Of the drawn tokens {blank:.0%} became a blank, {other:.0%} another token, "
        f"and {same:.0%} stayed; it should be about 80, 10 and 10 %. "
        + _share_hint(blank, other, same),
    )


def _expect_independence(blank: Tensor, hidden: Tensor) -> None:
    shares = [
        (blank & hidden).double().sum(dim) / hidden.double().sum(dim) for dim in (0, 1)
    ]
    mixed = 0.02 < (blank & hidden).sum() / hidden.sum() < 0.98
    expect(
        not mixed or all(0.02 < share.std() < 0.15 for share in shares),
        "Rows or columns are too much alike: each place must decide for itself, by a "
        "random number of its own.",
    )


def _share_hint(blank: float, other: float, same: float) -> str:
    if blank > 0.98:
        return "All of them became blanks."
    if blank < 0.02:
        return "There are no blanks; they get `mask_id`."
    if abs(blank - 0.1) < 0.03:
        return "The shares are swapped."
    if abs(blank - 0.8) < 0.02 and other < 0.03 and other > 0.005:
        return "The 10 % are a share of all drawn tokens, not of what is left."
    if abs(blank - 0.8) < 0.02 and other < 0.005:
        return "None became random."
    if abs(blank - 0.8) < 0.02 and same < 0.03:
        return "None stays as it is."
    if abs(blank - 0.72) < 0.02:
        return "Some blanks were overwritten: decide once for each place, not twice."
    return "Decide with one random number for each place."


# Seed of the model and of the text, its length, where its blanks are.
FILLINGS = [
    (1, 8, [1, 2, 5, 6]),
    (2, 8, [1, 3, 5, 7]),
    (15, 8, [0, 1, 3, 4, 6]),
    (7, 5, [0, 2, 4]),
    (9, 6, [0, 1, 2, 3, 4, 5]),
    (3, 4, []),
]


@exercise
@torch.no_grad()
def check_fill_in(fill_in) -> str:
    """Takes a function of model, ids."""
    for seed, T, blanks in FILLINGS:
        model = _strong_model(seed)
        ids = torch.randint(9, (T,), generator=_generator(seed))
        ids[blanks] = model.mask_id
        before = ids.clone()
        given = returned(fill_in(_limited(model, ids), ids))
        expect(torch.equal(ids, before), "You changed `ids`; work on a copy.")
        expect(
            isinstance(given, Tensor) and given.shape == ids.shape,
            f"Return the filled ids, a tensor of the shape {tuple(ids.shape)}.",
        )
        expect(
            given.dtype == ids.dtype,
            f"The filled ids have the dtype {given.dtype}; ids are {ids.dtype}.",
        )
        _expect_filled(given, model, ids)
    return "Each guess could lean on those before it."


def _expect_filled(given: Tensor, model: MaskedLM, ids: Tensor) -> None:
    expect(
        not (given == model.mask_id).any(),
        f"There are blanks left: {given.tolist()}. Go on until none is left.",
    )
    visible = ids != model.mask_id
    expect(
        torch.equal(given[visible], ids[visible]),
        "A visible token has changed; only blanks may be filled.",
    )
    right = _filled(model, ids)
    expect(
        torch.equal(given, right),
        f"For the ids {ids.tolist()} ({model.mask_id} is the blank) you fill in "
        f"{given.tolist()}. "
        + hint_for_tensor(
            given,
            _filling_mistakes(model, ids),
            "Which blank has the surest best guess?",
        ),
    )


def _filling_mistakes(model: MaskedLM, ids: Tensor) -> dict[str, Tensor]:
    visible = ids != model.mask_id
    return {
        "You filled all blanks at once: write one, then ask the model again.": (
            torch.where(visible, ids, model(ids[None])[0].argmax(-1))
        ),
        "You go from left to right: the most certain blank comes first.": _filled(
            model, ids, lambda best: -torch.arange(float(len(ids)))
        ),
        "You go from right to left: the most certain blank comes first.": _filled(
            model, ids, lambda best: torch.arange(float(len(ids)))
        ),
        "You begin with the *least* certain blank.": _filled(
            model, ids, lambda best: 1 - best
        ),
        "The order comes from the first look: ask again after each blank.": (
            _filled(model, ids, lambda best, first=_best(model, ids): first)
        ),
        "Compare probabilities, not logits: a large logit need not be a sure "
        "guess.": _filled(model, ids, logits=True),
        "You fill two blanks at each look: one at a time.": _filled(model, ids, n=2),
    }


def _limited(model: MaskedLM, ids: Tensor) -> MaskedLM:
    """A copy of the model that stops a loop without an end."""
    limited, n_calls = deepcopy(model), 0
    n_blanks = int((ids == model.mask_id).sum())

    def count(*_) -> None:
        nonlocal n_calls
        n_calls += 1
        expect(
            n_calls <= len(ids) + 1,
            f"You asked the model more than {len(ids) + 1} times for {n_blanks} "
            "blanks, and there are still some left. Only the blanks may compete: a "
            "visible place may be surer than all of them.",
        )

    limited.register_forward_pre_hook(count)
    return limited


def _strong_model(seed: int) -> MaskedLM:
    """An untrained model with large weights, so that every token matters to it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MaskedLM(MaskedLMConfig(9, 16, 2, 2, 32, 8))
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model.eval()


def _best(model: MaskedLM, ids: Tensor) -> Tensor:
    return model(ids[None])[0].softmax(-1).max(-1).values


def _filled(
    model: MaskedLM,
    ids: Tensor,
    order: Callable[[Tensor], Tensor] = lambda best: best,
    logits: bool = False,
    n: int = 1,
) -> Tensor:
    """The blanks filled one by one, the one with the highest `order` first."""
    ids = ids.clone()
    while (ids == model.mask_id).any():
        scores = model(ids[None])[0]
        best, tokens = (scores if logits else scores.softmax(-1)).max(-1)
        rank = order(best).masked_fill(ids != model.mask_id, -torch.inf)
        places = rank.topk(min(n, int((ids == model.mask_id).sum()))).indices
        ids[places] = tokens[places]
    return ids


@exercise
@torch.no_grad()
def check_scores(scores) -> str:
    """Takes a function of model, ids."""
    for seed, T in ((3, 8), (4, 5), (6, 1)):
        model = _strong_model(seed)
        ids = torch.randint(9, (T,), generator=_generator(seed))
        before = ids.clone()
        given = returned(scores(model, ids))
        expect(torch.equal(ids, before), "You changed `ids`; work on a copy.")
        expect(
            isinstance(given, Tensor) and given.shape == (T,),
            f"For {T} tokens return a tensor of the shape {(T,)}, one number for each; "
            f"yours has {tuple(getattr(given, 'shape', ()))}.",
        )
        alone = ids.repeat(T, 1)
        alone.fill_diagonal_(model.mask_id)
        places = torch.arange(T)
        logits = model(alone)[places, places]
        right = logits.log_softmax(-1)[places, ids]
        expect(
            torch.allclose(given.float(), right, atol=1e-3),
            f"For the ids {ids.tolist()} the scores are {rounded(right)}, yours are "
            f"{rounded(given)}. "
            + hint_for_tensor(
                given,
                _score_mistakes(model, ids, logits),
                "Row i of the batch has its blank at position i, and nowhere else.",
            ),
        )
    return "The lowest one is the suspect."


def _score_mistakes(model: MaskedLM, ids: Tensor, logits: Tensor) -> dict[str, Tensor]:
    T, places = len(ids), torch.arange(len(ids))
    right = logits.log_softmax(-1)[places, ids]
    visible = model(ids[None])[0].log_softmax(-1)[places, ids]
    blind = model(torch.full((1, T), model.mask_id))[0].log_softmax(-1)[places, ids]
    past = ids.repeat(T, 1).masked_fill(
        torch.ones(T, T, dtype=torch.bool).triu(), model.mask_id
    )
    left = model(past)[places, places].log_softmax(-1)[places, ids]
    return {
        "Nothing was hidden: the model saw the answer.": visible,
        "You hid all tokens at once; the others must stay visible.": blind,
        "You also hid what stands to the right.": left,
        "That is the loss; return ln p, without the minus.": -right,
        "Those are probabilities; take their logarithm.": right.exp(),
        "Those are logarithms to base 2; take the natural ones.": right / math.log(2),
        "Those are logarithms to base 10; take the natural ones.": right / math.log(10),
        "Row i asks for the token at position i, not for the next one.": (
            logits.log_softmax(-1)[places, ids.roll(-1)]
        ),
        "Those are logits: normalise them, with log_softmax.": logits[places, ids],
        "Those are the best guesses' ln p, not that of what stands there.": (
            logits.log_softmax(-1).max(-1).values
        ),
        "The softmax must run over the tokens, the last dimension.": F.log_softmax(
            logits, dim=0
        )[places, ids],
    }
