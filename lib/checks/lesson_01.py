"""The checks of the exercises in lesson 01, text and tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.checks import exercise, expect, hint_for, python_number
from lib.models.bigram import count_pairs

__all__ = [
    "check_perplexity",
    "check_unigram_loss",
    "check_safe_tokenizer",
    "check_conditional_entropy",
]


@exercise
def check_perplexity(perplexity) -> str:
    """Takes a function of a loss in nats."""
    for choices in (10.0, 28.5, 2.0):
        loss = math.log(choices)
        given = python_number(perplexity(loss))
        hints = {
            1
            / choices: "That is the probability of each; you want how many there are.",
            2**loss: "The loss is in nats, so the base is e, not 2.",
            10**loss: "The loss is in nats, so the base is e, not 10.",
            loss / math.log(2): "That is the loss in bits.",
            round(choices): "Do not round: in between there is meaning too.",
            math.ceil(choices): "Do not round: in between there is meaning too.",
            math.floor(choices): "Do not round: in between there is meaning too.",
        }
        expect(
            math.isclose(given, choices, rel_tol=1e-4),
            f"A loss of {loss:.4f} nats is that of {choices:g} equally likely tokens, "
            f"you return {given:.4f}. "
            + hint_for(given, hints, "Which function undoes the logarithm?"),
        )
    return "The exponential undoes the logarithm."


@exercise
def check_unigram_loss(unigram_loss) -> str:
    """Takes a function of train_ids, other_ids, vocab_size."""
    for train, other, size in (
        ([0, 0, 0, 1, 1, 2], [0, 1, 3, 3], 4),
        ([4, 1, 4, 4, 0, 4, 2, 1], [2, 5, 4, 4, 4, 0], 8),
    ):
        train, other = torch.tensor(train), torch.tensor(other)
        own = train.clone(), other.clone()
        answer, right = unigram_loss(*own, size), _unigram(train, other, size)
        given = python_number(answer)
        expect(
            torch.equal(own[0], train) and torch.equal(own[1], other),
            "You changed train_ids or other_ids; leave them as they are.",
        )
        expect(
            math.isclose(given, right, rel_tol=1e-4),
            f"For train_ids {train.tolist()}, other_ids {other.tolist()} and {size} "
            f"different tokens the loss is {right:.4f} nats, you return {given:.4f}. "
            + hint_for(
                given,
                _unigram_mistakes(train, other, size),
                "Smooth, divide, look up, take -log, take the mean.",
            ),
        )
    return "A token that training never saw costs much, but not everything."


def _unigram(
    train: Tensor, tokens: Tensor, size: int, add: int = 1, total: int | None = None
) -> float:
    counts = train.bincount(minlength=size) + add
    return -(counts / (total or counts.sum())).log()[tokens].mean().item()


def _unigram_mistakes(train: Tensor, other: Tensor, size: int) -> dict[float, str]:
    right = _unigram(train, other, size)
    return {
        _unigram(train, other, size, add=0): "That is the loss without smoothing: add "
        "1 to every count, also to those that are 0.",
        _unigram(train, other, size, total=len(train)): "After adding 1 to each count, "
        "divide by the new sum.",
        _unigram(train, train, size): "You judged the model on its own training "
        "tokens; take the mean over other_ids.",
        _unigram(other, other, size): "You counted other_ids; count train_ids and "
        "judge other_ids.",
        _unigram(other, train, size): "The two texts are exchanged.",
        _unigram(train, other.unique(), size): "Every token of other_ids counts, also "
        "when it comes again.",
        -right: "The sign is wrong: surprise is minus the logarithm.",
        right * len(other): "Take the mean over the tokens, not the sum.",
        right / math.log(2): "That is in bits; nats use the natural logarithm.",
    }


SENTENCES = (
    ("tönt", "t?nt"),
    ("or not?", "or not?"),
    (" bT#7\u03c0\u03c0? ", " b?????? "),
)


@exercise
def check_safe_tokenizer(SafeTokenizer) -> str:
    """Takes a class with vocab_size, encode and decode."""
    tokenizer = SafeTokenizer("to be or not?")
    n_known = len(set("to be or not?"))
    expect(
        not callable(tokenizer.vocab_size),
        "vocab_size is a method; make it a property, so that it is read without ().",
    )
    ids = list(tokenizer.encode("tönt"))
    expect(
        len(ids) == 4,
        f"'tönt' has 4 characters, you give {len(ids)} ids: leave no unknown one out.",
    )
    expect(
        tokenizer.vocab_size == n_known + 1,
        f"vocab_size is {tokenizer.vocab_size}; with {n_known} known characters and "
        f"one id for all others it must be {n_known + 1}.",
    )
    expect(
        ids[1] == n_known,
        f"The unknown 'ö' gets id {ids[1]}; it must get the extra one, {n_known}, and "
        "not be mixed up with a known character.",
    )
    expect(
        tokenizer.encode("?")[0] < n_known,
        "The '?' of the vocabulary shares its id with unknown characters; it must keep "
        "its own.",
    )
    other = SafeTokenizer("ab\ncd")  # must not change the first one
    _expect_round_trips(tokenizer, SENTENCES)
    _expect_own_text(other)
    return "Unknown characters have a place of their own."


def _expect_own_text(tokenizer: object) -> None:
    """Expect that the tokenizer of 'ab', a newline, 'cd' knows these five alone."""
    expect(
        tokenizer.vocab_size == 6,
        f"A tokenizer of 'ab\\ncd' has vocab_size {tokenizer.vocab_size}; with 5 known "
        "characters, which do not include '?', and one id for all others it must be 6.",
    )
    _expect_round_trips(tokenizer, (("a\n\tb?", "a\n?b?"),))


def _expect_round_trips(tokenizer: object, texts: tuple) -> None:
    """Expect each text to come back, with a "?" for each unknown character."""
    for text, right in texts:
        ids = list(tokenizer.encode(text))
        expect(
            max(ids) < tokenizer.vocab_size,
            f"{text!r} has the id {max(ids)}, but vocab_size is "
            f"{tokenizer.vocab_size}: all unknown characters share one id.",
        )
        for given, kind in ((ids, "a list"), (torch.tensor(ids), "a tensor")):
            back = tokenizer.decode(given)
            expect(
                back == right,
                f"{text!r}, encoded and decoded from {kind}, must give {right!r}; you "
                f"give {back!r}.",
            )


@exercise
def check_conditional_entropy(conditional_entropy) -> str:
    """Takes a function of ids, vocab_size."""
    for ids, size in (
        ([0, 0, 1, 1, 1, 2, 0, 0, 0, 1, 2, 2, 2], 3),
        ([1, 3, 1, 0, 3, 1, 3, 3, 0, 2], 5),
        ([0, 70, 1, 0, 70, 1, 5, 0, 2, 50, 3, 0, 70, 70], 80),
    ):
        ids = torch.tensor(ids)
        own, right = ids.clone(), _conditional_entropy(ids, size)
        given = python_number(conditional_entropy(own, size))
        expect(
            not math.isnan(given),
            "You return nan: 0 ln 0 must count as 0. Use `entropy` of this page, or "
            "`torch.xlogy`.",
        )
        expect(torch.equal(own, ids), "You changed `ids` itself; leave it as it is.")
        expect(
            math.isclose(given, right, abs_tol=1e-4),
            f"For the ids {ids.tolist()} the answer is {right:.4f} nats, you return "
            f"{given:.4f}. "
            + hint_for(
                given,
                _conditional_mistakes(ids, right),
                "Count each pair once, divide by all pairs; do two pairs get one "
                "number? Use vocab_size.",
            ),
        )
    return "Run it on the training tokens; the next lesson begins with that number."


def _conditional_mistakes(ids: Tensor, right: float) -> dict[float, str]:
    def alone(tokens: Tensor) -> float:
        p = tokens.bincount() / len(tokens)
        return -torch.xlogy(p, p).sum().item()

    pairs = right + alone(ids[:-1])
    off = "You took off the entropy of {}; take that of the first tokens."
    return {
        pairs: "That is the entropy of the pairs; take off that of their first tokens.",
        -right: "The difference is the wrong way round.",
        alone(ids[:-1]): "That is the entropy of single tokens; nothing was read yet.",
        right / math.log(2): "That is in bits; nats use the natural logarithm.",
        pairs - alone(ids[1:]): off.format("the second tokens of the pairs"),
        pairs - alone(ids): off.format("all tokens"),
        pairs / 2: "Half of the entropy of the pairs holds the first tokens too.",
    }


def _conditional_entropy(ids: Tensor, vocab_size: int) -> float:
    counts = count_pairs(ids, vocab_size)
    rows = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    return -torch.xlogy(counts, rows).sum().item() / counts.sum().item()
