"""What a lesson claims about its own run."""

from __future__ import annotations

from lib import is_strict

__all__ = ["claim"]


def claim(holds: bool, words: str) -> None:
    """Hold the words of a lesson against the run that you see.

    A trained model differs a little from machine to machine and from seed to seed.
    Where the course is tested (``COURSE_STRICT`` is set) a claim that does not hold is
    an error. In your own run it prints one line and goes on.

    Args:
        holds: what the run showed.
        words: the claim, as a sentence.

    Raises:
        AssertionError: if it does not hold where the course is tested.
        TypeError: if ``words`` is not a string.
        ValueError: if ``words`` is empty.
    """
    if not isinstance(words, str):
        raise TypeError(f"words={words!r} must be a string that says what is claimed")
    if not words.strip():
        raise ValueError("words is empty; say what is claimed")
    if holds:
        return
    if is_strict():
        raise AssertionError(f"the run contradicts the lesson: {words}")
    print(f"In this run it is different. The lesson says: {words}")
