"""The checks of the exercises in lesson 02, the bigram model."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.checks import (
    Mistake,
    exercise,
    expect,
    hint_for,
    hint_for_tensor,
    number,
    returned,
    rounded,
    tensor,
)
from lib.text.tokenizer import CharTokenizer

__all__ = [
    "check_most_likely_next",
    "check_smoothed_probabilities",
    "check_bigram_gradient",
    "check_trigram_loss",
]


OWN_ROW = "Take the largest count of the character's own row."


@exercise
def check_most_likely_next(most_likely_next) -> str:
    """Takes a function of counts, tokenizer, character."""
    tokenizer = CharTokenizer("A bc")
    counts = torch.tensor([[9, 8, 1, 8], [8, 4, 9, 6], [1, 6, 2, 0], [8, 9, 0, 0]])
    for i, character in enumerate(tokenizer.characters):
        own = counts.clone()
        given = returned(most_likely_next(own, tokenizer, character))
        expect(torch.equal(own, counts), "You changed `counts` itself; only read it.")
        expect(
            isinstance(given, str),
            f"The answer must be a character; yours has the type "
            f"{type(given).__name__}. tokenizer.characters[i] has the id i.",
        )
        right, before = (
            tokenizer.characters[int(table[i].argmax())] for table in (counts, counts.T)
        )
        column = "You looked down the column: that is what comes *before*."
        expect(
            given == right,
            f"With the counts {counts[i].tolist()} of {tokenizer.characters} after "
            f"{character!r} the answer is {right!r}, you return {given!r}. "
            + (column if given == before else OWN_ROW),
        )
    return "You read rows."


@exercise
def check_smoothed_probabilities(smoothed_probabilities) -> str:
    """Takes a function of counts, alpha."""
    three = torch.tensor([[6, 2, 0], [0, 0, 0], [1, 1, 8]])
    four = torch.tensor([[0, 3, 0, 1], [5, 0, 0, 2], [0, 0, 0, 0], [1, 1, 1, 9]])
    for counts, alpha in ((three, 1.0), (three, 0.5), (four, 0.01), (four, 2.5)):
        before, added = counts.clone(), counts + alpha
        given = tensor(smoothed_probabilities(before, alpha), tuple(counts.shape))
        expect(torch.equal(before, counts), "You changed `counts` itself; make a copy.")
        right = added / added.sum(dim=1, keepdim=True)
        mistakes = _smoothing_mistakes(counts, alpha)
        otherwise = "Is alpha added to every count?"
        sums = given.float().sum(dim=1)
        if not torch.allclose(sums, torch.ones(len(counts)), atol=1e-3):
            otherwise = "And each row must sum to 1."
        row = int(
            (given - right).abs().nan_to_num(1.0).amax(dim=1).gt(1e-5).int().argmax()
        )
        expect(
            torch.allclose(given.float(), right, atol=1e-5),
            f"With alpha={alpha} the row {counts[row].tolist()} must become "
            f"{rounded(right[row])}, yours is {rounded(given[row])}. "
            + hint_for_tensor(given, mistakes, otherwise),
        )
    return "Even a row without any count becomes a distribution."


def _smoothing_mistakes(counts: Tensor, alpha: float) -> dict[str, Tensor]:
    added = counts + alpha
    mistakes = {
        "Each column sums to 1; each row must. Sum over dim=1.": added
        / added.sum(dim=0, keepdim=True),
        "Each column was divided by a row's sum: keepdim=True keeps the sums in a "
        "column.": added / added.sum(dim=1),
        "Add alpha first, then divide by the sum of what you now have.": added
        / counts.sum(dim=1, keepdim=True),
        "The whole table sums to 1; each row must.": added / added.sum(),
        "That is the table of the transposed counts.": added.T
        / added.T.sum(dim=1, keepdim=True),
    }
    if alpha != 1:
        once = counts + 1
        mistakes["You added 1, not alpha."] = once / once.sum(dim=1, keepdim=True)
    return mistakes


@exercise
def check_bigram_gradient(bigram_gradient) -> str:
    """Takes a function of logits, counts."""
    generator = torch.Generator().manual_seed(0)
    for size, scale in ((4, 1), (6, 1), (3, 1_000)):
        logits = scale * torch.randn(size, size, generator=generator)
        counts = torch.randint(1, 9, (size, size), generator=generator)
        counts[2] = 0  # a token that never comes
        counts[0, 1] = 0  # a pair that never comes
        z = logits.clone().requires_grad_()
        (-(counts * z.log_softmax(dim=1)).sum() / counts.sum()).backward()
        own, right = (logits.clone(), counts.clone()), z.grad
        given = tensor(_gradient_of(bigram_gradient, own), (size, size), "The gradient")
        expect(
            torch.equal(own[0], logits) and torch.equal(own[1], counts),
            "You changed logits or counts; leave them as they are.",
        )
        mistakes = _gradient_mistakes(logits, counts, right)
        full = counts.sum(dim=1) > 0  # what an empty row gets says little
        mistakes = {hint: wrong[full] for hint, wrong in mistakes.items()}
        expect(
            torch.allclose(given.float(), right, atol=1e-5),
            "It is not PyTorch's gradient. "
            + hint_for_tensor(
                given[full],
                mistakes,
                "For large logits e to their power is too large for a float: take "
                "softmax."
                if given[full].isnan().any()
                else "Start from the loss as a sum over rows.",
            ),
        )
    return "Equal to what backward() computes."


def _gradient_of(bigram_gradient, inputs: tuple[Tensor, Tensor]) -> object:
    """Return what the reader's function returns; `Mistake` where it needs autograd."""
    try:
        with torch.no_grad():
            return bigram_gradient(*inputs)
    except RuntimeError as error:
        if "require grad" not in str(error):
            raise
        raise Mistake(
            "Write it without backward(): what the model says, minus what was counted, "
            "weighted by the row."
        ) from None


def _gradient_mistakes(
    logits: Tensor, counts: Tensor, right: Tensor
) -> dict[str, Tensor]:
    rows, n_pairs = counts.sum(dim=1, keepdim=True), counts.sum()
    p = logits.softmax(dim=1)
    by_row, no_column = p - counts / rows, rows[:, 0] * p - counts
    columns = rows * logits.softmax(dim=0) - counts
    return {
        "The sign is the other way round: model minus counted.": -right,
        "That is the gradient of the sum, not of the mean.": right * n_pairs,
        "Right row by row, but a row with more pairs must weigh more.": by_row,
        "The mean runs over pairs, not over rows.": by_row / len(counts),
        "A row without any pair gives 0 / 0; do not divide.": by_row * rows / n_pairs,
        "keepdim=True keeps the sums of the rows in a column.": no_column / n_pairs,
        "The softmax runs over each row: dim=1.": columns / n_pairs,
        "A pair that never came has a gradient, too: what the model says. Only a row "
        "without any pair has none.": right * (counts > 0),
    }


@exercise
def check_trigram_loss(trigram_loss) -> str:
    """Takes a function of train_ids, other_ids, vocab_size, alpha."""
    generator = torch.Generator().manual_seed(0)
    # Few triples of a large vocabulary: most cells of the table are 0.
    train, other = (torch.randint(6, (n,), generator=generator) for n in (90, 40))
    other = torch.cat([other, torch.tensor([6, 6, 6, 0])])  # a past that never came
    counts = torch.zeros(7, 7, 7).double()
    for a, b, c in zip(train[:-2], train[1:-1], train[2:]):
        counts[a, b, c] += 1
    for alpha in (0.1, 2.0):
        own, right = (
            (train.clone(), other.clone()),
            _trigram_loss(counts + alpha, other),
        )
        given = number(trigram_loss(*own, 7, alpha))
        expect(
            torch.equal(own[0], train) and torch.equal(own[1], other),
            "You changed train_ids or other_ids; leave them as they are.",
        )
        expect(
            math.isfinite(given),
            "A triple that training never saw has probability 0: add alpha.",
        )
        hints = _trigram_mistakes(counts, other, alpha)
        expect(
            math.isclose(given, right, rel_tol=1e-5),
            f"On two short random texts with alpha={alpha} the loss is {right:.4f} "
            f"nats, you return {given:.4f}. "
            + hint_for(given, hints, "Count in train_ids, judge other_ids, add alpha."),
        )
    return "Now try it on Shakespeare, and compare with the bigram model."


def _trigram_loss(
    smoothed: Tensor, ids: Tensor, dim: int | tuple[int, ...] = -1
) -> float:
    p = smoothed / smoothed.sum(dim=dim, keepdim=True)
    return -p[ids[:-2], ids[1:-1], ids[2:]].log().mean().item()


def _without_keepdim(smoothed: Tensor, ids: Tensor) -> float:
    p = smoothed / smoothed.sum(dim=-1)  # as the sums of (a, b), divided from (b, c)
    return -p[ids[:-2], ids[1:-1], ids[2:]].log().mean().item()


def _trigram_mistakes(counts: Tensor, other: Tensor, alpha: float) -> dict[float, str]:
    smoothed = counts + alpha
    right = _trigram_loss(smoothed, other)
    return {
        _trigram_loss(smoothed, other, 0): "The first dimension sums to 1; the last "
        "one must: divide the counts by their own sum over the last dimension.",
        _without_keepdim(smoothed, other): "keepdim=True keeps the sums of each past "
        "(a, b) where they belong.",
        -right: "The sign is missing: minus the logarithm.",
        math.exp(right): "That is the perplexity, e to the loss.",
        _trigram_loss(smoothed, other, 1): "The middle dimension sums to 1; the last "
        "one must.",
        _trigram_loss(smoothed, other, (0, 1, 2)): "The whole table sums to 1; each "
        "past needs its own sum.",
        right * (len(other) - 2): "Take the mean over the triples, not the sum.",
        right / math.log(2): "That is in bits; nats use the natural logarithm.",
        _trigram_loss(counts + 1, other): "You added 1, not alpha.",
    }
