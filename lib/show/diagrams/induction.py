"""Diagram of the lesson on in-context learning: two heads that make one look-up."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["induction"]

TOKENS = "mrpkmr"
NEXT = "p"
FOUND = 2  # the place after the earlier r
WORDS = (
    f"Six letters, {' '.join(TOKENS)}, each with a vector that runs down. In layer 1 "
    "the previous-token head lets each position take the letter before it: the third "
    "position then holds its own p and, from before it, r. In layer 2 the last "
    "position, an r, looks for a position before which an r stood. It finds the third "
    "one, takes its p, and predicts that p comes next."
)
LEFT, APART = 150, 58
TOP, SECOND, LAST = 60, 196, 350


def induction() -> Diagram:
    """Draw the two heads that find what followed the last letter before."""
    diagram = Diagram("induction", "One look-up after another", WORDS, height=424)
    places = [LEFT + APART * number for number in range(len(TOKENS))]
    for x, letter in zip(places, TOKENS):
        diagram.line([(x, TOP + 17), (x, SECOND - 17)], "edge")
        for y in (TOP, SECOND):
            diagram.cells(x - 17, y - 17, [letter], 34, 34)
    for x, after, letter in zip(places, places[1:], TOKENS):
        turn, end = (TOP + SECOND) / 2, (after - 8, SECOND - 18)
        way = ((x, TOP + 17), (x, turn), (after - 8, turn), end)
        diagram.bow(way, "new", 2, head=True)
        diagram.shape(after, SECOND + 30, f"{letter}·", "new")
    _search(diagram, places[FOUND], places[-1])
    for y, lines in (
        (TOP, ("the letters",)),
        (SECOND - 78, ("layer 1:", "take the", "letter before")),
        (SECOND + 76, ("layer 2:", "find r·, take", "the letter there")),
        (LAST + 52, ("r· means: an r stood before this one",)),
    ):
        for number, words in enumerate(lines):
            diagram.note(14, y + 20 * number, words, "ink" if number else "quiet")
    return diagram


def _search(diagram: Diagram, goal: float, last: float) -> None:
    """Draw how the last position looks for its letter, and what it takes."""
    diagram.rect(goal - 23, SECOND - 23, 46, 68, "none", "accent", 2.5)
    low = SECOND + 96
    way = ((last, SECOND + 42), (last, low), (goal + 70, low), (goal + 25, SECOND + 44))
    diagram.bow(way, "accent", 1.5, head=True)
    diagram.note(last + 6, low - 8, "r·?", "ink")
    way = ((goal, SECOND + 46), (goal, LAST - 20), (goal + 60, LAST), (last - 19, LAST))
    diagram.bow(way, "accent", 2.5, head=True)
    diagram.cells(last - 17, LAST - 17, [NEXT], 34, 34, "accent")
    diagram.note(last + 17, LAST + 32, "comes next", "ink", "end")
