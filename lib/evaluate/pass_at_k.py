"""How often is one of k samples right?"""

from __future__ import annotations

from lib.shapes import require_between

__all__ = ["pass_at_k"]


def pass_at_k(n: int, n_right: int, k: int) -> float:
    r"""Return the probability that one of k of the n samples of a question is right.

    That is :math:`1 - \binom{n - c}{k} / \binom{n}{k}` with c right samples: without
    bias, also where k is near n. The product below is the same, without large numbers.

    Args:
        n: samples that were drawn for the question.
        n_right: how many of them are right, 0 .. n.
        k: how many a user would draw, 1 .. n.

    Raises:
        ValueError: for a number out of its range.

    Source: Chen et al. (2021), section 2.1.

    Home lesson: 31_evaluation
    """
    require_between(1, n, k=k)
    require_between(0, n, n_right=n_right)
    none_right = 1.0
    for i in range(k):
        none_right *= max(n - n_right - i, 0) / (n - i)
    return 1 - none_right
