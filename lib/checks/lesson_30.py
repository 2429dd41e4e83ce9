"""The checks of the exercises in lesson 30, preference tuning."""

from __future__ import annotations

import copy
import random

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.checks import (
    Mistake,
    exercise,
    expect,
    hint_for_tensor,
    returned,
    rounded,
    tensor,
)

__all__ = [
    "check_win_table",
    "check_answer_sums",
    "check_pair_losses",
    "check_drop_equal",
]


def _noise(*shape: int, seed: int = 0) -> Tensor:
    """Return random numbers that are the same at every call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _expect_untouched(before: list[Tensor], now: list[Tensor], names: str) -> None:
    for name, old, new in zip(names.split(), before, now, strict=True):
        expect(
            torch.equal(old, new),
            f"Your function changed `{name}` itself: leave it as it is.",
        )


def _expect_near(given: Tensor, right: Tensor, hints: dict, otherwise: str) -> None:
    """Expect a tensor of floats; the first wrong number is shown with a hint."""
    words = f"The answer must hold floats; yours are {given.dtype}."
    expect(given.dtype.is_floating_point, words)
    near = torch.isclose(given.double(), right.double(), atol=1e-5, rtol=1e-4)
    if near.all():
        return
    place = tuple((~near).nonzero()[0].tolist())
    raise Mistake(
        f"The first wrong number, at {place if len(place) > 1 else place[0]}, is "
        f"{given[place].item():.6g}, not {right[place].item():.6g}. "
        + hint_for_tensor(given, hints, otherwise)
    )


def _expect_gradient(given: Tensor, right: Tensor, leaves: list[Tensor]) -> None:
    """Expect that training would reach what the answer was computed from."""
    words = "The numbers are right, but without their gradient nothing would learn: "
    words += "leave out `detach`, `.data` and `.item()`."
    expect(given.requires_grad, words)
    weight = _noise(*right.shape, seed=77)
    wanted = torch.autograd.grad((right * weight).sum(), leaves)
    own = torch.autograd.grad((given * weight).sum(), leaves, allow_unused=True)
    for a, b in zip(own, wanted, strict=True):
        expect(a is not None and torch.allclose(a, b, atol=1e-4), words)


# Exercise 1


@exercise
def check_win_table(win_table) -> str:
    """Takes a function of rewards."""
    for n in (4, 2, 7, 1):
        rewards = 2 * _noise(n, seed=n)
        before = rewards.clone()
        given = tensor(win_table(rewards), (n, n))
        _expect_untouched([before], [rewards], "rewards")
        apart = before[:, None] - before[None, :]
        right, share = apart.sigmoid(), before.softmax(dim=0)
        hints = {
            "Row i is about i beating j, not j beating i.": right.T,
            "That is the difference; the sigmoid makes a probability of it.": apart,
            "Equal rewards give one half, also on the diagonal.": right
            * (1 - torch.eye(n)),
            "A softmax over all answers is another question: here two meet.": share[
                :, None
            ].expand(n, n),
            "Who has more wins more often, but not always.": (apart > 0).float(),
            "Subtract the rewards, not their sigmoids.": (
                before.sigmoid()[:, None] - before.sigmoid()[None, :]
            ),
            "That is half of a difference and a half; use the sigmoid.": 0.5
            + apart / 2,
        }
        _expect_near(given, right, hints, "It is sigmoid(r_i - r_j).")
        large, words = win_table(rewards * 1_000), "Large rewards must not overflow."
        sure = (1_000 * apart).sigmoid()
        expect(torch.allclose(large.double(), sure.double(), atol=1e-5), words)
    return "Each row says whom this answer beats."


# Exercise 2


@exercise
def check_answer_sums(answer_sums) -> str:
    """Takes a function of logits, ids and written."""
    sizes = (
        *((3, 7, 5, 2), (1, 4, 9, 2), (4, 5, 3, 2)),
        *((2, 6, 5, 100), (2, 200, 65, 2), (3, 2, 5, 2)),
    )
    for n_rows, length, n_ids, scale in sizes:
        logits = scale * _noise(n_rows, length, n_ids, seed=length)
        places = torch.Generator().manual_seed(n_ids)
        ids = torch.randint(n_ids, (n_rows, length), generator=places)
        starts = torch.arange(n_rows)[:, None] % max(length - 2, 1) + 1
        ends = (starts + 1 + torch.arange(n_rows)[:, None] % 2).clamp(max=length)
        steps = torch.arange(length)
        written = (steps >= starts) & (steps < ends.clamp(max=length))
        written[0, -1] = True
        leaf = logits.requires_grad_()
        given_ones = [leaf + 0, ids.clone(), written.clone()]
        before = [each.detach().clone() for each in given_ones]
        given = tensor(answer_sums(*given_ones), (n_rows,))
        _expect_untouched(before, given_ones, "logits ids written")
        right, hints = _sums(leaf, ids, written)
        otherwise = "Log-softmax, the tokens that came, the marks, and a sum."
        words = "With large logits your answer is not finite: a softmax rounds to 0, "
        words += "whose logarithm is -inf. Use log_softmax."
        expect(bool(given.isfinite().all()), words)
        _expect_near(given, right, hints, otherwise)
        _expect_gradient(given, right, [leaf])
    return "One number for each answer."


def _sums(logits: Tensor, ids: Tensor, written: Tensor) -> tuple[Tensor, dict]:
    """Return the right sums, and those of known mistakes."""
    logs = logits.log_softmax(dim=-1)

    def picked(values: Tensor, tokens: Tensor) -> Tensor:
        return values.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)

    shifted, own = picked(logs[:, :-1], ids[:, 1:]), written[:, 1:]
    right = (shifted * own).sum(dim=1)
    here = picked(logs, ids)
    return right, {
        "What the model says at token t is about token t + 1.": (here * written).sum(1),
        "Marks and tokens move together: use written[:, 1:].": (
            shifted * written[:, :-1]
        ).sum(1),
        "The prompt's tokens do not count.": shifted.sum(dim=1),
        "That is the mean; the sum was asked for.": right / own.sum(dim=1),
        "That has the sign of a loss; log-probabilities are negative.": -right,
        "These are sums of logits: take the log-softmax first.": (
            picked(logits[:, :-1], ids[:, 1:]) * own
        ).sum(1),
        "These are sums of probabilities: take their logarithms.": (
            shifted.exp() * own
        ).sum(1),
        "The softmax goes over the vocabulary, the last dimension.": (
            picked(logits.log_softmax(dim=1)[:, :-1], ids[:, 1:]) * own
        ).sum(1),
    }


# Exercise 3


@exercise
def check_pair_losses(pair_losses) -> str:
    """Takes a function of four log-probabilities and beta."""
    for n, beta in ((5, 0.1), (3, 0.5), (1, 2.0), (4, 1.0)):
        policy = [5 * _noise(n, seed=10 + n + i) - 30 for i in range(2)]
        reference = [5 * _noise(n, seed=20 + n + i) - 30 for i in range(2)]
        leaves = [each.requires_grad_() for each in policy]
        given_ones = [*(leaf + 0 for leaf in leaves), *reference]
        before = [each.detach().clone() for each in given_ones]
        given = tensor(pair_losses(*given_ones, beta), (n,))
        names = "chosen rejected reference_chosen reference_rejected"
        _expect_untouched(before, given_ones, names)
        right, hints = _pair_losses(*leaves, *reference, beta)
        _expect_near(given, right, hints, "It is -ln sigmoid(beta times margin).")
        _expect_gradient(given, right, leaves)
    start = pair_losses(*(torch.tensor([-900.0, -3.0]) for _ in range(4)), 0.1)
    words = f"Equal models give ln 2 for each pair; yours: {rounded(start)}."
    expect(torch.allclose(start.double(), torch.tensor(2.0).log().double()), words)
    far = torch.tensor([-4_000.0]), torch.tensor([-3.0])
    large = pair_losses(*far, far[1], far[1], 1.0)
    words = "A margin of -3,997 gives a loss of 3,997, not infinity: use F.logsigmoid."
    expect(bool((large - 3_997).abs() < 1), words)
    leaf = torch.tensor([-3.0]).requires_grad_()
    near = pair_losses(leaf, far[0], far[1], far[1], 1.0)
    expect(bool(near.abs() < 1e-3), "A margin of 3,997 gives a loss of 0.")
    leaf = far[0].clone().requires_grad_()
    loss = pair_losses(leaf, far[1], far[1], far[1], 1.0).sum()
    (slope,) = torch.autograd.grad(loss, leaf)
    words = "The gradient at a margin of -3,997 is wrong: use F.logsigmoid."
    expect(bool((slope + 1).abs() < 1e-3), words)
    return "Four numbers, one loss."


def _pair_losses(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
) -> tuple[Tensor, dict]:
    """Return the right losses, and those of known mistakes."""
    moved, away = chosen - reference_chosen, rejected - reference_rejected
    margin, size = moved - away, torch.ones_like(chosen)
    right = -F.logsigmoid(beta * margin)
    return right, {
        "Chosen and rejected are swapped, or the sign inside is wrong.": -F.logsigmoid(
            -beta * margin
        ),
        "The sign is wrong: a loss is minus the logarithm.": -right,
        "beta is missing.": -F.logsigmoid(margin),
        "beta stands inside of the sigmoid.": beta * -F.logsigmoid(margin),
        "The reference is missing.": -F.logsigmoid(beta * (chosen - rejected)),
        "The rejected answer moves the other way: subtract it.": -F.logsigmoid(
            beta * (moved + away)
        ),
        "That is the probability; the loss is minus its logarithm.": (
            beta * margin
        ).sigmoid(),
        "That is the mean of all pairs; return each loss.": right.mean() * size,
        "beta multiplies the margin.": -F.logsigmoid(margin / beta),
    }


# Exercise 4


@exercise
def check_drop_equal(drop_equal) -> str:
    """Takes a function of pairs and max_length."""
    for seed, max_length in ((0, 4), (1, 6), (2, 3), (3, 100), (4, 1)):
        pairs = _some_pairs(seed)
        given = copy.deepcopy(pairs)
        answer = returned(drop_equal(given, max_length))
        words = "Your function changed `pairs` itself: leave it as it is."
        expect(given == pairs, words)
        _expect_kept(answer, pairs, max_length)
    empty = returned(drop_equal([], 5))
    words = "Without pairs nothing is kept and 0 are left out."
    expect(isinstance(empty, tuple) and len(empty) == 2, words)
    expect(list(empty[0]) == [] and empty[1] == 0, words)
    return "What teaches nothing is out, and counted."


def _some_pairs(seed: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Return pairs with long and short prompts, equal answers, and equal beginnings."""
    rng, pairs = random.Random(seed), []
    for kind in range(14):
        prompt = [rng.randrange(1, 9) for _ in range(rng.randrange(1, 5))]
        answer = [rng.randrange(1, 9) for _ in range(rng.randrange(2, 9))]
        other = [
            [*answer],
            [*answer, rng.randrange(1, 9)],
            answer[:-1],
            [answer[0] % 8 + 1, *answer[1:]],
            [*reversed(answer)],
        ][kind % 5]
        pairs.append((prompt, answer, other))
    pairs += [([5], [1], [1, 0]), ([7], [1, 12], [11, 2]), ([50_000], [3], [4])]
    return [*pairs, pairs[3]]  # the same pair twice: both stay


def _expect_kept(answer: object, pairs: list, max_length: int) -> None:
    expect(
        isinstance(answer, tuple) and len(answer) == 2,
        "Return a tuple of two: the pairs that are kept, and a number.",
    )
    kept, n_out = answer
    expect(isinstance(kept, list), "The kept pairs must be a list.")
    words = f"The number must be an int; yours is {type(n_out).__name__}."
    expect(isinstance(n_out, int) and not isinstance(n_out, bool), words)

    right = [pair for pair in pairs if _differ(pair, max_length)]
    if [tuple(pair) for pair in kept] != right:
        words = _kept_hint(kept, right, pairs, max_length)
        say = f"With max_length={max_length} {len(right)} of {len(pairs)} pairs stay"
        raise Mistake(f"{say}; you keep {len(kept)}. {words}")
    expect(
        n_out == len(pairs) - len(right),
        f"{len(pairs) - len(right)} pairs were left out; you say {n_out}.",
    )


def _differ(pair: tuple, length: int | None) -> bool:
    """Return whether two rows differ after a cut."""
    prompt, *both = pair
    one, other = ((prompt + each)[:length] for each in both)
    return one != other


def _kept_hint(kept: list, right: list, pairs: list, length: int) -> str:
    """Return the hint of the wrong pairs that were kept."""

    def of(cut: int | None) -> list:
        return [pair for pair in pairs if _differ(pair, cut)]

    hints = [
        (of(None), "Compare after the cut, not before."),
        (
            [p for p in pairs if p[1][:length] != p[2][:length]],
            "The prompt takes room too: cut prompt and answer together.",
        ),
        ([p for p in pairs if p not in right], "You kept the equal ones."),
        (of(length - 1), "One id too few: a row has max_length of them."),
        (of(length + 1), "One id too many: a row has max_length of them."),
        (
            [(p, a[:length], b[:length]) for p, a, b in right],
            "Return the pairs as they were given, uncut.",
        ),
        (
            [p for i, p in enumerate(right) if p not in right[:i]],
            "Keep pairs that come twice.",
        ),
        (pairs, "Some pairs have two equal rows; leave them out."),
        (
            [p for p in pairs if _rest_differs(p, length)],
            "A prompt longer than a row leaves no room: max_length - len(prompt) is "
            "negative then, and a slice counts from the end.",
        ),
    ]
    known = (words for wrong, words in hints if kept == wrong)
    return next(known, _example(kept, right))


def _rest_differs(pair: tuple, length: int) -> bool:
    prompt, one, other = pair
    room = length - len(prompt)
    return one[:room] != other[:room]


def _example(kept: list, right: list) -> str:
    """Name a pair that is missing, or one too many."""
    missing = next((pair for pair in right if pair not in kept), None)
    extra = next((pair for pair in kept if pair not in right), None)
    otherwise = "Look again."
    if missing:
        otherwise = f"{missing} is missing: its rows differ."
    elif extra:
        otherwise = f"{extra} is kept: its rows are equal."
    return otherwise
