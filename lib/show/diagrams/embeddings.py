"""Diagrams of the lessons on embeddings and on positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lib.show.diagrams.core import Diagram, require

__all__ = ["embedding_lookup", "clock_hands"]

LOOKUP = (
    "The id of a token picks one row of a table of shape (V, D): its vector of D "
    "numbers. Below, eight tokens give eight vectors, which stand side by side as one "
    "wide vector of 8 times D numbers."
)
CONTEXT = "to be or"
FULL_TURNS = (4, 8, 16, 32)  # positions until the hand of a clock is back
CLOCKS = 140  # where the clocks begin, 316 units before the right margin


def embedding_lookup() -> Diagram:
    """Draw an id that picks its row of a table, and eight rows made one vector."""
    diagram = Diagram("lookup", "From ids to vectors", LOOKUP, height=398)
    for x, name in [(56, "token"), (140, "id"), (250, "table"), (402, "vector")]:
        diagram.text(x, 40, name, bold=True)
    diagram.cells(38, 84, ["b"], 36, 32, "accent")
    diagram.shape(136, 100, "40", "ink")
    diagram.cells(196, 60, [[""] * 4] * 5, 27, 16, "quiet")
    diagram.cells(196, 92, [[""] * 4], 27, 16, "new")
    diagram.shape(250, 158, "(V, D)")
    diagram.cells(348, 92, [[""] * 4], 27, 16, "new")
    diagram.shape(402, 128, "(D,)")
    for x in (80, 158, 310):
        diagram.arrow([(x, 100), (x + 32, 100)])
    diagram.line([(24, 188), (456, 188)], "rule", 1)
    _eight(diagram, 24, 212)
    return diagram


def _eight(diagram: Diagram, x: float, y: float) -> None:
    """Draw eight tokens, their vectors, and these side by side as one."""
    for i, token in enumerate(CONTEXT.replace(" ", "␣")):
        middle = x + 44 * i + 22
        diagram.cells(middle - 15, y, [token], 30, 30, "accent")
        diagram.arrow([(middle, y + 34), (middle, y + 54)])
        diagram.cells(middle - 8, y + 58, [[""]] * 4, 16, 13, "new")
        diagram.arrow([(middle, y + 114), (middle, y + 138)])
    diagram.cells(x, y + 142, [[""] * 32], 11, 20, "new")
    for down, words in [(15, "(8,)"), (84, "(8, D)"), (152, "(8·D,)")]:
        diagram.shape(392, y + down, words, anchor="start")


def clock_hands(positions: Sequence[int] = (0, 1, 2, 8)) -> Diagram:
    """Draw positions as the hands of four clocks, each half as fast as the one above.

    Args:
        positions: one column each, 1 to 5 of them, each from 0 to 99.

    Raises:
        ValueError: if there are none or too many, or one is out of range.
    """
    right = 1 <= len(positions) <= 5 and all(0 <= p <= 99 for p in positions)
    require("positions", positions, right, "1 to 5 numbers from 0 to 99")
    words = (
        "Four clocks, whose hands are back after 4, 8, 16 and 32 positions, at each of "
        f"the positions {', '.join(f'{position}' for position in positions)}. A fast "
        "hand tells neighbours apart but soon comes back; a slow one tells which round "
        "it is."
    )
    name = "clocks-" + "-".join(f"{position}" for position in positions)
    diagram = Diagram(name, "Positions as hands of clocks", words, 388)
    diagram.text(24, 40, "position", anchor="start", bold=True)
    pitch = 316 / len(positions)
    for j, position in enumerate(positions):
        x = CLOCKS + pitch * (j + 0.5)
        diagram.text(x, 40, f"{position}", mono=True, bold=True)
        for i, full in enumerate(FULL_TURNS):
            _clock(diagram, x, 100 + 78 * i, position / full)
    for i, full in enumerate(FULL_TURNS):
        diagram.note(24, 90 + 78 * i, "one turn")
        diagram.note(24, 110 + 78 * i, f"in {full}")
    return diagram


def _clock(diagram: Diagram, x: float, y: float, turns: float) -> None:
    """Draw a clock whose hand has turned clockwise from the top."""
    diagram.circle(x, y, 28, "paper", "edge")
    diagram.line([(x, y - 28), (x, y - 23)], "edge")
    angle = 2 * math.pi * turns
    tip = x + 20 * math.sin(angle), y - 20 * math.cos(angle)
    diagram.line([(x, y), tip], "new", 3)
    diagram.circle(x, y, 3, "new")
