"""The checks of the exercises in lesson 02, the bigram model."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.exercises import Mistake, exercise, expect, hint_for
from lib.tokenizer import CharTokenizer

__all__ = [
    "check_most_likely_next",
    "check_smoothed_probabilities",
    "check_bigram_gradient",
    "check_trigram_loss",
]


@exercise
def check_most_likely_next(most_likely_next) -> str:
    """Takes a function of counts, tokenizer, character."""
    tokenizer = CharTokenizer("abc")
    counts = torch.tensor([[1, 7, 2], [0, 2, 9], [4, 5, 3]])
    for i, character in enumerate("abc"):
        given = most_likely_next(counts, tokenizer, character)
        expect(
            isinstance(given, str),
            f"You return an {type(given).__name__}, not a character: use "
            "tokenizer.characters.",
        )
        right, before = "abc"[counts[i].argmax()], "abc"[counts[:, i].argmax()]
        column = "You looked down the column: that is what comes *before*."
        expect(
            given == right,
            f"With the counts {counts[i].tolist()} of a, b, c after {character!r} the "
            f"answer is {right!r}, you return {given!r}. "
            + (column if given == before else "Look for the largest count."),
        )
    return "You read rows."


@exercise
def check_smoothed_probabilities(smoothed_probabilities) -> str:
    """Takes a function of counts, alpha."""
    counts = torch.tensor([[6, 2, 0], [0, 0, 0], [1, 1, 8]])
    ones = torch.ones(3)
    for alpha in (1.0, 0.5, 0.01):
        given = smoothed_probabilities(counts, alpha).float()
        rows, columns = given.sum(dim=1), given.sum(dim=0)
        if not torch.allclose(rows, ones, atol=1e-5):
            expect(
                not torch.allclose(columns, ones, atol=1e-5),
                "Each column sums to 1; each row must. Sum over dim=1.",
            )
            raise Mistake(
                f"With alpha={alpha} the rows sum to {rounded(rows)}, they must sum to "
                "1. Did you divide by the sum before adding alpha?"
            )
        right = (counts + alpha) / (counts + alpha).sum(dim=1, keepdim=True)
        expect(
            torch.allclose(given, right, atol=1e-5),
            f"With alpha={alpha} the first row of {counts[0].tolist()} must become "
            f"{rounded(right[0])}, yours is {rounded(given[0])}. Is alpha added to "
            "every count?",
        )
    return "Even a row without any count becomes a distribution."


def rounded(numbers: Tensor) -> list[float]:
    """Return numbers with three decimals, for messages."""
    return [round(number, 3) for number in numbers.tolist()]


@exercise
def check_bigram_gradient(bigram_gradient) -> str:
    """Takes a function of logits, counts."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 4, generator=generator)
    counts = torch.randint(0, 9, (4, 4), generator=generator)
    z = logits.clone().requires_grad_()
    (-(counts * z.log_softmax(dim=1)).sum() / counts.sum()).backward()
    given, right = bigram_gradient(logits, counts), z.grad
    expect(
        tuple(given.shape) == (4, 4),
        f"The gradient has the shape of the logits, (4, 4); yours is "
        f"{tuple(given.shape)}.",
    )
    by_row = logits.softmax(dim=1) - counts / counts.sum(dim=1, keepdim=True)
    mistakes = {
        "The sign is the other way round: model minus counted.": -right,
        "That is the gradient of the sum, not of the mean.": right * counts.sum(),
        "Each row is right by itself, but more pairs must weigh more.": by_row,
        "The mean runs over pairs, not over rows.": by_row / 4,
    }
    found = [m for m, wrong in mistakes.items() if torch.allclose(given, wrong, 1e-4)]
    expect(
        torch.allclose(given, right, atol=1e-5),
        f"It differs from PyTorch's gradient by up to "
        f"{(given - right).abs().max():.3f}. "
        + (found or ["Start from the loss as a sum over rows."])[0],
    )
    return "Equal to what backward() computes."


@exercise
def check_trigram_loss(trigram_loss) -> str:
    """Takes a function of train_ids, other_ids, vocab_size, alpha."""
    generator = torch.Generator().manual_seed(0)
    train, other = (torch.randint(3, (n,), generator=generator) for n in (400, 90))
    smoothed = torch.full((3, 3, 3), 0.1).double()
    for a, b, c in zip(train[:-2], train[1:-1], train[2:]):
        smoothed[a, b, c] += 1

    def loss(dim: int | tuple[int, ...]) -> float:
        probabilities = smoothed / smoothed.sum(dim=dim, keepdim=True)
        return -probabilities[other[:-2], other[1:-1], other[2:]].log().mean().item()

    given, right = float(trigram_loss(train, other, 3, 0.1)), loss(-1)
    hints = {
        loss(0): "The first dimension sums to 1; the last one must.",
        loss(1): "The middle dimension sums to 1; the last one must.",
        loss(
            (0, 1, 2)
        ): "The whole table sums to 1; each past (a, b) needs its own sum.",
        right * (len(other) - 2): "Take the mean over the triples, not the sum.",
    }
    expect(
        math.isclose(given, right, rel_tol=1e-4),
        f"On two random texts of 3 tokens the loss is {right:.4f}, you return "
        f"{given:.4f}. "
        + hint_for(given, hints, "Are triples of train_ids counted, other_ids judged?"),
    )
    return "Now try it on Shakespeare, and compare with the bigram model."
