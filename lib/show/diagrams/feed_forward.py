"""Diagrams of the lesson on the feed-forward network."""

from __future__ import annotations

from itertools import product

from lib.show.diagrams.core import Diagram, Point, require
from lib.show.diagrams.scheme import LOOKS

__all__ = ["corners", "widen"]

AND = (
    "The four corners of a square, for a and b of 0 and 1. Only the corner where both "
    "are 1 says yes. One straight line separates it from the three that say no."
)
XOR = (
    "The four corners of a square, for a and b of 0 and 1. The two corners where one "
    "of them is 1 say yes; they lie across from each other, and no straight line "
    "separates them from the two that say no. Two lines do: yes is between them."
)
FAR = ((1.3, 0.2), (0.2, 1.3))  # ends of the line a + b = 1.5
NEAR = ((-0.3, 0.8), (0.8, -0.3))  # ends of the line a + b = 0.5
# What says yes, the lines around it, the area between them, and what is to see.
KINDS = {
    "and": ({(1, 1)}, [FAR], [*FAR, (1.3, 1.3)], "yes on one side: one line is enough"),
    "xor": (
        {(0, 1), (1, 0)},
        [NEAR, FAR],
        [*NEAR, (1.3, -0.3), *FAR, (-0.3, 1.3)],
        "yes in between: no single line, but two",
    ),
}
WIDEN = (
    "At each position, the vector of D numbers becomes 4D numbers by the weights W_1, "
    "ReLU sets those below 0 to 0, and the weights W_2 make D numbers again. Each "
    "position has the same weights, and none looks at another."
)
ALIVE = "1001011000101101"  # which of the wide numbers are above 0


def corners(kind: str) -> Diagram:
    """Draw the four corners of AND or XOR, and the lines that separate yes from no.

    Args:
        kind: "and" or "xor".

    Raises:
        ValueError: if it is another one.
    """
    require("kind", kind, kind in KINDS, '"and" or "xor"')
    says_yes, lines, area, caption = KINDS[kind]
    title, words = f"{kind.upper()} on a square", AND if kind == "and" else XOR
    diagram = Diagram(f"corners-{kind}", title, words, height=372)
    frame = (*_corner(-0.3, 1.3), 256, 256)
    diagram.rect(*frame, radius=0)
    diagram.area([_corner(*point) for point in area], "new-soft")
    diagram.rect(*frame, "none", "rule", radius=0)
    for ends in lines:
        diagram.line([_corner(*point) for point in ends], "new", 2.5)
    for a, b in product((0, 1), repeat=2):
        (x, y), yes = _corner(a, b), (a, b) in says_yes
        diagram.circle(x, y, 13, "accent" if yes else "paper", "accent", 2.5)
        diagram.text(x, y + (-28 if b else 28), "yes" if yes else "no", bold=True)
    for value in (0, 1):
        diagram.shape(_corner(value, 0)[0], 308, f"a = {value}")
        diagram.shape(128, _corner(0, value)[1], f"b = {value}", anchor="end")
    diagram.text(240, 344, caption)
    return diagram


def _corner(a: float, b: float) -> Point:
    """Where a point of the plane of a and b lies in the drawing."""
    return 188 + 160 * a, 240 - 160 * b


def widen() -> Diagram:
    """Draw the feed-forward network: D numbers, 4D, D again, alike at each position."""
    diagram = Diagram("widen", "Wide, and narrow again", WIDEN, height=316)
    for i, tone in enumerate(["new", "quiet", "quiet"]):
        _widened(diagram, 24 + 114 * i, f"position {i}", tone)
    for y, words in [(59, "(D,)"), (131, "(4D,)"), (179, "(4D,)"), (251, "(D,)")]:
        diagram.shape(372, y, words, anchor="start")
    for y, words in [(95, "W_1"), (155, "ReLU"), (215, "W_2")]:
        diagram.shape(372, y, words, "ink", "start")
    diagram.note(24, 290, "the same weights at each position", "ink")
    return diagram


def _widened(diagram: Diagram, x: float, name: str, tone: str) -> None:
    """Draw the feed-forward network of one position."""
    soft, ink, arrow = "new-soft", "ink", "ink"
    if tone == "quiet":
        soft, ink, arrow = "soft", "quiet", "edge"
    line = LOOKS[tone][1]
    diagram.note(x + 48, 34, name, ink, "middle")
    for narrow, wide in [(66, 124), (244, 186)]:
        ends = [(x + 36, narrow), (x + 60, narrow), (x + 96, wide), (x, wide)]
        diagram.area(ends, soft)
    for y, numbers in [(52, "1" * 4), (124, "1" * 16), (172, ALIVE), (244, "1" * 4)]:
        left = x + 48 - 3 * len(numbers)
        for i, number in enumerate(numbers):
            fill = soft if number == "1" else "paper"
            diagram.rect(left + 6 * i, y, 6, 14, fill, radius=2)
        diagram.grid(left, y, (1, len(numbers)), (6, 14), line, radius=3)
    diagram.arrow([(x + 48, 140), (x + 48, 169)], arrow)
