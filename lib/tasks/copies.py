"""Texts with near copies that were planted, and labels that nobody can guess."""

from __future__ import annotations

import random
from typing import NamedTuple

from lib.shapes import require_sizes

__all__ = ["Copy", "LABELS", "draw_copies"]

LABELS = ("red", "green", "blue", "white")
"""The answers, each as frequent as any other, whatever the text says."""

FIRST = ("ba", "de", "ki", "lo", "mu", "na", "po", "ri", "su", "te")
SECOND = ("ban", "dor", "kel", "lim", "mon", "nar", "pil", "rus", "sed", "tok")
WORDS = [a + b + c for a in FIRST for b in SECOND for c in ("", "a", "i")]


class Copy(NamedTuple):
    """A text of made-up words.

    Attributes:
        text: words with spaces between them.
        label: one of `LABELS`, the same for all copies.
        group: the number of the text that it is a copy of.
    """

    text: str
    label: str
    group: int


def draw_copies(
    n_groups: int,
    n_copies: int = 3,
    n_words: int = 20,
    n_changes: int = 2,
    seed: int = 0,
) -> list[Copy]:
    """Draw texts, several near copies of each, in a mixed order.

    Args:
        n_groups: texts that have nothing to do with each other.
        n_copies: of each.
        n_words: in a text.
        n_changes: words of each copy that are replaced, at random places.
        seed: draws texts, labels and changes.

    Raises:
        ValueError: for a size below 1, or changes that are not in 0 .. ``n_words``.
    """
    require_sizes(n_groups=n_groups, n_copies=n_copies, n_words=n_words)
    if not 0 <= n_changes <= n_words:
        raise ValueError(f"n_changes={n_changes} must be in 0 .. {n_words}")
    rng, copies = random.Random(seed), []
    for group in range(n_groups):
        words, label = rng.choices(WORDS, k=n_words), rng.choice(LABELS)
        for _ in range(n_copies):
            own = list(words)
            for place in rng.sample(range(n_words), n_changes):
                own[place] = rng.choice(WORDS)
            copies.append(Copy(" ".join(own), label, group))
    rng.shuffle(copies)
    return copies
