"""How much of a reference text stands in a summary?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from lib.shapes import require_sizes

__all__ = ["Overlap", "rouge_n", "rouge_l", "rouge_l_sum"]


class Overlap(NamedTuple):
    """What two texts share, as shares of either one.

    Attributes:
        precision: of what was written.
        recall: of the reference.
        f1: 2 P R / (P + R), and 0 if both are.

    Home lesson: 31_evaluation
    """

    precision: float
    recall: float
    f1: float


def rouge_n(candidate: str, reference: str, n: int = 1) -> Overlap:
    """Return how many runs of n words two texts share, each as often as in both.

    Words are letters a to z and digits, in small letters. A text without any shares
    nothing: all three numbers are 0.

    Args:
        candidate: what was written.
        reference: what should be in it.
        n: words in a run.

    Source: Lin (2004), section 2; the numbers are those of the package rouge-score.

    Home lesson: 31_evaluation
    """
    require_sizes(n=n)
    written, wanted = (
        Counter(zip(*(_words(text)[i:] for i in range(n))))
        for text in (candidate, reference)
    )
    return _overlap((written & wanted).total(), written.total(), wanted.total())


def rouge_l(candidate: str, reference: str) -> Overlap:
    """Return the longest sequence of words that two texts share, with gaps or without.

    Source: Lin (2004), section 3.1.

    Home lesson: 31_evaluation
    """
    written, wanted = _words(candidate), _words(reference)
    return _overlap(len(_shared(wanted, written)), len(written), len(wanted))


def rouge_l_sum(candidate: str, reference: str) -> Overlap:
    """Return what two summaries share, sentence by sentence; each line is a sentence.

    For each sentence of the reference, the words count that are in a longest common
    sequence with any sentence of the candidate; none counts more often than it is in
    both texts.

    Source: Lin (2004), section 3.2.

    Home lesson: 31_evaluation
    """
    written, wanted = (
        [_words(line) for line in text.split("\n")] for text in (candidate, reference)
    )
    left = Counter(sum(written, []))
    n_written, n_wanted, found = left.total(), sum(map(len, wanted)), 0
    for sentence in wanted:
        places = {i for other in written for i in _shared(sentence, other)}
        for i in sorted(places):
            if left[sentence[i]] > 0:
                left[sentence[i]] -= 1
                found += 1
    return _overlap(found, n_written, n_wanted)


def _words(text: str) -> list[str]:
    return re.findall("[a-z0-9]+", text.lower())


def _overlap(shared: int, n_written: int, n_wanted: int) -> Overlap:
    if not shared:
        return Overlap(0.0, 0.0, 0.0)
    precision, recall = shared / n_written, shared / n_wanted
    return Overlap(precision, recall, 2 * precision * recall / (precision + recall))


def _shared(a: Sequence[str], b: Sequence[str]) -> list[int]:
    """Return the places in a of one longest sequence of words that b has too."""
    longest = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, word in enumerate(a):
        for j, other in enumerate(b):
            longest[i + 1][j + 1] = (
                longest[i][j] + 1
                if word == other
                else max(longest[i][j + 1], longest[i + 1][j])
            )
    places, i, j = [], len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            places.append(i)
        elif longest[i][j - 1] > longest[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places[::-1]
