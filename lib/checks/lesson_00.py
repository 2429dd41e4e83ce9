"""The checks of the exercises in lesson 00, the quickstart."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.checks import exercise, expect, hint_for, number, python_number, returned
from lib.models.gpt import GPT
from lib.models.presets import preset_config

__all__ = [
    "check_parameter_count",
    "check_countdown_batch",
    "check_accuracy",
    "check_needs_attention",
]


@exercise
def check_parameter_count(count) -> str:
    """Takes a function of vocab_size, d_model, n_layers, d_ff, context_length."""
    sizes = dict(vocab_size=10, d_model=16, n_layers=2, d_ff=32, context_length=32)
    for changes in (
        {},
        {"n_layers": 3, "context_length": 21},
        {"d_ff": 24},
        {"d_model": 8, "vocab_size": 7},
    ):
        these = sizes | changes
        model = GPT(preset_config("demo", **these))
        right = sum(parameter.numel() for parameter in model.parameters())
        given = number(count(**these))
        V, D, L, F, T = these.values()
        hints = {
            right - V: "You may have missed the head's bias.",
            right - T * D: "You may have missed the position vectors.",
            right - V * D: "You may have missed the token vectors, or the head.",
            right - L * 4 * D: "You may have missed the gains and biases of the norms.",
            right - L * (F + D): "You may have missed the feed-forward biases.",
            right + L * 4 * D: "The attention has no bias here; do not count four.",
        }
        expect(
            given == right,
            f"For {these} a GPT has {right:,} parameters, you count {given:,.0f}. "
            + hint_for(given, hints, "Compare with the list of shapes, part by part."),
        )
    return "Your formula fits models of four different sizes."


def _pair(batch, length: int) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of a batch; `Mistake` for another type or shape."""
    result = returned(batch(300, length, torch.Generator().manual_seed(0)))
    expect(
        isinstance(result, tuple | list) and len(result) == 2,
        "Return two tensors, inputs and targets.",
    )
    for name, ids in zip(("inputs", "targets"), result):
        expect(
            isinstance(ids, Tensor) and ids.dtype == torch.long,
            f"{name} must be a tensor of whole numbers (torch.long); yours is "
            f"{ids.dtype if isinstance(ids, Tensor) else type(ids).__name__}.",
        )
        expect(
            tuple(ids.shape) == (300, length),
            f"{name} has shape {tuple(ids.shape)}; batch(300, {length}, generator) "
            f"must give (300, {length}). Make length + 1 digits; inputs and targets "
            "leave one out.",
        )
    return tuple(result)


def _digits(batch) -> Tensor:
    """Look at the shape, shift and source of a batch; return it joined, (B, T + 1)."""
    _pair(batch, 17)
    inputs, targets = _pair(batch, 12)
    joined = torch.cat([inputs, targets[:, -1:]], dim=1)
    expect(
        torch.equal(joined[:, 1:], targets),
        "The targets are not the inputs moved by one: targets[:, t] must be the digit "
        "after inputs[:, t].",
    )
    expect(
        0 <= joined.min() and joined.max() <= 9,
        f"There are tokens from {joined.min()} to {joined.max()}; digits are 0 to 9. "
        "Take the remainder: % 10.",
    )
    again, _ = batch(300, 12, torch.Generator().manual_seed(0))
    expect(
        torch.equal(again, inputs),
        "The same seed gave two different batches: pass generator=generator on.",
    )
    return joined


def _expect_fresh(batch) -> None:
    """Expect that a generator gives another batch each time."""
    generator = torch.Generator().manual_seed(0)
    first, second = (batch(300, 12, generator)[0] for _ in range(2))
    expect(
        not torch.equal(first, second),
        "Two batches from one generator are equal: draw from the `generator` that is "
        "given, and do not set its seed.",
    )


@exercise
def check_countdown_batch(batch) -> str:
    """Takes a function of batch_size, length, generator."""
    digits = _digits(batch)
    starts = digits[:, 0].unique().tolist()
    expect(
        len(starts) == 10,
        f"The 300 rows start with {starts} only; draw each at random from 0 to 9.",
    )
    many, _ = batch(20_000, 3, torch.Generator().manual_seed(2))
    share = (many[:, 0].bincount(minlength=10) / len(many)).tolist()
    often, rarely = share.index(max(share)), share.index(min(share))
    expect(
        max(share) < 0.12 and min(share) > 0.08,
        f"Of 20,000 rows {max(share):.0%} start with {often} and {min(share):.0%} with "
        f"{rarely}; each digit must be equally likely: randint(10, ...).",
    )
    expect(
        len(((many[1:, 0] - many[:-1, 0]) % 10).unique()) > 1,
        "Each row's start follows from the row above: draw a number for each row.",
    )
    step = (digits[:, 1:] - digits[:, :-1]) % 10
    expect(not (step == 1).all(), "Your digits count up; they should count down.")
    expect(
        (step == 9).all(),
        "Not every digit is one less than the one before it (and 9 after 0). A row of "
        f"yours: {digits[0].tolist()}",
    )
    _expect_fresh(batch)
    return "Every row counts down, and 9 follows 0."


@exercise
def check_accuracy(accuracy) -> str:
    """Takes a function of logits (B, T, V) and targets (B, T)."""
    for n_rows, length, n_wrong in ((6, 5, 3), (2, 8, 4)):
        logits = torch.randn(
            n_rows, length, 4, generator=torch.Generator().manual_seed(0)
        )
        best = logits.argmax(dim=-1)
        targets = best.clone()
        targets.view(-1)[:n_wrong] = (targets.view(-1)[:n_wrong] + 1) % 4
        own = logits.clone(), targets.clone()
        given = python_number(accuracy(*own))
        expect(
            torch.equal(own[0], logits) and torch.equal(own[1], targets),
            "You changed logits or targets; leave them as they are.",
        )
        _expect_share(given, (best == targets).float())
    return "Right for two shapes."


def _expect_share(given: float, right: Tensor) -> None:
    """Expect the share of ones in a table (B, T) that is 1 where a guess is right."""
    share, n_right = right.mean().item(), int(right.sum())
    hints = {
        round(share): "Do not round the share.",
        1 - share: "That is the share of wrong answers.",
        right[:, -1].mean().item(): "Did you look at the last position only?",
        n_right: "That is how many are right; divide by the number of positions.",
        n_right / len(right): "Divide by the number of positions, not of rows.",
        right.sum().item() / right.size(1): "Divide by all positions, B times T.",
        100 * share: "That is percent; return a share between 0 and 1.",
        right.all(dim=1).float().mean().item(): "Count positions, not whole rows.",
    }
    expect(
        math.isclose(given, share, abs_tol=1e-6),
        f"{n_right} of {right.numel()} positions are right, so accuracy is "
        f"{share:.3f}; you return {given:.3f}. "
        + hint_for(
            given, hints, "Compare argmax over the last dimension with targets."
        ),
    )


@exercise
def check_needs_attention(batch) -> str:
    """Takes a function of batch_size, length, generator."""
    _digits(batch)
    inputs, targets = batch(20_000, 12, torch.Generator().manual_seed(1))
    digits = torch.cat([inputs, targets[:, -1:]], dim=1)  # (20000, 13)
    expect(
        not torch.equal(digits[:, 2:], digits[:, :-2]),
        "Two alternating digits are the example above; invent another text.",
    )
    # The best guess from the last digit and its position, at each position after four.
    pairs = digits[:, 3:-1] * 10 + digits[:, 4:]  # (20000, 9)
    best = [p.bincount(minlength=100).view(10, 10).amax(1).sum() for p in pairs.T]
    share = (sum(best) / pairs.numel()).item()
    expect(
        share < 0.75,
        f"The last digit and its position already give {share:.0%} of the next digits. "
        "Make the answer stand further back.",
    )
    endings: dict[tuple, set] = {}
    for row in digits.tolist():
        endings.setdefault(tuple(row[:4]), set()).add(tuple(row[4:]))
    start, two = next(((k, v) for k, v in endings.items() if len(v) > 1), (None, None))
    expect(
        two is None,
        f"After {start} your text can go on in {len(two or ())} ways. Once four digits "
        "have been read nothing may be left to chance.",
    )
    _expect_fresh(batch)
    return f"Without attention at most {share:.0%} can be right. Now train on it."
