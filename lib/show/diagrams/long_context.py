"""Diagrams of the lesson on long texts: attention in blocks, and a cache as a ring."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["blockwise", "ring_cache"]

BLOCKWISE = (
    "A table with six queries as rows and six keys as columns; the future is hatched. "
    "The keys come in three blocks of two: the first has been seen, the second is "
    "looked at now, the third is still to come. Beside the table, three things are "
    "kept for each query: the largest score m, the sum l and the output o."
)
N, BLOCK, SIDE = 6, 2, 40  # positions, keys in a block, size of a cell
LEFT, TOP = 60, 84
KEPT, WIDE = 336, 40  # where the columns of kept numbers begin, and how wide one is

WINDOW, READ = 4, 10  # places of the ring, tokens that it has read
CELL, ROW, RING = 40, 66, 196  # size of a cell, and the heights of the two rows


def blockwise() -> Diagram:
    """Draw attention that looks at the keys block by block, and what it keeps."""
    diagram = Diagram("blockwise", "Attention, block by block", BLOCKWISE, 400)
    right, bottom = LEFT + SIDE * N, TOP + SIDE * N
    diagram.text((LEFT + right) / 2, 30, "keys, in blocks", bold=True)
    looks = [("accent-soft", "seen"), ("new-soft", "now"), ("paper", "to come")]
    for number, (fill, name) in enumerate(looks):
        x, width = LEFT + SIDE * BLOCK * number, SIDE * BLOCK
        diagram.rect(x, TOP, width, bottom - TOP, fill, radius=0)
        tone = "new" if name == "now" else "ink"
        diagram.note(x + width / 2, 62, name, tone, "middle")
    for i in range(N - 1):
        x = LEFT + SIDE * (i + 1)
        diagram.hatch(x, TOP + SIDE * i, right - x, SIDE)
    diagram.grid(LEFT, TOP, (N, N), (SIDE, SIDE), "edge")
    now = LEFT + SIDE * BLOCK
    diagram.rect(now, TOP, SIDE * BLOCK, bottom - TOP, "none", "new", 3, radius=4)
    diagram.text(KEPT + 1.5 * WIDE, 30, "kept", bold=True)
    for j, name in enumerate("mℓo"):
        diagram.shape(KEPT + WIDE * (j + 0.5), 62, name, "ink")
    diagram.cells(KEPT, TOP, [[""] * 3] * N, WIDE, SIDE, "new")
    middle = TOP + SIDE * 3.5
    diagram.arrow([(right + 5, middle), (KEPT - 5, middle)], "new", 2.5)
    diagram.note(LEFT, bottom + 24, "Rows are queries. No table of all scores is kept:")
    diagram.note(LEFT, bottom + 48, "only one block of it, and three columns.")
    return diagram


def ring_cache() -> Diagram:
    """Draw a text and the ring that keeps its last tokens."""
    kept = {p % WINDOW: p for p in range(READ)}
    words = (
        f"A row of {READ} tokens, numbered from 0. The window holds the last {WINDOW}. "
        f"Below it a ring of {WINDOW} places, which hold the tokens "
        f"{', '.join(str(kept[place]) for place in range(WINDOW))}: the token at "
        f"position p lies in place p modulo {WINDOW}, where it took the place of an "
        "older one."
    )
    diagram = Diagram("ring-cache", "A window and its ring", words, height=310)
    first = READ - WINDOW
    left = (480 - CELL * READ) / 2
    diagram.text(left, 32, "the text", anchor="start", bold=True)
    numbers = [str(p) for p in range(READ)]
    diagram.cells(left, ROW, [numbers[:first]], CELL, CELL, "quiet")
    diagram.cells(left + CELL * first, ROW, [numbers[first:]], CELL, CELL, "new")
    start = left + CELL * first
    for place, token in kept.items():
        x = start + CELL * (token - first + 0.5)
        to = start + CELL * (place + 0.5)
        diagram.arrow([(x, ROW + CELL + 4), (to, RING - 6)], "new", 1.5)
    diagram.text(left, RING + CELL / 2, "the ring", anchor="start", bold=True)
    held = [str(kept[place]) for place in range(WINDOW)]
    diagram.cells(start, RING, [held], CELL, CELL, "new")
    for place in range(WINDOW):
        diagram.shape(start + CELL * (place + 0.5), RING + CELL + 18, str(place))
    diagram.note(left, RING + CELL + 18, "place")
    diagram.note(left, RING + CELL + 52, f"place = position modulo {WINDOW}", "ink")
    return diagram
