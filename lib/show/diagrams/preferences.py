"""Diagrams of the lesson on preferences: four numbers, and a head for a reward."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["four_numbers", "reward_head"]

MODEL, REFERENCE = ("-41", "-52"), ("-44", "-46")
MOVED, MARGIN = ("+3", "-6"), "9"
FOUR = (
    "One prompt, two answers, two models. The model that is tuned gives the chosen "
    f"answer the log-probability {MODEL[0]} and the rejected one {MODEL[1]}; the "
    f"frozen reference gives {REFERENCE[0]} and {REFERENCE[1]}. So the model has moved "
    f"by {MOVED[0]} and by {MOVED[1]}. The difference, {MARGIN}, is the margin, from "
    "which the loss is computed."
)
HEAD = (
    "A frozen GPT reads a prompt and an answer. Its own head is gone. A new head reads "
    "the vectors at the tokens of the answer and gives one number, the reward."
)


def four_numbers() -> Diagram:
    """Draw what two models say of two answers, and the margin."""
    diagram = Diagram("four-numbers", "Two answers, two models", FOUR, height=390)
    diagram.box(200, 16, 240, 38, "prompt")
    for number, (word, tone) in enumerate((("chosen", "accent"), ("rejected", "ink"))):
        x = 254 + 132 * number
        diagram.arrow([(x, 54), (x, 84)])
        diagram.box(x - 60, 86, 120, 38, word, tone=tone)
        diagram.arrow([(x, 124), (x, 150)])
        for row, values in enumerate((MODEL, REFERENCE)):
            fill = ("new-soft", "new", 2.5) if row == 0 else ("paper", "rule", 1.5)
            diagram.rect(x - 44, 152 + 58 * row, 88, 44, *fill)
            diagram.shape(x, 174 + 58 * row, values[number], "ink")
        diagram.arrow([(x, 254), (x, 280)])
        diagram.shape(x, 294, MOVED[number], "ink")
        diagram.arrow([(x, 306), (320, 346)])
    diagram.note(16, 166, "the model,", "new")
    diagram.note(16, 186, "which learns", "new")
    diagram.note(16, 224, "the reference,", "ink")
    diagram.note(16, 244, "frozen", "ink")
    diagram.note(16, 294, "moved by", "ink")
    diagram.note(16, 362, "margin", "ink")
    diagram.shape(320, 362, f"{MOVED[0]} - ({MOVED[1]}) = {MARGIN}", "new")
    return diagram


def reward_head() -> Diagram:
    """Draw a GPT whose head gives one number."""
    diagram = Diagram("reward-head", "A head for one number", HEAD, height=270)
    for number in range(6):
        own, x = number >= 3, 60 + 72 * number
        tone = "accent" if own else "quiet"
        diagram.circle(x, 222, 14, f"{tone}-soft" if own else "paper", tone, 2)
        diagram.arrow([(x, 208), (x, 178)])
        if own:
            diagram.arrow([(x, 136), (348, 86)], "new", 2)
    diagram.box(30, 138, 420, 40, "frozen GPT", tone="ink")
    diagram.box(288, 46, 120, 40, "new head", tone="new")
    diagram.arrow([(348, 46), (348, 26)], "new", 2.5)
    diagram.note(336, 20, "reward", "new", "end")
    diagram.note(132, 252, "prompt", "ink", "middle")
    diagram.note(348, 252, "answer", "ink", "middle")
    return diagram
