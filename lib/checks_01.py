"""The checks of the exercises in lesson 01, text and tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lib.bigram import count_pairs
from lib.exercises import exercise, expect, hint_for

__all__ = [
    "check_n_windows",
    "check_unigram_loss",
    "check_safe_tokenizer",
    "check_conditional_entropy",
]


@exercise
def check_n_windows(n_windows) -> str:
    """Takes a function of n_tokens, context_length."""
    for n_tokens, context_length in ((4, 3), (10, 4), (100, 1), (65, 64)):
        given = n_windows(n_tokens, context_length)
        right = n_tokens - context_length
        hint = {
            right + 1: "The last window has no target for its last input.",
            right - 1: "The first window starts at place 0, not 1.",
            n_tokens // context_length: "Windows may overlap: every place counts.",
        }.get(given, "Try it on paper.")
        expect(
            given == right,
            f"{n_tokens} tokens have {right} windows of {context_length} inputs with "
            f"targets, you return {given}. {hint}",
        )
    return "Each start leaves room for its last target."


@exercise
def check_unigram_loss(unigram_loss) -> str:
    """Takes a function of train_ids, other_ids, vocab_size."""
    train, other = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 1, 3, 3])
    counts = torch.tensor([3, 2, 1, 0])

    def loss(counts: Tensor, total: int, tokens: Tensor) -> float:
        return -(counts / total).log()[tokens].mean().item()

    given, right = float(unigram_loss(train, other, 4)), loss(counts + 1, 10, other)
    hints = {
        loss(counts, 6, other): "That is the loss without smoothing: add 1 to every "
        "count, also to those that are 0.",
        loss(counts + 1, 6, other): "After adding 1 to each count, divide by the new "
        "sum.",
        loss(counts + 1, 10, train): "You judged the model on its own training tokens; "
        "take the mean over other_ids.",
        -right: "The sign is wrong: surprise is minus the logarithm.",
        right * len(other): "Take the mean over the tokens, not the sum.",
        right / math.log(2): "That is in bits; nats use the natural logarithm.",
    }
    expect(
        math.isclose(given, right, rel_tol=1e-4),
        f"For train_ids {train.tolist()}, other_ids {other.tolist()} and 4 different "
        f"tokens the loss is {right:.4f} nats, you return {given:.4f}. "
        + hint_for(given, hints, "Smooth, divide, look up, take -log, take the mean."),
    )
    return "A token that training never saw costs much, but not everything."


@exercise
def check_safe_tokenizer(SafeTokenizer) -> str:
    """Takes a class with vocab_size, encode and decode."""
    tokenizer = SafeTokenizer("to be or not")
    n_known = len(set("to be or not"))
    ids = list(tokenizer.encode("tönt"))
    expect(
        len(ids) == 4,
        f"'tönt' has 4 characters but you give {len(ids)} ids: unknown characters must "
        "not be left out.",
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
    back = tokenizer.decode(ids)
    expect(
        back == "t?nt", f"'tönt' there and back must give 't?nt', you give {back!r}."
    )
    expect(
        tokenizer.decode(tokenizer.encode("not to be")) == "not to be",
        "Known characters must come back unchanged: 'not to be' does not.",
    )
    return "Unknown characters have a place of their own."


@exercise
def check_conditional_entropy(conditional_entropy) -> str:
    """Takes a function of ids, vocab_size."""
    draws = torch.randint(6, (3_000,), generator=torch.Generator().manual_seed(0))
    ids = [0]
    for draw in draws.tolist():  # half of the time the last token is repeated
        ids.append(draw if draw < 3 else ids[-1])
    tokens = torch.tensor(ids)
    given, right = (
        float(conditional_entropy(tokens, 3)),
        _conditional_entropy(tokens, 3),
    )
    single = tokens[:-1].bincount(minlength=3).double() / (len(tokens) - 1)
    alone = -(single * single.log()).sum().item()
    hints = {
        right + alone: "That is the entropy of the pairs; take off that of their first "
        "tokens.",
        -right: "The difference is the wrong way round.",
        alone: "That is the entropy of single tokens; nothing was read yet.",
        right / math.log(2): "That is in bits; nats use the natural logarithm.",
    }
    expect(
        math.isclose(given, right, abs_tol=1e-3),
        "For a text of three tokens that often repeat, the answer is "
        f"{right:.4f} nats, you return {given:.4f}. "
        + hint_for(given, hints, "Is each pair counted once, divided by all pairs?"),
    )
    return "That is the loss that the next lesson reaches."


def _conditional_entropy(ids: Tensor, vocab_size: int) -> float:
    counts = count_pairs(ids, vocab_size).double()
    rows = counts / counts.sum(dim=1, keepdim=True).clamp_min(1)
    return -(counts * rows.clamp_min(1e-38).log()).sum().item() / (len(ids) - 1)
