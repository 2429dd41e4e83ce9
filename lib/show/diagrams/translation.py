"""Diagrams of the lesson on translation."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["translator", "beam_tree"]

MACHINE = (
    "Two rows. In training a pair of sentences goes through the Transformer, which "
    "gives a probability to each French word; new are the smoothed loss and the "
    "warm-up of the rate. In use only the English sentence goes in; new are the beam "
    "search that writes a French one, and BLEU, which compares it with a reference."
)
TREE = (
    "A tree of beginnings for: the friend follows him today. Of the first words, "
    "aujourd'hui has 0.40, l' 0.36, le 0.24. Greedy takes aujourd'hui and can then "
    "reach 0.24 at most, with l' ami. Two beams also keep l', which goes on with ami "
    "and stays at 0.36: the likeliest translation. le is dropped."
)
# First words with their shares; how they go on, with the shares of both together.
FIRST = [("aujourd'hui", "0.40"), ("l'", "0.36"), ("le", "0.24")]
NEXT = [("l'", "0.24"), ("le", "0.16"), ("ami", "0.36"), ("copain", "0.24")]


def translator() -> Diagram:
    """Draw how a translator is trained, how it is used, and what is new."""
    title = "A translator, in training and in use"
    diagram = Diagram("translator", title, MACHINE, height=372)
    for y, words in ((30, "training"), (204, "in use")):
        diagram.text(16, y, words, anchor="start", bold=True)
    for y, right in ((50, "a pair"), (224, "English")):
        diagram.box(16, y + 12, 128, 44, right)
        diagram.arrow([(144, y + 34), (178, y + 34)])
        diagram.box(180, y, 128, 68, "Transformer", "lesson 15", "quiet")
        diagram.arrow([(308, y + 34), (342, y + 34)])
    diagram.box(344, 50, 122, 68, "loss", "smoothed", "new")
    diagram.line([(405, 118), (405, 150), (350, 150)], "accent")
    diagram.box(200, 130, 150, 40, "rate: warm-up", tone="new")
    diagram.arrow([(244, 130), (244, 120)], "accent")
    diagram.box(344, 224, 122, 68, "beam search", "writes", "new")
    diagram.arrow([(405, 292), (405, 314)])
    diagram.box(344, 316, 122, 40, "French")
    diagram.box(180, 316, 128, 40, "BLEU", tone="new")
    diagram.arrow([(344, 336), (310, 336)])
    diagram.box(16, 316, 128, 40, "a reference")
    diagram.arrow([(144, 336), (178, 336)])
    return diagram


def beam_tree() -> Diagram:
    """Draw two beams that find what greedy writing misses."""
    diagram = Diagram("beam-tree", "Greedy and two beams", TREE, 330)
    diagram.box(12, 140, 78, 44, "<bos>")
    heights = (66, 188, 284)
    for (word, share), y in zip(FIRST, heights):
        kept = word != "le"
        tone = "new" if word == "l'" else "ink" if kept else "quiet"
        line = "new" if word == "l'" else "ink" if kept else "edge"
        thick = 2.5 if word == "l'" else 1.5
        diagram.arrow([(90, 162), (142, y)], line, thick)
        diagram.box(144, y - 27, 128, 54, word, share, tone)
    for (word, share), y, start in zip(NEXT, (36, 98, 188, 284), (66, 66, 188, 284)):
        best = word == "ami"
        tone = "new" if best else "ink" if share == "0.24" and y == 36 else "quiet"
        line = {"new": "new", "ink": "ink", "quiet": "edge"}[tone]
        diagram.arrow([(272, start), (328, y)], line, 2.5 if best else 1.5)
        diagram.box(330, y - 27, 136, 54, word, share, tone)
    diagram.note(208, 24, "greedy", "ink", "middle")
    diagram.note(208, 232, "second beam", "new", "middle")
    diagram.note(398, 232, "the winner", "new", "middle")
    return diagram
