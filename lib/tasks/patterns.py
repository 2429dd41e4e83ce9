"""A rule that only the row tells: which label belongs to which kind of letter."""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lib.shapes import require_between, require_sizes
from lib.tasks.task import Rows, Task
from lib.text.tokenizer import CharTokenizer

__all__ = ["Patterns", "draw_patterns"]

LARGEST = len(string.ascii_uppercase)
HELD_OUT = 5  # one in so many rules is kept for the test
MOST_SHOTS = 10_000
N_TEST = 512
TEST_SEED = 78


def draw_patterns(
    n_rows: int,
    shots: int,
    n_items: int,
    n_labels: int,
    held_out: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw rows ``item label item label ...`` whose rule is two labels.

    Items of even number are of one kind, the others of the other kind. The rule of a
    row says which label each kind has, and nothing but the row tells it.

    Args:
        n_rows: number of rows B.
        shots: pairs in a row besides the last one.
        n_items: number of different items, ids from 0.
        n_labels: number of different labels, ids from ``n_items``.
        held_out: True for the rules that are kept for the test, False for the others.
        generator: source of the random draws.

    Returns:
        Ids ``(B, 2 * shots + 2)``, and the kind of each item, ``(B, shots + 1)``.

    Raises:
        ValueError: for a size below 1, one item, or too few labels for a test.

    Home lesson: 23_in_context_learning
    """
    require_sizes(n_rows=n_rows, shots=shots, n_items=n_items, n_labels=n_labels)
    for name, value, least in (("n_items", n_items, 2), ("n_labels", n_labels, 4)):
        if value < least:
            raise ValueError(f"{name}={value} must be {least} or more")
    rules = torch.cartesian_prod(torch.arange(n_labels), torch.arange(n_labels))
    apart = rules[:, 0] != rules[:, 1]
    kept = rules.sum(dim=1) % HELD_OUT == 0
    rules = rules[apart & (kept == held_out)]
    drawn = rules[torch.randint(len(rules), (n_rows,), generator=generator)]  # (B, 2)
    items = torch.randint(n_items, (n_rows, shots + 1), generator=generator)
    kinds = items % 2
    labels = n_items + drawn.gather(1, kinds)
    return torch.stack([items, labels], dim=-1).flatten(1), kinds


@dataclass(frozen=True)
class Patterns(Task):
    """Letters of two kinds with a label for each kind that only the row tells.

    What counts are all labels: the first is a guess, the last has all shots before it.

    Attributes:
        shots: Solved examples before the last question.
        n_items: Different letters that are asked about.
        n_labels: Different labels.

    Home lesson: 23_in_context_learning
    """

    shots: int = 8
    n_items: int = 16
    n_labels: int = 20

    def __post_init__(self) -> None:
        require_between(1, MOST_SHOTS, shots=self.shots)
        for name in ("n_items", "n_labels"):
            if (value := getattr(self, name)) > LARGEST:
                raise ValueError(f"{name}={value} must be at most {LARGEST}")
        draw_patterns(1, self.shots, self.n_items, self.n_labels)

    @cached_property
    def tokenizer(self) -> CharTokenizer:
        """Capital letters for the items, small ones for the labels."""
        items = string.ascii_uppercase[: self.n_items]
        return CharTokenizer(items + string.ascii_lowercase[: self.n_labels])

    @property
    def context_length(self) -> int:
        """The length of a row."""
        return 2 * self.shots + 1

    def batch(self, batch_size: int, generator: torch.Generator) -> Rows:
        """Draw rows to learn from."""
        return self._rows(batch_size, False, generator)

    @cached_property
    def test(self) -> Rows:
        """Rows with the rules that are kept for the test, always the same."""
        return self._rows(N_TEST, True, torch.Generator().manual_seed(TEST_SEED))

    @property
    def answerable(self) -> Rows:
        """The rows of the test, in which the last label alone counts."""
        counted = torch.zeros_like(self.test.counted)
        counted[:, -1] = True
        return self.test._replace(counted=counted)

    def _rows(self, n_rows: int, held_out: bool, generator: torch.Generator) -> Rows:
        """Draw rows with the rules to learn from, or with the others."""
        sizes = (self.shots, self.n_items, self.n_labels)
        ids, _ = draw_patterns(n_rows, *sizes, held_out, generator)
        counted = torch.arange(ids.size(1) - 1) % 2 == 0  # after an item comes a label
        return Rows(ids[:, :-1], ids[:, 1:], counted.expand(n_rows, -1))
