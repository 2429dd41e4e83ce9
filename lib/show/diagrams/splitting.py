"""Diagrams of the lesson on several heads: the split, and the split that goes wrong."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram, require

__all__ = ["heads", "wrong_split"]

SPLIT = (
    "Three tokens with four numbers each: 0 to 3, 10 to 13, 20 to 23. Right: view as "
    "(T, H, Dh), then transpose; head 1 has the first two numbers of every token, head "
    "2 the last two. Wrong: view as (H, T, Dh) at once; head 1 has all of token 0 and "
    "half of token 1, head 2 the rest, so that tokens are mixed up."
)
X = [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]
FLAT = sum(X, [])  # as the numbers lie in memory
RIGHT = [[row[first : first + 2] for row in X] for first in (0, 2)]
WRONG = [[FLAT[i : i + 2] for i in range(first, first + 6, 2)] for first in (0, 6)]
TOKENS = ("accent", "new", "ink")  # the tone of each token's numbers
LEFT, WIDE, NAMES = 24, 288, 330  # of what has D numbers; where names begin


def heads(n_heads: int = 4) -> Diagram:
    """Draw attention with several heads: split, attend, merge, project.

    Args:
        n_heads: H, 2 to 6.

    Raises:
        ValueError: if there are fewer or more.
    """
    require("n_heads", n_heads, n_heads in range(2, 7), "2 to 6")
    words = (
        f"Queries, keys and values of shape (B, T, D) are split into {n_heads} slices "
        "of shape (B, T, Dh), one per head. Each head attends with its own slice. The "
        "outputs are merged to (B, T, D) again, and an output projection mixes them."
    )
    diagram = Diagram(f"heads-{n_heads}", "Attention with heads", words, height=470)
    _whole(diagram, 28, n_heads, "q, k, v", trace=True)
    _slices(diagram, 94, n_heads, "split")
    _attentions(diagram, n_heads)
    _slices(diagram, 226, n_heads, "")
    _whole(diagram, 292, n_heads, "merge", trace=True)
    diagram.arrow([(168, 322), (168, 346)])
    diagram.box(LEFT, 350, WIDE, 40, "output projection")
    diagram.shape(NAMES, 370, "(D, D)", anchor="start")
    diagram.arrow([(168, 394), (168, 418)])
    _whole(diagram, 422, n_heads, "output")
    return diagram


def _whole(
    diagram: Diagram, y: float, n_heads: int, name: str, trace: bool = False
) -> None:
    """Draw a vector of D numbers, with one head's part of it if ``trace``."""
    share = 24 // n_heads
    cell = WIDE / (share * n_heads)
    diagram.cells(LEFT, y, [[""] * share * n_heads], cell, 26, "accent")
    if trace:
        diagram.cells(LEFT + WIDE / n_heads, y, [[""] * share], cell, 26, "new")
    diagram.text(NAMES, y + 3, name, anchor="start", bold=True)
    diagram.shape(NAMES, y + 23, "(B, T, D)", anchor="start")


def _slices(diagram: Diagram, y: float, n_heads: int, name: str) -> None:
    """Draw a slice of Dh numbers for each head."""
    share, wide = 24 // n_heads, WIDE / n_heads
    for i in range(n_heads):
        left, tone = LEFT + wide * i + 5, "new" if i == 1 else "accent"
        diagram.cells(left, y, [[""] * share], (wide - 10) / share, 26, tone)
    if name:
        diagram.text(NAMES, y + 3, name, anchor="start", bold=True)
    down = 23 if name else 13
    diagram.shape(NAMES, y + down, "(B, H, T, Dh)", anchor="start")


def _attentions(diagram: Diagram, n_heads: int) -> None:
    """Draw a box for each head, and the arrows from the split to the merge."""
    wide = WIDE / n_heads
    for i in range(n_heads):
        left, tone = LEFT + wide * i + 5, "new" if i == 1 else "accent"
        diagram.box(left, 150, wide - 10, 46, f"{i + 1}", tone=tone)
        middle = LEFT + wide * (i + 0.5)
        for start, end in [(58, 90), (124, 146), (200, 222), (256, 288)]:
            diagram.arrow([(middle, start), (middle, end)])
    diagram.text(NAMES, 163, "attention", anchor="start", bold=True)
    diagram.note(NAMES, 183, "in each head")


def wrong_split() -> Diagram:
    """Draw the heads' numbers after a right split, and after a view alone."""
    diagram = Diagram("split", "A split that mixes up tokens", SPLIT, height=396)
    diagram.text(240, 30, "x", bold=True)
    diagram.shape(322, 89, "(T, D)", anchor="start")
    for t in range(3):
        diagram.note(156, 59 + 30 * t, f"token {t}", anchor="end")
    _numbers(diagram, 172, 46, X)
    for middle, title, numbers, caption in [
        (124, "right", RIGHT, "every token in each"),
        (356, "wrong", WRONG, "tokens are mixed up"),
    ]:
        diagram.text(middle, 166, title, bold=True)
        for h, rows in enumerate(numbers):
            _numbers(diagram, middle - 84 + 100 * h, 234, rows)
            diagram.note(middle - 50 + 100 * h, 332, f"head {h + 1}", anchor="middle")
        diagram.note(middle, 368, caption, "ink", "middle")
    diagram.shape(124, 190, ".view(T, H, Dh)")
    diagram.shape(124, 210, ".transpose(0, 1)")
    diagram.shape(356, 190, ".view(H, T, Dh)")
    return diagram


def _numbers(diagram: Diagram, x: float, y: float, rows: list[list[int]]) -> None:
    """Draw rows of numbers whose colour says which token they belong to."""
    for i, row in enumerate(rows):
        words = [f"{number}" for number in row]
        diagram.cells(x, y + 30 * i, [words], 34, 26, TOKENS[row[0] // 10])
