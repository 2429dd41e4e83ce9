"""Diagram of the lesson on evaluation: windows that move over a text."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["sliding_windows"]

TEXT, WINDOW, STRIDE = 11, 6, 2
ALT = (
    f"A text of {TEXT} targets and windows of {WINDOW} that move by {STRIDE}. The "
    "first window counts for all six of its targets. Each later one reads four again, "
    "which do not count, and counts for its last two. The final window moves by one "
    "only, and counts for one. So each target counts once."
)
SIZE, TALL, LEFT, TOP = 38, 34, 46, 70


def sliding_windows() -> Diagram:
    """Draw windows over a text, and which targets each of them counts."""
    ends = [*range(WINDOW, TEXT, STRIDE), TEXT]
    height = TOP + 48 * len(ends) + 40
    diagram = Diagram("sliding-windows", "Each target once", ALT, height=height)
    diagram.note(LEFT, 20, "targets of a text", "ink")
    names = [str(i + 1) for i in range(TEXT)]
    diagram.cells(LEFT, 32, [names], SIZE, 28, "quiet")
    done = 0
    for row, end in enumerate(ends):
        y, start = TOP + 48 * row + 6, end - WINDOW
        if done > start:
            read = [[""] * (done - start)]
            diagram.cells(LEFT + SIZE * start, y, read, SIZE, TALL, "quiet")
        counted = [names[done:end]]
        diagram.cells(LEFT + SIZE * done, y, counted, SIZE, TALL, "new")
        done = end
    y = TOP + 48 * len(ends) + 20
    diagram.note(LEFT, y, "empty: read again, not counted", "quiet")
    return diagram
