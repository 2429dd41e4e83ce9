"""Diagrams of the lesson on modern blocks: what was replaced, and rotary positions."""

from __future__ import annotations

import math

from lib.show.diagrams.core import Diagram

__all__ = ["replaced_parts", "rotation"]

# A part, what GPT-2 (2019) has there, and what Llama and Qwen3 have.
REPLACED = [
    ("norm", "LayerNorm", "RMSNorm"),
    ("positions", "learned, added", "rotary, in attention"),
    ("key heads", "one per query head", "shared by several"),
    ("queries, keys", "as they are", "normalised (Qwen3)"),
    ("feed-forward", "GELU", "SwiGLU"),
    ("biases", "everywhere", "none"),
]
WIDE, TALL, APART, TOP = 168, 34, 46, 62
OLD, NEW = 122, 300  # left edges of the two columns

STEP = 0.35  # radians by which the pair of the drawing turns in one position
RADIUS, MIDDLE = 78, 142
PLACES = [(124, 3, 1), (356, 7, 5)]  # centre, position of the query, of the key


def replaced_parts() -> Diagram:
    """Draw the parts of a block that models after GPT-2 have replaced."""
    words = "; ".join(f"{part}: {old}, then {new}" for part, old, new in REPLACED)
    words = f"Part by part, GPT-2 of 2019 and models of today. {words}."
    end = TOP + APART * len(REPLACED)
    title = "What was replaced since GPT-2"
    diagram = Diagram("replaced-parts", title, words, height=end + 14)
    diagram.text(OLD + WIDE / 2, 34, "GPT-2", bold=True)
    diagram.text(NEW + WIDE / 2, 34, "today", bold=True)
    for i, (part, old, new) in enumerate(REPLACED):
        y = TOP + APART * i
        diagram.note(14, y + TALL / 2, part)
        diagram.rect(OLD, y, WIDE, TALL, "paper", "rule")
        diagram.note(OLD + WIDE / 2, y + TALL / 2, old, anchor="middle")
        diagram.rect(NEW, y, WIDE, TALL, "new-soft", "new", 2.5)
        diagram.note(NEW + WIDE / 2, y + TALL / 2, new, "ink", anchor="middle")
    return diagram


def rotation() -> Diagram:
    """Draw a query and a key, turned by their positions, at two pairs of places."""
    words = (
        "Two circles. A query and a key that pointed the same way are turned by an "
        "angle for each position. On the left the query stands at position 3 and the "
        "key at 1, on the right at 7 and 5. Both have turned further on the right, but "
        "the angle between them is the same: two positions."
    )
    diagram = Diagram("rotation", "Rotary positions", words, height=298)
    for x, query, key in PLACES:
        diagram.circle(x, MIDDLE, RADIUS, "paper", "rule")
        for position, tone, name in ((query, "new", "query"), (key, "accent", "key")):
            angle = STEP * position
            tip = _at(x, angle, RADIUS - 6)
            diagram.arrow([(x, MIDDLE), tip], tone)
            place = _at(x, angle, RADIUS + 18)
            diagram.shape(*place, str(position), tone)
        words = f"query at {query}, key at {key}"
        diagram.text(x, MIDDLE + RADIUS + 28, words, bold=True)
    diagram.note(240, 276, "the same angle between them", anchor="middle")
    return diagram


def _at(x: float, angle: float, radius: float) -> tuple[float, float]:
    """Return the point at an angle, counted from the right and upwards."""
    return x + radius * math.cos(angle), MIDDLE - radius * math.sin(angle)
