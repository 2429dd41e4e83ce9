"""The bigram model: the next token depends on the last one, and on nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.shapes import require_sizes

__all__ = ["count_pairs", "BigramConfig", "BigramLM"]


def count_pairs(tokens: Tensor, vocab_size: int) -> Tensor:
    """Count how often each token follows each other token.

    Args:
        tokens: the token ids of a text, shape ``(N,)``.
        vocab_size: size of the vocabulary V.

    Returns:
        Counts ``(V, V)``, int64: row = first token, column = the token after it.
        They sum to N - 1.

    Raises:
        ValueError: if there is no token, or one outside ``0 .. V - 1``.

    Source: Shannon (1948), section 3; Jurafsky and Martin, chapter on n-grams.

    Home lesson: 02_bigram
    """
    if not len(tokens):
        raise ValueError("tokens is empty; there must be one or more")
    if tokens.min() < 0 or tokens.max() >= vocab_size:
        raise ValueError(
            f"tokens run from {tokens.min()} to {tokens.max()}; "
            f"vocab_size={vocab_size} allows 0 .. {vocab_size - 1}"
        )
    ids = tokens.long()  # in 8 bits the products would not fit
    pairs = ids[:-1] * vocab_size + ids[1:]  # row * V + column
    counts = torch.bincount(pairs, minlength=vocab_size**2)
    return counts.view(vocab_size, vocab_size)


@dataclass(frozen=True)
class BigramConfig:
    """What a `BigramLM` is made of.

    Attributes:
        vocab_size: number of different tokens V.
        d_model: None for a table of V x V logits; a number for an embedding of that
            size followed by a linear layer, the beginning and end of every model of
            this course.
        context_length: tokens per row of a batch in training; the prediction depends
            on the last one only.

    Raises:
        ValueError: for a size below 1.

    Home lesson: 02_bigram
    """

    vocab_size: int = 65
    d_model: int | None = None
    context_length: int = 32

    def __post_init__(self) -> None:
        require_sizes(**{n: v for n, v in vars(self).items() if v is not None})


class BigramLM(nn.Module):
    """Predict the next token from the last one, by looking up a row of logits.

    Args:
        config: sizes; without ``d_model`` the rows are a table.

    Shapes:
        ids ``(B, T)`` -> logits ``(B, T, V)``.

    Source: Bengio et al. (2003), section 2, with a context of one token.

    Home lesson: 02_bigram
    """

    context_length = 1  # how many of the last tokens the prediction depends on

    def __init__(self, config: BigramConfig) -> None:
        super().__init__()
        c = self.config = config
        if c.d_model is None:
            self.logits = nn.Embedding(c.vocab_size, c.vocab_size)
        else:
            table = nn.Embedding(c.vocab_size, c.d_model)
            self.logits = nn.Sequential(table, nn.Linear(c.d_model, c.vocab_size))

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of the next token at each position."""
        return self.logits(ids)
