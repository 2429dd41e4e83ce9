"""The bigram model: the next token depends on the last one, and on nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["count_pairs", "BigramLM"]


def count_pairs(tokens: Tensor, vocab_size: int) -> Tensor:
    """Count how often each token follows each other token.

    Args:
        tokens: the token ids of a text, shape ``(N,)``.
        vocab_size: size of the vocabulary V.

    Returns:
        Counts ``(V, V)``, int64: row = first token, column = the token after it.
        They sum to N - 1.

    Raises:
        ValueError: if a token is outside ``0 .. V - 1``.

    Source: Shannon (1948), section 3; Jurafsky and Martin, chapter on n-grams.

    Home lesson: 02_bigram
    """
    if tokens.min() < 0 or tokens.max() >= vocab_size:
        raise ValueError(
            f"tokens run from {tokens.min()} to {tokens.max()}; "
            f"vocab_size={vocab_size} allows 0 .. {vocab_size - 1}"
        )
    pairs = tokens[:-1] * vocab_size + tokens[1:]  # row * V + column
    counts = torch.bincount(pairs, minlength=vocab_size**2)
    return counts.view(vocab_size, vocab_size)


class BigramLM(nn.Module):
    """Predict the next token from the last one, by looking up a row of logits.

    Args:
        vocab_size: size of the vocabulary V.
        d_model: None for a table of V x V logits; a number for an embedding of that
            size followed by a linear layer, the beginning and end of every model of
            this course.

    Shapes:
        ids ``(B, T)`` -> logits ``(B, T, V)``.

    Source: Bengio et al. (2003), section 2, with a context of one token.

    Home lesson: 02_bigram
    """

    context_length = 1  # how many of the last tokens the prediction depends on

    def __init__(self, vocab_size: int, d_model: int | None = None) -> None:
        super().__init__()
        if d_model is None:
            self.logits = nn.Embedding(vocab_size, vocab_size)
        else:
            self.logits = nn.Sequential(
                nn.Embedding(vocab_size, d_model), nn.Linear(d_model, vocab_size)
            )

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of the next token at each position."""
        return self.logits(ids)
