"""What an answer is worth: verifiers, and a control that does not look at it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from lib.tasks.arithmetic import write_sum

__all__ = ["sum_reward", "format_reward", "random_reward"]

PROMPT = re.compile(r"([0-9]+)\+([0-9]+)=")
STEPS = re.compile(r"((?:[0-9]{2};)+)>[0-9]+\.")


def _numbers(prompt: str) -> tuple[int, int, int]:
    """Return both numbers of a prompt, and their digits."""
    match = PROMPT.fullmatch(prompt)
    if not match or len(match[1]) != len(match[2]):
        raise ValueError(f"prompt={prompt!r} must be a sum such as '123+456='")
    return int(match[1]), int(match[2]), len(match[1])


def sum_reward(prompt: str, answer: str) -> float:
    """Return 1 for the right result of a sum, and 0 for all else.

    Args:
        prompt: such as ``123+456=``.
        answer: what a model wrote, with or without steps.

    The answer must end with its only stop, and what stands after the last ``>``, or all
    of it, must be the result as the task writes it: ``0579``. The steps are not looked
    at. What cannot be read is worth 0, like any wrong answer.

    Raises:
        ValueError: if the prompt is no sum of two numbers of equal length.

    Home lesson: 25_reinforcement_learning
    """
    a, b, digits = _numbers(prompt)
    body, stop, rest = answer.partition(".")
    result = body.split(">")[-1] + stop
    return float(not rest and result == write_sum(a, b, digits).answer)


def format_reward(prompt: str, answer: str) -> float:
    """Return 1 for an answer with one step for each digit, right or wrong, else 0.

    Args:
        prompt: such as ``123+456=``.
        answer: what a model wrote; with steps it looks like ``09;07;05;>0579.``.

    Raises:
        ValueError: if the prompt is no sum of two numbers of equal length.

    Source: DeepSeek-AI (2025), section 2.2.2, rewards the form beside the result.

    Home lesson: 25_reinforcement_learning
    """
    digits, match = _numbers(prompt)[2], STEPS.fullmatch(answer)
    return float(match is not None and match[1].count(";") == digits)


def random_reward(share: float, seed: int = 0) -> Callable[[str, str], float]:
    """Return a reward that does not look: 1 for a share of all answers, at random.

    Raises:
        ValueError: if the share is not between 0 and 1.

    Home lesson: 25_reinforcement_learning
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share={share} must lie in [0, 1]")
    rng = random.Random(seed)
    return lambda prompt, answer: float(rng.random() < share)
