"""How good is a translation?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

__all__ = ["bleu"]


def bleu(candidates: Sequence[str], references: Sequence[str]) -> float:
    r"""Return how well translations match reference translations, 0 to 100.

    :math:`100 \cdot \mathrm{BP} \cdot (p_1 p_2 p_3 p_4)^{1/4}`: :math:`p_n` is the
    share of runs of n words that also stand in the reference, each at most as often as
    there, over all sentences together. :math:`\mathrm{BP} = \min(1, e^{1 - r/c})`
    punishes texts of c words that are shorter than the r words of the references. The
    k-th :math:`p_n` without any match counts as half, a quarter, ... of a match;
    without a single common word the result is 0.

    Args:
        candidates: translations, words with spaces between them.
        references: one correct translation for each.

    Raises:
        ValueError: if there are no sentences, or not as many of both.

    Source: Papineni et al. (2002), section 2.3; the rule for no match: Post (2018).

    Home lesson: 16_translation
    """
    if not candidates or len(candidates) != len(references):
        raise ValueError(
            f"{len(candidates)} candidates for {len(references)} references; there "
            "must be as many, and one or more"
        )
    pairs = [(c.split(), r.split()) for c, r in zip(candidates, references)]
    n_written, n_wanted = (sum(len(pair[i]) for pair in pairs) for i in (0, 1))
    found, total = zip(*(_matches(pairs, n) for n in (1, 2, 3, 4)))
    if not found[0] or not total[3]:
        return 0.0
    shares, nothing = [], 1.0
    for matches, n_runs in zip(found, total):
        nothing = nothing if matches else nothing / 2
        shares.append((matches or nothing) / n_runs)
    brevity = min(1.0, math.exp(1 - n_wanted / n_written))
    return 100 * brevity * math.prod(shares) ** 0.25


def _matches(pairs: list[tuple[list[str], list[str]]], n: int) -> tuple[int, int]:
    """Return how many runs of n words match, and how many there are."""
    found = total = 0
    for candidate, reference in pairs:
        runs, wanted = (
            Counter(zip(*(words[i:] for i in range(n))))
            for words in (candidate, reference)
        )
        found += (runs & wanted).total()
        total += runs.total()
    return found, total
