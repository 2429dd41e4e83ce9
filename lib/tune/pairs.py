"""Pairs of answers to one prompt, of which one is preferred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from lib.shapes import require_sizes
from lib.text.tokenizer import pad_batch

__all__ = ["Pair", "PairRows", "encode_pairs"]


class Pair(NamedTuple):
    """A prompt and two answers, as ids; an answer holds its stop.

    Attributes:
        prompt: what both answers go on from.
        chosen: the answer that was preferred.
        rejected: the other one.

    Home lesson: 30_preference_tuning
    """

    prompt: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]


class PairRows(NamedTuple):
    """N pairs as tokens, ``(N, 2, T)``: the chosen row first, then the rejected one.

    Attributes:
        ids: prompt and answer, filled up at the end.
        written: bool; True at the tokens of the answers.

    Home lesson: 30_preference_tuning
    """

    ids: Tensor
    written: Tensor


def encode_pairs(
    pairs: Sequence[Pair], max_length: int | None = None
) -> tuple[PairRows, int]:
    """Return pairs as rows, without those whose answers are the same.

    Nothing can be learnt from an answer that is preferred to itself. Rows are cut at
    their end, and two answers may differ only in what is cut off.

    Args:
        pairs: prompts, and answers of any length.
        max_length: tokens that a row may have at most; None for any number.

    Returns:
        The rows, as wide as the longest one, with filling of the id 0 at their end; and
        the number of pairs that were left out.

    Raises:
        ValueError: for an empty prompt or answer, a size below 1, or if no pair is
            left.

    Home lesson: 30_preference_tuning
    """
    if max_length is not None:
        require_sizes(max_length=max_length)
    rows, written = [], []
    for number, pair in enumerate(pairs):
        for name, ids in zip(Pair._fields, pair):
            if not len(ids):
                raise ValueError(f"pairs[{number}] has an empty {name}")
        prompt, *answers = ([*ids] for ids in pair)
        both = [(prompt + answer)[:max_length] for answer in answers]
        if both[0] != both[1]:
            rows += both
            written += [
                [n >= len(prompt) for n in range(len(row))] for row in both
            ]
    if not rows:
        raise ValueError(f"pairs: none of {len(pairs)} has two different answers")
    ids, own = pad_batch(rows), pad_batch(written).bool()
    shape = (-1, 2, ids.size(1))
    n_equal = len(pairs) - len(rows) // 2
    return PairRows(ids.view(shape), own.view(shape)), n_equal
