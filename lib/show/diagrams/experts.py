"""Diagrams of the lesson on mixtures of experts: the router, and full experts."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["routed", "places"]

PROBABILITIES = (".10", ".15", ".60", ".15")
BEST = 2  # the expert that the router of the drawing prefers
ROUTED = (
    "The feed-forward half of a block. A token leaves the residual stream, passes the "
    "norm, and comes to the router, which gives a probability to each of four experts: "
    f"{', '.join(PROBABILITIES)}. Only expert {BEST}, the likeliest, computes. Its "
    "output is multiplied by its probability and added to the stream."
)
LEFT, WIDE, APART = 108, 80, 90  # of the experts

CHOICES = (0, 1, 0, 0, 2, 1)  # the expert that each token wants
ROOM = 2
PLACES = (
    "Six tokens choose among three experts with two places each: "
    f"{', '.join(map(str, CHOICES))}. Tokens 0 and 2 fill expert 0, so token 3 finds "
    "no place: it goes past the experts in the residual stream. Expert 2 has one left."
)


def routed() -> Diagram:
    """Draw the feed-forward half of a block, with a router and four experts."""
    diagram = Diagram("routed", "One of four experts", ROUTED, height=400)
    stream, plus, branch = 52, 66, 346
    diagram.arrow([(stream, 386), (stream, plus + 11)])
    diagram.arrow([(stream, plus - 11), (stream, 22)])
    diagram.shape(stream + 16, 26, "(B, T, D)", anchor="start")
    diagram.arrow([(stream, branch), (LEFT, branch)])
    diagram.box(LEFT, branch - 20, WIDE, 40, "norm")
    diagram.arrow([(LEFT + WIDE, branch), (256, branch)])
    diagram.box(256, branch - 28, 202, 56, "router", "softmax over all", "new")
    for number, probability in enumerate(PROBABILITIES):
        best, x = number == BEST, LEFT + APART * number
        middle, tone = x + WIDE / 2, "new" if best else "edge"
        way = [(357, branch - 28), (middle, 250)]
        (diagram.arrow if best else diagram.line)(way, tone, 2.5 if best else 1.5)
        fill = ("new-soft", "new", 2.5) if best else ("paper", "rule", 1.5)
        diagram.rect(x, 196, WIDE, 54, *fill)
        ink = "ink" if best else "quiet"
        diagram.note(middle, 213, f"expert {number}", ink, "middle")
        diagram.shape(middle, 234, probability, ink)
    middle = LEFT + APART * BEST + WIDE / 2
    diagram.arrow([(middle, 196), (middle, 148)], "new", 2.5)
    diagram.circle(middle, 134, 14, "new-soft", "new", 2.5)
    diagram.shape(middle, 134, "×", "ink")
    diagram.note(middle + 24, 134, f"gate {PROBABILITIES[BEST]}", "ink")
    diagram.arrow([(middle, 120), (middle, plus), (stream + 11, plus)], "new", 2.5)
    diagram.plus(stream, plus)
    return diagram


def places() -> Diagram:
    """Draw tokens that choose experts with few places, and one that finds none."""
    diagram = Diagram("places", "Experts with two places each", PLACES, height=290)
    taken = [0] * 3
    for number in range(3):
        x = 20 + 122 * number
        diagram.note(x + 52, 62, f"expert {number}", "ink", "middle")
        diagram.cells(x, 78, [[""] * ROOM], 52, 36)
    diagram.note(430, 44, "residual", "ink", "middle")
    diagram.note(430, 62, "stream", "ink", "middle")
    for token, choice in enumerate(CHOICES):
        x, fits = 50 + 76 * token, taken[choice] < ROOM
        tone = "accent" if fits else "new"
        diagram.circle(x, 226, 16, f"{tone}-soft", tone, 2.5)
        diagram.shape(x, 226, str(token), "ink")
        goal = (430, 80)
        if fits:
            goal = (20 + 122 * choice + 52 * taken[choice] + 26, 116)
            diagram.shape(goal[0], 96, str(token), "ink")
            taken[choice] += 1
        diagram.arrow([(x, 210), goal], tone, 1.5 if fits else 2.5)
    diagram.note(240, 268, "tokens, in their order", "ink", "middle")
    return diagram
