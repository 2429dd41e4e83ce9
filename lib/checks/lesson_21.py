"""The checks of the exercises in lesson 21, mixture of experts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from unittest import mock

import torch
from torch import Tensor

from lib.checks import Mistake, exercise, expect, hint_for, hint_for_tensor
from lib.checks import number as as_number
from lib.checks import tensor
from lib.moe import balance_loss

__all__ = ["check_gate_table", "check_whole_balance", "check_limited"]


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
    if torch.allclose(given.double(), right.double(), atol=1e-5):
        return
    far = ~torch.isclose(given.double(), right.double(), atol=1e-5)
    row, column = far.nonzero()[0].tolist()
    raise Mistake(
        f"The first wrong number, in row {row}, is {given[row, column]:.3f}, not "
        f"{right[row, column]:.3f}. " + hint_for_tensor(given, hints, otherwise)
    )


def _expect_gradient(given: Tensor, right: Tensor, leaves: list[Tensor]) -> None:
    """Expect that training would reach what the answer was computed from."""
    words = "The numbers are right, but without their gradient nothing would learn: "
    words += "leave out `detach`, `.data` and `.item()`."
    expect(given.requires_grad, words)
    weight = _noise(*right.shape, seed=77) if right.dim() else 1.0
    wanted = torch.autograd.grad((right * weight).sum(), leaves)
    own = torch.autograd.grad((given * weight).sum(), leaves, allow_unused=True)
    for a, b in zip(own, wanted, strict=True):
        expect(a is not None and torch.allclose(a, b, atol=1e-4), words)


# Exercise 1


@exercise
def check_gate_table(gate_table) -> str:
    """Takes a function of scores, n_active and renormalise."""
    for n_tokens, n_experts, n_active in ((6, 4, 2), (5, 3, 1), (4, 5, 3), (3, 2, 2)):
        scores = 2 * _noise(n_tokens, n_experts, seed=n_experts)
        for renormalise in (False, True) if n_active > 1 else (False,):
            leaf = scores.requires_grad_()
            scores = leaf + 0  # which may be changed in place
            before = scores.detach().clone()
            answer = gate_table(scores, n_active, renormalise)
            given = tensor(answer, (n_tokens, n_experts))
            _expect_untouched([before], [scores], "scores")
            right = _gates(leaf, n_active, renormalise)
            hints = _gate_mistakes(leaf, n_active, renormalise)
            otherwise = "Softmax, `topk`, and the gates back to their places."
            _expect_near(given, right, hints, otherwise)
            _expect_gradient(given, right, [leaf])
            scores = leaf
    default = gate_table(scores, 1)
    expect(
        torch.allclose(tensor(default, (3, 2)), _gates(scores, 1, False), atol=1e-5),
        "Without the third argument, gates are not renormalised.",
    )
    return "A row of gates, and zeros for all who rest."


def _gates(scores: Tensor, n_active: int, renormalise: bool) -> Tensor:
    p = scores.softmax(dim=-1)
    kept = torch.where(p >= p.topk(n_active).values[:, -1:], p, 0.0)
    return kept / kept.sum(dim=-1, keepdim=True) if renormalise else kept


def _gate_mistakes(scores: Tensor, n_active: int, renormalise: bool) -> dict:
    p = scores.softmax(dim=-1)
    ones = (_gates(scores, n_active, False) > 0).float()
    values, chosen = p.topk(n_active)
    lowest = p.topk(n_active, largest=False).indices
    zeros = torch.zeros_like(p)
    first = zeros.clone()
    first[:, :n_active] = values
    return {
        "The softmax goes over *all* experts, before the choice.": _gates(
            scores, n_active, True
        ),
        "With `renormalise` the gates of a row sum to 1.": _gates(
            scores, n_active, False
        ),
        "These are the scores; gates are probabilities.": scores * ones,
        "These are all probabilities: experts that rest have a gate of 0.": p,
        "These say who was chosen; a gate is how likely.": ones,
        "The softmax went over the tokens; it goes over the experts.": torch.where(
            ones > 0, scores.softmax(dim=0), 0.0
        ),
        "You chose the smallest; `topk` takes the largest.": zeros.scatter(
            -1, lowest, p.gather(-1, lowest)
        ),
        "The gates stand in the first columns; put them at the experts' places.": first,
        "Take a softmax of the scores, once.": _gates(p, n_active, renormalise),
    }


# Exercise 2


@exercise
def check_whole_balance(whole_balance_loss) -> str:
    """Takes a function of parts, pairs of probabilities and chosen experts."""
    for sizes, n_experts, n_active in (
        ((5, 9, 2), 4, 1),
        ((7, 7), 5, 2),
        ((6,), 5, 3),
        ((3, 11, 4, 1), 3, 1),
    ):
        parts = [
            _part(n, n_experts, n_active, seed=10 * i + n) for i, n in enumerate(sizes)
        ]
        before = [each.clone() for part in parts for each in part]
        leaves = [p.requires_grad_() for p, _ in parts]
        parts = [(p + 0, chosen) for p, chosen in parts]
        own = list(parts)
        names = ("cat", "concat", "vstack", "hstack")
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(mock.patch.object(torch, name, _refuse))
            answer = whole_balance_loss(own)
        expect(len(own) == len(parts), "You changed the list `parts` itself.")
        now = [each for part in parts for each in part]
        _expect_untouched(before, now, "probabilities chosen " * len(parts))
        right = _expect_balance(answer, parts)
        if isinstance(answer, Tensor):
            _expect_gradient(answer.reshape(()), right, leaves)
        else:
            raise Mistake("Return a tensor: a plain number has no gradient.")
    return "As if one process had the whole batch."


def _refuse(*_: object, **__: object) -> None:
    raise Mistake("Do not join the tensors: a process sends only counts and sums.")


def _part(n: int, n_experts: int, n_active: int, seed: int) -> tuple[Tensor, Tensor]:
    scores = 2 * _noise(n, n_experts, seed=seed)
    scores[:, seed % n_experts] += 1.5  # each part prefers another expert
    p = scores.softmax(dim=-1)
    bias = 0.05 * _noise(n_experts, seed=n_experts)  # the choice may know more than p
    bias[-1] -= 2  # nobody chooses the last expert
    return p, (p + bias).topk(n_active).indices


def _expect_balance(answer: object, parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Expect the balance loss of all parts; return it."""
    p, chosen = (torch.cat(tensors) for tensors in zip(*parts))
    whole = balance_loss(p, chosen)
    right, given = whole.item(), as_number(answer)
    losses = torch.stack([balance_loss(*part) for part in parts])
    sizes = torch.tensor([float(len(part[0])) for part in parts])
    n_experts, n_active = p.size(1), chosen.size(1)
    shares = [c.flatten().bincount(minlength=n_experts) / c.numel() for _, c in parts]
    means = [part[0].mean(dim=0) for part in parts]
    unweighted = n_experts * torch.stack(shares).mean(0) @ torch.stack(means).mean(0)
    weighted = (losses * sizes).sum() / sizes.sum()
    not_the_whole = "f and P are of the whole batch: add up first, then multiply."
    hints = {
        losses.mean().item(): f"That is the mean of the parts' losses. {not_the_whole}",
        weighted.item(): f"A weighted mean of the parts' losses. {not_the_whole}",
        losses.sum().item(): f"That is the sum of the parts' losses. {not_the_whole}",
        losses[0].item(): "That is the loss of the first part.",
        losses[-1].item(): "That is the loss of the last part.",
        right * n_active: "Each token makes K choices: f is a share of N K choices.",
        right / n_experts: "The factor E, the number of experts, is missing.",
        right * len(p): "P is a mean: divide the sum of probabilities by the tokens.",
        unweighted.item(): "Parts differ in size: a longer one counts more.",
    }
    otherwise = "Count all K choices, with `minlength`, for all E experts."
    expect(
        abs(given - right) < 1e-4,
        f"With parts of {[len(part[0]) for part in parts]} tokens and {n_active} "
        f"active experts the loss is {right:.4f}; yours: {given:.4f}. "
        + hint_for(given, hints, f"{not_the_whole} {otherwise}"),
    )
    return whole


# Exercise 3

Experts = list[Callable[[Tensor], Tensor]]


@exercise
def check_limited(limited) -> str:
    """Takes a function of stream, gates, chosen, experts and capacity."""
    for n, d, n_experts, n_active, capacity in (
        (9, 4, 3, 2, 4),
        (8, 3, 2, 1, 2),
        (6, 2, 4, 2, 1),
        (5, 3, 3, 1, 9),
        (7, 2, 5, 3, 2),
    ):
        stream, matrices = _noise(n, d, seed=n), _noise(n_experts, d, d, seed=d)
        scores = _noise(n, n_experts, seed=9)
        scores[:, 0] -= 9 * (n_experts > n_active + 1)  # perhaps nobody's choice
        gates, chosen = scores.softmax(dim=-1).topk(n_active)
        experts = [_Counted(w) for w in matrices]
        leaves = [stream.requires_grad_(), gates.requires_grad_()]
        stream, gates = (leaf + 0 for leaf in leaves)
        given_ones = [stream, gates, chosen]
        before = [each.detach().clone() for each in given_ones]
        answer = limited(stream, gates, chosen, experts, capacity)
        most = max(expert.n_rows for expert in experts)
        given = tensor(answer, (n, d))
        _expect_untouched(before, given_ones, "stream gates chosen")
        right, hints = _limited_mistakes(*given_ones, experts, capacity)
        otherwise = "Add gate times output, for the first tokens of each expert. Every "
        otherwise += "expert reads rows of `stream`, as it was."
        _expect_near(given, right, hints, otherwise)
        words = f"An expert computed {most} rows; it has places for {capacity}."
        expect(most <= capacity, words)
        _expect_gradient(given, right, leaves)
    return "A full expert, and nobody is lost."


class _Counted:
    """An expert that counts the rows that it computes."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.n_rows = matrix, 0

    def __call__(self, rows: Tensor) -> Tensor:
        expect(
            rows.dim() == 2,
            f"An expert takes rows (n, D); yours got the shape {tuple(rows.shape)}.",
        )
        self.n_rows += len(rows)
        return (rows @ self.matrix).tanh() + 1


def _limited_mistakes(
    stream: Tensor, gates: Tensor, chosen: Tensor, experts: Experts, capacity: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the right stream, and what known mistakes make of it."""
    outputs = torch.stack([expert(stream) for expert in experts], dim=1)  # (N, E, D)
    own = outputs[torch.arange(len(stream)).unsqueeze(1), chosen]  # (N, K, D)

    def moved(kept: Tensor) -> Tensor:
        return (kept.unsqueeze(-1) * own).sum(dim=1)

    fits = _first_come(chosen, len(experts), capacity)
    right = stream + moved(gates * fits)
    wrong = _wrong_gates(gates, chosen, len(experts), capacity)
    return right, {
        "Tokens without a place lose their residual: they keep their stream.": right
        * fits.any(dim=1, keepdim=True),
        "The residual is missing: add to `stream`.": moved(gates * fits),
        **{words: stream + moved(kept) for words, kept in wrong.items()},
    }


def _wrong_gates(
    gates: Tensor, chosen: Tensor, n_experts: int, capacity: int
) -> dict[str, Tensor]:
    """Return the gates of known mistakes, with zeros where nothing is added."""
    fits = _first_come(chosen, n_experts, capacity)
    last = _first_come(chosen.flip(0), n_experts, capacity).flip(0)
    few, many = (_first_come(chosen, n_experts, capacity + n) for n in (-1, 1))
    total = (gates * fits).sum(dim=1, keepdim=True).clamp(min=1e-9)
    whole = fits & fits.all(dim=1, keepdim=True)
    first_tokens = torch.arange(len(chosen)).unsqueeze(1) < capacity
    first_choice = torch.arange(chosen.size(1)) == 0
    return {
        "No expert takes more than `capacity` tokens.": gates,
        "Multiply each output by its gate.": 1.0 * fits,
        "You kept the last tokens of an expert; keep the first.": gates * last,
        "You kept the surest tokens: then a later one could push out an earlier one.": (
            gates * _surest(gates, chosen, n_experts, capacity)
        ),
        "One token too few: an expert takes `capacity` of them.": gates * few,
        "One token too many: an expert takes `capacity` of them.": gates * many,
        "Each expert has places of its own; you counted all tokens.": gates
        * first_tokens,
        "A token keeps the choices that fit, also if another does not.": gates * whole,
        "Gates stay as they are, also where a choice was dropped.": gates
        * fits
        / total,
        "Use all K choices of a token, not only the first.": gates
        * (fits & first_choice),
    }


def _surest(gates: Tensor, chosen: Tensor, n_experts: int, capacity: int) -> Tensor:
    """Return which choices find a place if the largest gates come first."""
    fits = torch.zeros_like(chosen, dtype=torch.bool)
    for expert in range(n_experts):
        own = gates.masked_fill(chosen != expert, -1).flatten()
        best = own.topk(min(capacity, len(own))).indices
        fits.view(-1)[best[own[best] >= 0]] = True
    return fits


def _first_come(chosen: Tensor, n_experts: int, capacity: int) -> Tensor:
    """Return which choices find a place, counted one by one."""
    taken, fits = [0] * n_experts, torch.zeros_like(chosen, dtype=torch.bool)
    for token, row in enumerate(chosen.tolist()):
        for slot, expert in enumerate(row):
            fits[token, slot] = taken[expert] < capacity
            taken[expert] += 1
    return fits
