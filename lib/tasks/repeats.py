"""Random letters that come again: whoever looks back knows the next one."""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lib.shapes import require_between, require_sizes
from lib.tasks.task import Rows, Task
from lib.text.tokenizer import CharTokenizer

__all__ = ["Repeats", "draw_repeats"]

LARGEST = len(string.ascii_letters)
MOST_LETTERS = 100_000  # of a row
N_TEST = 128
TEST_SEED = 77


def draw_repeats(
    n_rows: int,
    length: int,
    vocab_size: int,
    periods: tuple[int, int],
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw rows of random tokens, each repeated with a period of its own.

    Args:
        n_rows: number of rows B.
        length: tokens per row T.
        vocab_size: number of different tokens.
        periods: the shortest and the longest period.
        generator: source of the random draws.

    Returns:
        Ids ``(B, T)``, and the period of each row ``(B, 1)``: ``ids[b, t]`` is
        ``ids[b, t - period[b]]`` from ``t = period[b]`` on.

    Raises:
        ValueError: for a size below 1, or periods that are not in order.

    Home lesson: 23_in_context_learning
    """
    low, high = periods
    require_sizes(n_rows=n_rows, length=length, vocab_size=vocab_size, low=low)
    if high < low:
        raise ValueError(f"periods={periods} must be the shortest and the longest one")
    drawn = torch.randint(low, high + 1, (n_rows, 1), generator=generator)
    ids = torch.randint(vocab_size, (n_rows, length), generator=generator)
    return ids.gather(1, torch.arange(length) % drawn), drawn


@dataclass(frozen=True)
class Repeats(Task):
    """Random letters, repeated with a random period.

    What counts are the letters of the repetition, from its second one on.

    Attributes:
        shortest: Period.
        longest: Period.
        length: Letters per row.
        vocab_size: Different letters.

    Home lesson: 23_in_context_learning
    """

    shortest: int = 8
    longest: int = 32
    length: int = 65
    vocab_size: int = 50

    def __post_init__(self) -> None:
        require_between(1, MOST_LETTERS, length=self.length)
        require_between(1, self.length, shortest=self.shortest, longest=self.longest)
        if self.longest + 2 > self.length:
            raise ValueError(
                f"longest={self.longest} must be at most length - 2 = "
                f"{self.length - 2}: a row without a repetition teaches nothing"
            )
        if not 2 <= self.vocab_size <= LARGEST:
            raise ValueError(f"vocab_size={self.vocab_size} must be 2 .. {LARGEST}")
        periods = (self.shortest, self.longest)
        draw_repeats(1, self.length, self.vocab_size, periods)

    @cached_property
    def tokenizer(self) -> CharTokenizer:
        """The letters."""
        return CharTokenizer(sorted(string.ascii_letters)[: self.vocab_size])

    @property
    def context_length(self) -> int:
        """The length of a row."""
        return self.length - 1

    def batch(self, batch_size: int, generator: torch.Generator) -> Rows:
        """Draw rows to learn from."""
        periods = (self.shortest, self.longest)
        ids, period = draw_repeats(
            batch_size, self.length, self.vocab_size, periods, generator
        )
        counted = torch.arange(1, self.length) > period  # (B, T)
        return Rows(ids[:, :-1], ids[:, 1:], counted)

    @cached_property
    def test(self) -> Rows:
        """The rows to test with, always the same."""
        return self.batch(N_TEST, torch.Generator().manual_seed(TEST_SEED))
