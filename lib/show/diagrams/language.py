"""Diagrams of Part I: the life of a model, what it is asked, and the first model."""

from __future__ import annotations

import math

from lib.show.diagrams.core import Diagram, require, signed

__all__ = ["life_of_a_model", "shifted_windows", "bigram_table"]

LIFE = (
    "Text becomes numbers, the numbers go into the model, the model gives "
    "probabilities of the next token, these give the loss, and the loss says how to "
    "change the weights of the model. From the model to its weights it is a loop, "
    "which runs again and again."
)
BIGRAM = (
    "A table has a row for each last character and a column for each next one. The "
    "row of h holds the logits of what follows h. Softmax turns the row into "
    "probabilities; the next character, here e, is drawn from them."
)
FOLLOWERS = {"e": 2.0, "a": 1.0, "i": 0.5, "t": -1.0, "h": -1.5}  # logits after "h"
LEFT, WIDE = 164, 56  # of the table


def life_of_a_model() -> Diagram:
    """Draw how a model is trained: from text to a loss, and back to the weights."""
    diagram = Diagram("life", "The life of a model", LIFE, height=352)
    left, right, (first, second, third) = 24, 264, (24, 140, 256)
    size = (192, 72)
    diagram.box(left, first, *size, "text", "To be")
    diagram.box(right, first, *size, "numbers", "32 53 1 40 43")
    diagram.box(right, second, *size, "model", "with its weights", "accent")
    diagram.box(right, third, *size, "probabilities", "of the next token")
    diagram.box(left, third, *size, "loss", "how wrong they are")
    diagram.box(left, second, *size, "change the weights", "by a small step")
    diagram.arrow([(222, 60), (258, 60)])
    diagram.arrow([(360, 102), (360, 134)])
    diagram.arrow([(360, 218), (360, 250)], "accent", 2.5)
    diagram.arrow([(258, 292), (222, 292)], "accent", 2.5)
    diagram.arrow([(120, 250), (120, 218)], "accent", 2.5)
    diagram.arrow([(222, 176), (258, 176)], "accent", 2.5)
    diagram.note(240, 234, "again and again", "accent", "middle")
    return diagram


def shifted_windows(text: str = "To be") -> Diagram:
    """Draw inputs and targets, one character apart, and the question at each position.

    Args:
        text: 3 to 7 characters; the last one is a target only.

    Raises:
        ValueError: if the text is shorter or longer.
    """
    require("text", text, 3 <= len(text) <= 7, "of 3 to 7 characters")
    n, shown = len(text) - 1, text.replace(" ", "␣")
    pairs = [f"after {text[: t + 1]!r} comes {text[t + 1]!r}" for t in range(n)]
    words = f"The inputs are {text[:-1]!r}, the targets {text[1:]!r}: "
    name = "windows-" + "-".join(f"{ord(character):x}" for character in text)
    title = "Inputs, and targets shifted by one"
    diagram = Diagram(name, title, words + ", ".join(pairs) + ".", 194 + 46 * n)
    _inputs_and_targets(diagram, shown)
    for t in range(n):
        y, end = 176 + 46 * t, 176 + 40 * t
        diagram.note(24, y + 17, f"position {t}")
        diagram.cells(136, y, [shown[: t + 1]], 40, 34, "accent")
        diagram.arrow([(end + 6, y + 17), (end + 30, y + 17)])
        diagram.cells(end + 36, y, [shown[t + 1]], 40, 34, "new")
    return diagram


def _inputs_and_targets(diagram: Diagram, shown: str) -> None:
    """Draw the inputs above the targets."""
    end = 136 + 40 * (len(shown) - 1)
    for y, name, part, tone in [
        (24, "inputs", shown[:-1], "accent"),
        (94, "targets", shown[1:], "new"),
    ]:
        diagram.text(24, y + 17, name, anchor="start", bold=True)
        diagram.cells(136, y, [part], 40, 34, tone)
        diagram.shape(end + 14, y + 17, "(T,)", anchor="start")
    for x in range(156, end, 40):
        diagram.arrow([(x, 62), (x, 90)], "quiet")
    diagram.line([(24, 152), (456, 152)], "rule", 1)


def bigram_table() -> Diagram:
    """Draw the bigram model: the last character's row of a table, softmax, the next."""
    diagram = Diagram("bigram", "A bigram model is a table", BIGRAM, height=488)
    n, middle = len(FOLLOWERS), LEFT + WIDE * len(FOLLOWERS) / 2
    diagram.text(middle, 32, "next character", bold=True)
    diagram.cells(LEFT, 76, [[""] * n] * n, WIDE, 32, "quiet")
    for i, letter in enumerate(FOLLOWERS):
        diagram.shape(LEFT + WIDE * (i + 0.5), 60, letter)
        diagram.shape(LEFT - 14, 92 + 32 * i, letter)
    logits = [signed(logit, 1) for logit in FOLLOWERS.values()]
    diagram.cells(LEFT, 204, [logits], WIDE, 32, "new")
    diagram.note(24, 92, "logits")
    diagram.shape(24, 114, "(V, V)", anchor="start")
    diagram.text(24, 186, "last", anchor="start", bold=True)
    diagram.cells(24, 204, ["h"], 36, 32, "accent")
    diagram.arrow([(66, 220), (LEFT - 26, 220)])
    diagram.arrow([(middle, 242), (middle, 276)])
    diagram.note(middle + 12, 258, "softmax", "ink")
    _bars(diagram, floor=372)
    diagram.arrow([(LEFT + WIDE / 2, 402), (LEFT + WIDE / 2, 428)])
    diagram.cells(LEFT + WIDE / 2 - 18, 432, ["e"], 36, 32, "accent")
    diagram.note(LEFT + WIDE / 2 + 30, 448, "drawn: the next character")
    return diagram


def _bars(diagram: Diagram, floor: float) -> None:
    """Draw the probabilities of the next character as bars."""
    total = sum(math.exp(logit) for logit in FOLLOWERS.values())
    for i, (letter, logit) in enumerate(FOLLOWERS.items()):
        middle, share = LEFT + WIDE * (i + 0.5), math.exp(logit) / total
        top = floor - max(110 * share, 2)
        diagram.rect(middle - 17, top, 34, floor - top, "accent", radius=2)
        diagram.shape(middle, top - 14, f"{share:.2f}"[1:], "ink")
        diagram.shape(middle, floor + 16, letter)
    diagram.line([(LEFT, floor), (LEFT + WIDE * len(FOLLOWERS), floor)], "edge")
    diagram.note(24, floor - 38, "probabilities")
    diagram.shape(24, floor - 16, "(V,)", anchor="start")
