"""Diagrams of the lesson on attention: one head, and who looks at whom."""

from __future__ import annotations

from collections.abc import Sequence

from lib.show.diagrams.core import Diagram, require

__all__ = ["qkv", "attention_grid"]

QKV = (
    "The vectors x of shape (T, D) times three weight matrices give queries q, keys k "
    "and values v of shape (T, Dh). Queries times keys, divided by the root of Dh, are "
    "the scores of shape (T, T). Mask and softmax make them weights, where each row "
    "takes from itself and from rows before it. The weights mix the values: the output "
    "has the shape (T, Dh)."
)
COLUMNS = (90, 240, 390)
LOWER = 288  # where the scores, the weights and the output begin
STRONGEST = (0, 0, 2, 1)  # where each row of the weights looks most
LEFT, TOP, SIDE = 140, 78, 220  # of the grid


def qkv() -> Diagram:
    """Draw one head of attention, from vectors to queries, keys, values and output."""
    diagram = Diagram("qkv", "One head of attention", QKV, height=436)
    diagram.text(180, 48, "x", bold=True)
    diagram.cells(192, 24, [[""] * 8] * 4, 12, 12)
    diagram.shape(300, 48, "(T, D)", anchor="start")
    for x, name in zip(COLUMNS, "qkv", strict=True):
        bend = [(240, 90), (x, 90)] if x != 240 else []
        diagram.arrow([(240, 76), *bend, (x, 108)])
        diagram.box(x - 30, 110, 60, 30)
        diagram.shape(x, 125, f"W_{name.upper()}", "ink")
        diagram.arrow([(x, 143), (x, 162)])
        diagram.text(x - 32, 190, name, bold=True)
        diagram.cells(x - 18, 166, [[""] * 3] * 4, 12, 12, "accent")
        diagram.shape(x, 230, "(T, Dh)")
    scores, weights, output = COLUMNS
    diagram.arrow([(scores - 14, 246), (scores - 14, LOWER - 5)])
    bend = [(weights, 264), (scores + 14, 264)]
    diagram.arrow([(weights, 246), *bend, (scores + 14, LOWER - 5)])
    diagram.arrow([(output, 246), (output, LOWER + 1)])
    _mix(diagram)
    return diagram


def _mix(diagram: Diagram) -> None:
    """Draw the scores, the weights, and the output that they mix."""
    scores, weights, output = COLUMNS
    diagram.cells(scores - 28, LOWER, [[""] * 4] * 4, 14, 14, "new")
    _weights(diagram, weights - 28, LOWER)
    diagram.cells(output - 18, LOWER + 4, [[""] * 3] * 4, 12, 12, "accent")
    for x, above, below in [(165, "mask", "softmax"), (320, "mix", "values")]:
        diagram.arrow([(x - 42, LOWER + 28), (x + 40, LOWER + 28)])
        diagram.note(x, LOWER + 14, above, "ink", "middle")
        diagram.note(x, LOWER + 43, below, "ink", "middle")
    for x, name, shape in [
        (scores, "scores", "(T, T)"),
        (weights, "weights", "(T, T)"),
        (output, "output", "(T, Dh)"),
    ]:
        diagram.text(x, LOWER + 74, name, bold=True)
        diagram.shape(x, LOWER + 96, shape)
    diagram.shape(scores, LOWER + 120, "q · k / √Dh", "ink")


def _weights(diagram: Diagram, x: float, y: float) -> None:
    """Draw weights of attention: nothing above the diagonal, one large per row."""
    diagram.rect(x, y, 56, 56, radius=3)
    for i, strongest in enumerate(STRONGEST):
        for j in range(i + 1):
            fill = "new" if j == strongest else "new-soft"
            diagram.rect(x + 14 * j, y + 14 * i, 14, 14, fill, radius=0)
    diagram.grid(x, y, (4, 4), (14, 14), "new", 2.5, radius=3)


def attention_grid(
    labels: Sequence[str] = ("T", "o", " ", "b", "e"), mask: bool = True
) -> Diagram:
    """Draw who may look at whom: a row per query, a column per key.

    Args:
        labels: the tokens, 2 to 8 of them, each of one character.
        mask: whether the future is hidden.

    Raises:
        ValueError: if there are too few or too many labels, or a longer one.
    """
    right = 2 <= len(labels) <= 8 and all(len(label) == 1 for label in labels)
    require("labels", labels, right, "2 to 8 single characters")
    n, shown = len(labels), "".join(labels).replace(" ", "␣")
    sees = "itself and those before it" if mask else "every position"
    words = f"Each of the {n} positions {shown} looks at {sees}. Each row sums to 1."
    name = f"grid-{mask:d}-" + "-".join(f"{ord(label):x}" for label in labels)
    diagram = Diagram(name, "Who looks at whom", words, height=372)
    diagram.text(LEFT + SIDE / 2, 34, "keys: are looked at", bold=True)
    diagram.text(24, TOP + 110, "queries:", anchor="start", bold=True)
    diagram.text(24, TOP + 132, "look", anchor="start", bold=True)
    _squares(diagram, shown, mask)
    diagram.rect(24, 321, 18, 18, "accent-soft", "accent", radius=3)
    diagram.note(52, 330, "looks", "ink")
    if mask:
        diagram.hatch(LEFT, 321, 18, 18)
        diagram.rect(LEFT, 321, 18, 18, "none", "accent", radius=3)
        diagram.note(LEFT + 28, 330, "cannot look: the future", "ink")
    return diagram


def _squares(diagram: Diagram, shown: str, mask: bool) -> None:
    """Draw the squares of the grid, with one row outlined."""
    n = len(shown)
    side = SIDE / n
    diagram.rect(LEFT, TOP, SIDE, SIDE, "accent-soft", radius=5)
    for i, label in enumerate(shown):
        across, down = LEFT + side * (i + 1), TOP + side * i
        diagram.shape(across - side / 2, TOP - 16, label)
        diagram.shape(LEFT - 16, down + side / 2, label)
        if mask and i < n - 1:
            diagram.hatch(across, down, LEFT + SIDE - across, side)
    diagram.grid(LEFT, TOP, (n, n), (side, side), "accent")
    row = TOP + side * (n - 2)
    diagram.rect(LEFT - 1, row, SIDE + 2, side, "none", "new", 3, radius=5)
    diagram.shape(LEFT + SIDE + 12, row + side / 2, "sum = 1", "new", "start")
