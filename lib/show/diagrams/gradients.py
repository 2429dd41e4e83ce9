"""Diagrams of the lesson on gradients: values forward, gradients backward."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram, Point

__all__ = ["computation_graph", "shared_node"]

GRAPH = (
    "The error of w times x plus b, squared, for w = 2, x = 3, b = 1 and the target 5. "
    "Values go forward: the product is 6, the sum 7, the difference from the target "
    "2, its square 4. Gradients go backward: 1 at the square, 4 at the difference, "
    "minus 4 at the target, 4 at the sum, at b and at the product, 8 at x, 12 at w."
)
SHARED = (
    "The number a = 3 is used twice: b is 2 times a, 6, and c is a plus 1, 4. Their "
    "product is 24. Backward, a gets 8 through b and 6 through c. The two gradients "
    "add up: the gradient of a is 14."
)
# Name, value and gradient of each node.
CHAIN = [("w", 2, "12"), ("×", 6, "4"), ("+", 7, "4"), ("−", 2, "4"), ("( )²", 4, "1")]
OPERANDS = [("x", 3, "8"), ("b", 1, "4"), ("target", 5, "−4")]
TALL, VALUE, NAME, GRADIENT = 84, 18, 42, 66  # a card, and its three lines


def computation_graph() -> Diagram:
    """Draw (w x + b - target) squared: each value, and below it its gradient."""
    diagram = Diagram("graph", "A computation graph", GRAPH, height=304)
    top, low = 24, 160
    for i, node in enumerate(CHAIN):
        x = 24 + 92 * i
        _card(diagram, x, top, *node)
        if i:
            y = top + VALUE
            diagram.arrow([(x - 24, y), (x - 4, y)], "accent")
            y = top + GRADIENT
            diagram.arrow([(x - 4, y), (x - 24, y)], "new", 2.5)
    for i, node in enumerate(OPERANDS, start=1):
        x = 24 + 92 * i
        _card(diagram, x, low, *node)
        start, end = low - 4, top + TALL + 4
        diagram.arrow([(x + 22, start), (x + 22, end)], "accent")
        diagram.arrow([(x + 42, end), (x + 42, start)], "new", 2.5)
    _legend(diagram, 276)
    return diagram


def shared_node() -> Diagram:
    """Draw a number that is used twice: the gradients of both uses add up."""
    diagram = Diagram("shared", "A node that is used twice", SHARED, height=340)
    _card(diagram, 24, 110, "a", 3, "8 + 6 = 14", wide=112)
    _card(diagram, 226, 24, "b = 2 · a", 6, "4", wide=90)
    _card(diagram, 226, 196, "c = a + 1", 4, "6", wide=90)
    _card(diagram, 392, 110, "b · c", 24, "1")
    for use, ends in [(56, 120), (228, 162)]:
        _bows(diagram, (140, ends), (222, use))
        _bows(diagram, (320, use), (388, ends))
    diagram.text(200, 146, "8", "new", mono=True, bold=True)
    diagram.text(166, 246, "6", "new", mono=True, bold=True)
    _legend(diagram, 312)
    return diagram


def _card(
    diagram: Diagram,
    x: float,
    y: float,
    name: str,
    value: int,
    gradient: str,
    wide: float = 64,
) -> None:
    """Draw a node: its value above its name, its gradient below."""
    diagram.box(x, y, wide, TALL)
    middle = x + wide / 2
    diagram.text(middle, y + VALUE, f"{value}", "accent", mono=True, bold=True)
    diagram.text(middle, y + NAME, name)
    diagram.text(middle, y + GRADIENT, gradient, "new", mono=True, bold=True)


def _bows(diagram: Diagram, start: Point, end: Point) -> None:
    """Draw a value's curved arrow, and below it a gradient's that runs back."""
    (x, y), (to_x, to_y) = start, end
    middle = (x + to_x) / 2
    forward = start, (middle, y), (middle, to_y), end
    diagram.bow(forward, "accent", head=True)
    back = (to_x, to_y + 20), (middle, to_y + 20), (middle, y + 20), (x, y + 20)
    diagram.bow(back, "new", 2.5, head=True)


def _legend(diagram: Diagram, y: float) -> None:
    """Say which arrows are values and which are gradients."""
    diagram.arrow([(24, y), (50, y)], "accent")
    diagram.note(58, y, "values, forward", "accent")
    diagram.arrow([(250, y), (224, y)], "new", 2.5)
    diagram.note(258, y, "gradients, backward", "new")
