"""Diagrams of the lesson on training: one step as a ring, the rate, Muon's matrix."""

from __future__ import annotations

import math

from lib.show.diagrams.canvas import place
from lib.show.diagrams.core import Diagram, Point

__all__ = ["training_ring", "rate_schedule", "equal_stretch"]

RING = (
    "One training step is a ring of six boxes: a batch, its loss, the gradients, "
    "clipping, the optimiser, the weights, and back to the next batch. From outside, "
    "the schedule gives the optimiser the rate of this step. New are clipping, the "
    "optimiser and the schedule."
)
RATE = (
    "The rate over all steps of a run. In the warm-up it rises in a straight line from "
    "almost 0 to the full rate. Then there are two ways down: along half a cosine, "
    "slowly, fast, slowly, to a tenth; or flat for a while, and in the last part in a "
    "straight line to 0."
)
STRETCH = (
    "What three matrices do to a circle. The gradient makes it a long, narrow ellipse: "
    "4 times as long along one diagonal, 0.4 times along the other. AdamW's step makes "
    "it a line: the second direction is gone. Muon's step leaves it a circle: both "
    "directions count the same."
)
WIDE, TALL = 128, 58
LEFT, TOP, APART = 24, 24, 152  # of the first box; from box to box


def training_ring() -> Diagram:
    """Draw one step of training as a ring; what is new in colour."""
    low = TOP + 112
    diagram = Diagram("training-ring", "One step of training", RING, height=296)
    columns = [LEFT + APART * i for i in range(3)]
    above = [("batch", "windows"), ("loss", "in nats"), ("gradients", "backward")]
    below = [("weights", "updated"), ("optimiser", "the step"), ("clip", "a limit")]
    for i, x in enumerate(columns):
        diagram.box(x, TOP, WIDE, TALL, *above[i])
        diagram.box(x, low, WIDE, TALL, *below[i], "new" if i else "ink")
    for x in columns[1:]:
        diagram.arrow([(x - 21, TOP + TALL / 2), (x - 3, TOP + TALL / 2)])
        diagram.arrow([(x - 3, low + TALL / 2), (x - 21, low + TALL / 2)])
    first, middle, last = (x + WIDE / 2 for x in columns)
    diagram.arrow([(last, TOP + TALL + 3), (last, low - 4)])
    diagram.arrow([(first, low - 3), (first, TOP + TALL + 4)])
    diagram.note(first + 12, (TOP + TALL + low) / 2, "the next step")
    under = low + TALL + 36
    diagram.box(columns[1], under, WIDE, 46, "schedule", tone="new")
    diagram.arrow([(middle, under - 3), (middle, low + TALL + 4)], "new", 2.5)
    diagram.note(middle + 12, under - 19, "the rate of this step", "new")
    return diagram


def rate_schedule(n_steps: int = 100, n_warmup: int = 10) -> Diagram:
    """Draw how the rate rises and falls, along a cosine and in straight lines."""
    diagram = Diagram("rate-schedule", "The rate over a run", RATE, height=250)
    left, right, top, bottom = 40, 456, 44, 200

    def at(step: float, factor: float) -> Point:
        x = left + (right - left) * step / n_steps
        return x, bottom - (bottom - top) * factor

    diagram.rect(left, top, at(n_warmup, 0)[0] - left, bottom - top, "soft", radius=0)
    diagram.arrow([(left, bottom), (left, top - 18)], "quiet")
    diagram.arrow([(left, bottom), (right + 8, bottom)], "quiet")
    rest = n_steps - n_warmup
    cosine = [at(0, 0)]
    for i in range(41):
        fall = (1 + math.cos(math.pi * i / 40)) / 2
        cosine.append(at(n_warmup + rest * i / 40, 0.1 + 0.9 * fall))
    straight = [at(n_warmup, 1), at(0.4 * n_steps, 1), at(n_steps, 0)]
    _curve(diagram, straight, "accent", 2.5)
    _curve(diagram, cosine, "new", 3)
    diagram.note(left + 8, top - 20, "rate")
    diagram.note(left, bottom + 20, "warm-up")
    diagram.note(right, bottom + 20, "step", anchor="end")
    diagram.note(*at(63, 0.82), "linear", "accent")
    diagram.note(*at(34, 0.5), "cosine", "new")
    return diagram


def equal_stretch() -> Diagram:
    """Draw what a gradient, AdamW's step and Muon's step do to a circle."""
    diagram = Diagram("equal-stretch", "What a step does", STRETCH, height=236)
    panels = [
        ("gradient", "4 and 0.4", 1.0, 0.1),
        ("AdamW", "2 and 0", 1.0, 0.0),
        ("Muon", "1 and 1", 1.0, 1.0),
    ]
    for i, (name, factors, long, short) in enumerate(panels):
        x, y, tone = 88 + 152 * i, 112, "new" if name == "Muon" else "accent"
        diagram.text(x, 30, name, bold=True)
        _ellipse(diagram, (x, y), 58 * long, 58 * short, tone)
        for length, turn in [(58 * long, -45), (58 * short, 45)]:
            if length > 10:
                angle = math.radians(turn)
                tip = x + length * math.cos(angle), y + length * math.sin(angle)
                diagram.arrow([(x, y), tip], "ink", 2)
        diagram.shape(x, 196, factors)
    diagram.note(240, 218, "how far each direction is stretched", anchor="middle")
    return diagram


def _curve(diagram: Diagram, points: list[Point], tone: str, thick: float) -> None:
    """Draw a line through points, corner by corner."""
    diagram.path("M" + " L".join(place(point) for point in points), tone, thick)


def _ellipse(
    diagram: Diagram, middle: Point, long: float, short: float, tone: str
) -> None:
    """Draw an ellipse whose long axis rises to the right, along the diagonal."""
    points = []
    for i in range(48):
        a, b = long * math.cos(math.tau * i / 48), short * math.sin(math.tau * i / 48)
        points.append((middle[0] + (a + b) * 0.5**0.5, middle[1] + (b - a) * 0.5**0.5))
    diagram.area(points, f"{tone}-soft", tone)
