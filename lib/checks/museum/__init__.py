"""The bug museum: bugs that somebody had, for readers to find and to mend.

Each room is a file here and a notebook in ``book/museum/``, which is made from it.
The same bugs are planted in the library by ``make mutants``, and its tests find them.
"""

from __future__ import annotations

from lib.checks import exercise
from lib.checks.museum import losses, masks, parts, rewards, tuning, writing
from lib.checks.museum.exhibit import Exhibit

__all__ = ["EXHIBITS", "ROOMS", "hunt"]

ROOMS: dict[str, list[Exhibit]] = {
    "01_masks": masks.EXHIBITS,
    "02_parts": parts.EXHIBITS,
    "03_losses": losses.EXHIBITS,
    "04_writing": writing.EXHIBITS,
    "05_rewards": rewards.EXHIBITS,
    "06_tuning": tuning.EXHIBITS,
}
"""The exhibits of each room."""

EXHIBITS: dict[str, Exhibit] = {
    exhibit.slug: exhibit for room in ROOMS.values() for exhibit in room
}
"""All exhibits by their slug."""


def hunt(slug: str, answer: object) -> None:
    """Print whether the bug of an exhibit is still in a reader's code.

    Args:
        slug: of the exhibit.
        answer: the reader's function or class.

    Raises:
        ValueError: for a slug that no exhibit has.
    """
    if slug not in EXHIBITS:
        raise ValueError(f"slug={slug!r} must be one of {', '.join(EXHIBITS)}")
    verdict = exercise(EXHIBITS[slug].check).run(answer)
    words = verdict.message.partition(". ")[2]
    says = {"correct": "mended. ", "wrong": "not mended yet. "}
    print(f"{slug}: {says.get(verdict.status, verdict.message)}{words}")
