"""One answer out of several: by vote, or by a verifier."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

__all__ = ["majority_vote", "best_of_n"]

Answer = TypeVar("Answer")
Ballot = TypeVar("Ballot", bound=Hashable)


def majority_vote(answers: Sequence[Ballot | None]) -> Ballot | None:
    """Return the answer that comes most often; of several, the one that came first.

    Args:
        answers: one or more; None where there was none, which is not counted.

    Returns:
        The answer; None if there was none at all.

    Raises:
        ValueError: if ``answers`` is empty.

    Source: Wang et al. (2022), section 2.

    Home lesson: 24_reasoning
    """
    if not answers:
        raise ValueError("answers=[] is empty; a vote needs one or more")
    votes = Counter(answer for answer in answers if answer is not None)
    return max(votes, key=votes.get, default=None)


def best_of_n(candidates: Sequence[Answer], score: Callable[[Answer], float]) -> Answer:
    """Return the candidate that a verifier likes best; of several, the first.

    Args:
        candidates: one or more.
        score: the verifier: called once with each candidate; larger is better.

    Raises:
        ValueError: if ``candidates`` is empty, or a score is not a number.

    Source: Cobbe et al. (2021), section 4.

    Home lesson: 24_reasoning
    """
    if not candidates:
        raise ValueError("candidates=[] is empty; there must be one or more")
    scores = [float(score(candidate)) for candidate in candidates]
    if any(math.isnan(each) for each in scores):
        raise ValueError(f"scores={scores} must be numbers")
    return candidates[scores.index(max(scores))]
