"""Diagrams of the lessons on fine-tuning: what is frozen, and a LoRA adapter."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["frozen_parts", "adapter"]

PARTS = ("embedding", "block 1", "block 2", "block 3", "block 4", "norm, head")
CHOICES = {"all": 6, "last block": 2, "head": 1}  # how many of the upper parts learn
FROZEN = (
    "The same model three times, as a stack of embedding, four blocks, and norm with "
    "head. Under all, every part learns. Under last block, only block 4, norm and head "
    "learn; the others are frozen. Under head, only norm and head learn."
)
ADAPTER = (
    "The input x, of d_in numbers, goes two ways. On the left it passes the frozen "
    "matrix W, of d_out rows and d_in columns. On the right it passes A, which makes r "
    "numbers of it, and B, which makes d_out of these; that is multiplied by alpha "
    "over r. A plus adds both. Only A and B learn."
)


def frozen_parts() -> Diagram:
    """Draw one model three times, with more and more of it frozen."""
    diagram = Diagram("frozen-parts", "Which parts go on learning", FROZEN, height=360)
    for column, (name, n_learn) in enumerate(CHOICES.items()):
        x = 18 + 152 * column
        diagram.text(x + 70, 30, name, "ink", bold=True)
        for number, part in enumerate(reversed(PARTS)):
            y = 52 + 46 * number
            learns = number < n_learn
            fill = ("new-soft", "new", 2.5) if learns else ("paper", "rule", 1.5)
            diagram.rect(x, y, 140, 38, *fill)
            diagram.note(x + 70, y + 19, part, "ink" if learns else "quiet", "middle")
    diagram.note(240, 342, "coloured: learns; pale: frozen", "ink", "middle")
    return diagram


def adapter() -> Diagram:
    """Draw a frozen matrix with a product of two thin ones beside it."""
    diagram = Diagram("adapter", "A LoRA adapter", ADAPTER, height=400)
    left, right, low, high = 120, 350, 346, 66
    diagram.arrow([(left, 386), (left, 282)])
    diagram.shape(left + 16, 376, "x (d_in)", anchor="start")
    diagram.line([(left, low), (right, low)])
    diagram.arrow([(right, low), (right, 322)], "new", 2.5)
    diagram.box(left - 78, 122, 156, 160, "W, frozen", "(d_out, d_in)", "quiet")
    diagram.box(right - 78, 280, 156, 42, "A (r, d_in)", "", "new")
    diagram.arrow([(right, 280), (right, 242)], "new", 2.5)
    diagram.box(right - 78, 198, 156, 44, "B (d_out, r)", "", "new")
    diagram.arrow([(right, 198), (right, 152)], "new", 2.5)
    diagram.box(right - 44, 112, 88, 40, "α / r", "", "new")
    diagram.arrow([(right, 112), (right, high), (left + 11, high)], "new", 2.5)
    diagram.arrow([(left, 122), (left, high + 11)])
    diagram.plus(left, high)
    diagram.arrow([(left, high - 11), (left, 22)])
    diagram.shape(left + 16, 30, "y (d_out)", anchor="start")
    return diagram
