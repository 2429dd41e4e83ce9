"""How good is a translation?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

__all__ = ["bleu"]


def bleu(candidates: Sequence[str], references: Sequence[str | Sequence[str]]) -> float:
    r"""Return how well translations match reference translations, 0 to 100.

    :math:`100 \cdot \mathrm{BP} \cdot (p_1 p_2 p_3 p_4)^{1/4}`: :math:`p_n` is the
    share of runs of n words that also stand in a reference, each at most as often as in
    the reference that has it most often, over all sentences together.
    :math:`\mathrm{BP} = \min(1, e^{1 - r/c})` punishes texts of c words that are
    shorter than the r words of the references; of several references the one of the
    nearest length counts, the shorter one of two. The k-th :math:`p_n` without a match
    counts as half, a quarter, ... of a match; without a common word the result is 0.

    Args:
        candidates: translations, words with spaces between them.
        references: for each a correct translation, or several.

    Raises:
        TypeError: for one string in place of several.
        ValueError: if there are no sentences, not as many of both, or no reference for
            a sentence.

    Source: Papineni et al. (2002), section 2.3; the rule for no match: Post (2018).

    Home lesson: 16_translation
    """
    for name, given in (("candidates", candidates), ("references", references)):
        if isinstance(given, str):
            raise TypeError(f"{name} must be a list of sentences, not a string")
    if not candidates or len(candidates) != len(references):
        raise ValueError(
            f"{len(candidates)} candidates for {len(references)} references; there "
            "must be as many, and one or more"
        )
    pairs = []
    for place, (text, correct) in enumerate(zip(candidates, references)):
        texts = [correct] if isinstance(correct, str) else correct
        if not texts:
            raise ValueError(f"references[{place}] is empty; it must hold one or more")
        pairs.append((text.split(), [reference.split() for reference in texts]))
    n_written = sum(len(words) for words, _ in pairs)
    n_wanted = sum(_nearest_length(*pair) for pair in pairs)
    found, total = zip(*(_matches(pairs, n) for n in (1, 2, 3, 4)))
    if not found[0] or not total[3]:
        return 0.0
    shares, nothing = [], 1.0
    for matches, n_runs in zip(found, total):
        nothing = nothing if matches else nothing / 2
        shares.append((matches or nothing) / n_runs)
    brevity = min(1.0, math.exp(1 - n_wanted / n_written))
    return 100 * brevity * math.prod(shares) ** 0.25


def _nearest_length(candidate: list[str], references: list[list[str]]) -> int:
    """Return the length of the reference that is nearest to the candidate's."""
    lengths = [len(reference) for reference in references]
    return min(lengths, key=lambda n: (abs(n - len(candidate)), n))


def _matches(
    pairs: list[tuple[list[str], list[list[str]]]], n: int
) -> tuple[int, int]:
    """Return how many runs of n words match, and how many there are."""
    found = total = 0
    for candidate, references in pairs:
        runs, allowed = _runs(candidate, n), Counter()
        for reference in references:
            allowed |= _runs(reference, n)
        found += (runs & allowed).total()
        total += runs.total()
    return found, total


def _runs(words: list[str], n: int) -> Counter:
    """Return how often each run of n words stands in a text."""
    return Counter(zip(*(words[i:] for i in range(n))))
