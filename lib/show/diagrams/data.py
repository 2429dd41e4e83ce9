"""Diagrams of the lesson on data: a row of several documents, bands of signatures."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["packed_row", "signature_bands"]

DOCUMENTS = ("AAAA", "BBB", "CC")
PACKED = (
    "One row of nine tokens that holds three documents, A with four tokens, B with "
    "three, C with two. Positions start anew at 0 in each. Below, a table of who may "
    "look at whom: three triangles along the diagonal, one for each document; all else "
    "is closed."
)
SIZE, LEFT, TOP = 38, 112, 116  # of a cell, and where the table begins

SIGNATURES = (("7", "3", "9", "1", "4", "4"), ("7", "3", "2", "1", "8", "6"))
BANDS = (
    "Two signatures of six numbers, cut into three bands of two. In the first band "
    "both have 7 and 3: they meet in one bucket, and are compared. The other bands "
    "differ."
)


def packed_row() -> Diagram:
    """Draw a row of several documents, its positions and its mask."""
    diagram = Diagram("packed-row", "Three documents in a row", PACKED, height=480)
    row = "".join(DOCUMENTS)
    places = [str(i) for document in DOCUMENTS for i in range(len(document))]
    diagram.note(100, 43, "documents", "ink", "end")
    diagram.note(100, 83, "positions", "ink", "end")
    tones = {"A": "accent", "B": "new", "C": "ink"}
    start = 0
    for document in DOCUMENTS:
        x, width = LEFT + SIZE * start, len(document)
        diagram.cells(x, 26, [list(document)], SIZE, 34, tones[document[0]])
        diagram.cells(x, 66, [places[start : start + width]], SIZE, 34, "quiet")
        for i in range(width):
            for j in range(i + 1):
                tone = tones[document[0]]
                fill = f"{tone}-soft" if tone != "ink" else "rule"
                at = x + SIZE * j, TOP + SIZE * (start + i)
                diagram.rect(*at, SIZE, SIZE, fill, radius=0)
        start += width
    diagram.grid(LEFT, TOP, (len(row), len(row)), (SIZE, SIZE), "rule")
    diagram.note(100, TOP + SIZE * 4.5, "may look at", "ink", "end")
    return diagram


def signature_bands() -> Diagram:
    """Draw two signatures that agree in one band."""
    diagram = Diagram("signature-bands", "Bands of two signatures", BANDS, height=230)
    for row, numbers in enumerate(SIGNATURES):
        y = 40 + 60 * row
        diagram.note(100, y + 20, f"text {row + 1}", "ink", "end")
        for band in range(3):
            piece = numbers[2 * band : 2 * band + 2]
            tone = "ink" if band else "new"
            diagram.cells(116 + 118 * band, y, [list(piece)], 48, 40, tone)
    for band in range(3):
        diagram.note(164 + 118 * band, 24, f"band {band + 1}", "quiet", "middle")
    diagram.arrow([(164, 142), (164, 176)], "new", 2.5)
    diagram.note(164, 196, "one bucket: compare both", "ink", "middle")
    return diagram
