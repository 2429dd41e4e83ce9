"""Diagrams of the lesson on masked language models."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["both_directions", "filled_blank", "frozen_encoder"]

BOTH = (
    "Two grids of five rows and columns for the characters l, blank, r, d and a "
    "space: a row for who looks, a column for who is looked at. Left, with a causal "
    "mask, each row has squares up to the diagonal only: the blank sees l and itself. "
    "Right, without a mask, all squares are there: the blank sees both sides."
)
FILLED = (
    "The text m, y, space, l, o, r, d in seven cells. In the row above it, the input, "
    "a blank stands in the place of the o. The encoder reads the whole row, and each "
    "position looks at all others. Above the blank it guesses a character, and the "
    "loss is minus the logarithm of the probability of o. The others have no loss."
)
FROZEN = (
    "From top to bottom: a text of 64 characters; the encoder, trained on blanks and "
    "frozen; 64 vectors; their mean, one vector; a head, the only part that learns; "
    "and its answer, written by the author or by the bigram model."
)
TEXT, BLANK = "my lord", 4  # the character with this index is hidden
LABELS = "l■rd "
SIDE, TOP = 34, 92  # of a square of the grids, and where they begin


def both_directions() -> Diagram:
    """Draw who looks at whom with a causal mask and without one."""
    diagram = Diagram("both-directions", "One direction, both directions", BOTH, 356)
    for x, name, remark, free in [
        (48, "causal mask", "the blank sees its left", False),
        (278, "no mask", "it sees both sides", True),
    ]:
        wide = SIDE * len(LABELS)
        diagram.text(x + wide / 2, 34, name, bold=True)
        _squares(diagram, x, free)
        row = TOP + SIDE
        diagram.rect(x - 2, row - 1, wide + 4, SIDE + 2, "none", "new", 3, radius=5)
        diagram.note(x + wide / 2, TOP + wide + 26, remark, "ink", "middle")
    diagram.rect(48, 318, 18, 18, "accent-soft", "accent", radius=3)
    diagram.note(76, 327, "looks", "ink")
    diagram.rect(146, 318, 18, 18, "new-soft", "new", 2.5, radius=3)
    diagram.note(174, 327, "new: looks to the right", "ink")
    return diagram


def _squares(diagram: Diagram, x: float, free: bool) -> None:
    """Draw one grid, whose upper half is hatched or free."""
    n = len(LABELS)
    for i, label in enumerate(LABELS.replace(" ", "␣")):
        diagram.shape(x + SIDE * (i + 0.5), TOP - 16, label)
        diagram.shape(x - 16, TOP + SIDE * (i + 0.5), label)
        left, after = x + SIDE * (i + 1), n - i - 1
        diagram.rect(x, TOP + SIDE * i, SIDE * (i + 1), SIDE, "accent-soft", radius=0)
        if after and free:
            size = (SIDE * after, SIDE)
            diagram.rect(left, TOP + SIDE * i, *size, "new-soft", radius=0)
        elif after:
            diagram.hatch(left, TOP + SIDE * i, SIDE * after, SIDE)
    diagram.grid(x, TOP, (n, n), (SIDE, SIDE), "accent")


def filled_blank() -> Diagram:
    """Draw a text with a blank, the encoder, and the only place with a loss."""
    diagram = Diagram("filled-blank", "Fill in the blank", FILLED, height=400)
    left, wide = 84, 54
    shown = TEXT.replace(" ", "␣")
    at = left + wide * (BLANK + 0.5)
    cell = (left + wide * BLANK, wide)
    around = [c if i != BLANK else "" for i, c in enumerate(shown)]
    for y, name, row in [(336, "text", shown), (256, "input", around)]:
        diagram.text(16, y + 20, name, anchor="start", bold=True)
        diagram.cells(left, y, [row], wide, 40)
    diagram.rect(cell[0], 256, cell[1], 40, "new-soft", "new", 2.5, radius=5)
    diagram.shape(at, 276, "■", "ink")
    diagram.arrow([(at, 334), (at, 300)], "new", 2.5)
    diagram.note(at + 14, 316, "hide", "ink")
    diagram.box(left, 164, wide * 7, 56, "encoder", "all look at all")
    for i in range(7):
        x = left + wide * (i + 0.5)
        tone = ("new", 2.5) if i == BLANK else ("quiet", 1.5)
        diagram.arrow([(x, 254), (x, 223)], *tone)
        diagram.arrow([(x, 162), (x, 131)], *tone)
    diagram.text(16, 108, "logits", anchor="start", bold=True)
    diagram.cells(left, 88, [["·" if c else "" for c in around]], wide, 40, "quiet")
    diagram.rect(cell[0], 88, cell[1], 40, "new-soft", "new", 2.5, radius=5)
    diagram.shape(at, 108, "o?", "ink")
    diagram.text(16, 44, "loss", anchor="start", bold=True)
    diagram.arrow([(at, 86), (at, 60)], "new", 2.5)
    diagram.shape(at, 44, "−ln p(o)", "ink")
    diagram.note(left + wide * 1.6, 44, "none here", anchor="middle")
    return diagram


def frozen_encoder() -> Diagram:
    """Draw a frozen encoder with a small head that learns."""
    diagram = Diagram("frozen-encoder", "A frozen encoder, a head", FROZEN, height=424)
    x, wide = 150, 180
    middle = x + wide / 2
    diagram.box(x, 20, wide, 42, "64 characters")
    diagram.arrow([(middle, 64), (middle, 86)])
    diagram.box(x, 88, wide, 62, "encoder", "trained on blanks", "accent")
    diagram.note(x + wide + 14, 119, "frozen", "ink")
    diagram.arrow([(middle, 152), (middle, 186)])
    diagram.shape(middle + 16, 168, "(64, D)", anchor="start")
    diagram.box(x, 188, wide, 42, "mean")
    diagram.arrow([(middle, 232), (middle, 266)])
    diagram.shape(middle + 16, 248, "(D,)", anchor="start")
    diagram.box(x, 268, wide, 62, "head", "D numbers to 2", "new")
    diagram.note(x + wide + 14, 299, "learns", "ink")
    diagram.arrow([(middle, 332), (middle, 362)], "new", 2.5)
    diagram.text(middle, 384, "author or bigram?", bold=True)
    return diagram
