"""Diagrams of the lesson on tokenization: the way of a text, the merges of a word."""

from __future__ import annotations

from collections.abc import Sequence

from lib.show.diagrams.core import Diagram, require

__all__ = ["tokenizer_path", "merge_tree"]

PATH = (
    "On the left, encoding leads down: the text is cut into words, each word becomes "
    "its bytes, and neighbouring bytes are merged, in the order in which the merges "
    "were learned. The ids go into the GPT. On the right, decoding leads up: each id "
    "that comes out is replaced by its bytes, and the joined bytes are read as text."
)
ENCODE = [
    ("text", "my brother"),
    ("words", "my | ␣brother"),
    ("bytes", "109 121 | 32 98 114 …"),
    ("merged ids", "one or more per word"),
]
DECODE = [("text", "joined, read as utf-8"), ("bytes", "looked up for each id")]
ROW = "The letters stand in a row at the bottom; each merge joins two neighbours above."
LEFT, RIGHT, WIDE, TALL, APART, TOP = 18, 256, 206, 52, 76, 52
LEAF_TALL, NODE_TALL, LEVEL = 38, 48, 76
LONGEST_WORD = 8


def tokenizer_path() -> Diagram:
    """Draw what stands between a text and a model, both ways."""
    low = TOP + APART * len(ENCODE)
    diagram = Diagram("tokenizer-path", "From text to ids and back", PATH, low + 70)
    for x, words in ((LEFT, "encode"), (RIGHT, "decode")):
        diagram.text(x + WIDE / 2, 28, words, bold=True)
    for number, (name, remark) in enumerate(ENCODE):
        y, tone = TOP + APART * number, "new" if number else "ink"
        diagram.box(LEFT, y, WIDE, TALL, name, remark, tone)
        down = [(LEFT + WIDE / 2, y + TALL), (LEFT + WIDE / 2, y + APART - 2)]
        diagram.arrow(down, "new", 2.5)
    diagram.box(LEFT, low, RIGHT + WIDE - LEFT, TALL, "GPT", "reads ids, predicts one")
    middle, levels = RIGHT + WIDE / 2, (TOP + APART, TOP + 2 * APART)
    for y, (name, remark), tone in zip(levels, DECODE, ("ink", "new")):
        diagram.box(RIGHT, y, WIDE, TALL, name, remark, tone)
    diagram.arrow([(middle, low), (middle, levels[1] + TALL + 2)], "new", 2.5)
    diagram.arrow([(middle, levels[1]), (middle, levels[0] + TALL + 2)], "new", 2.5)
    return diagram


def merge_tree(word: str, merges: Sequence[tuple[str, str]]) -> Diagram:
    """Draw which merges make a word out of its letters.

    Args:
        word: at most 8 letters without accents, one of them perhaps a space.
        merges: pairs of tokens in the order in which they were learned.

    Raises:
        ValueError: for another word.
    """
    allowed = f"2 to {LONGEST_WORD} letters without accents"
    right = word.isascii() and word.isprintable() and 2 <= len(word) <= LONGEST_WORD
    require("word", word, right, allowed)
    nodes, steps = _nodes(word, merges)
    wide = min(54, 456 / len(word))
    left = (480 - wide * len(word)) / 2
    bottom = 20 + LEVEL * max(level for *_, level in nodes)
    height = bottom + LEAF_TALL + 34
    words = f"{ROW} {' '.join(steps) or 'No merge fits.'}"
    title = f"The merges of {word.strip()!r}"
    name = f"merge-tree-{word.encode().hex()}"
    diagram = Diagram(name, title, words, height)
    for first, end, parts, rank, level in nodes:
        x, y = left + wide * (first + end) / 2, bottom - LEVEL * level
        for child in parts:
            at, _, _, _, below = child
            middle = left + wide * (at + child[1]) / 2
            top = bottom - LEVEL * below
            diagram.line([(x, y + NODE_TALL), (middle, top)], "new", 2.5)
        _draw(diagram, x, y, word[first:end], rank)
    diagram.note(240, bottom + LEAF_TALL + 16, "numbers: which merge", "ink", "middle")
    return diagram


def _draw(diagram: Diagram, x: float, y: float, text: str, rank: int) -> None:
    """Draw a letter, or a token with the number of the merge that made it."""
    shown = text.replace(" ", "␣")
    if not rank:
        diagram.rect(x - 20, y, 40, LEAF_TALL, "paper", "edge")
        diagram.shape(x, y + LEAF_TALL / 2, shown, "ink")
        return
    width = max(46, 9.6 * len(text) + 16)
    diagram.rect(x - width / 2, y, width, NODE_TALL, "new-soft", "new", 2.5)
    diagram.shape(x, y + 14, shown, "ink")
    diagram.note(x, y + 34, str(rank), "ink", "middle")


Node = tuple[int, int, tuple, int, int]  # first and last place, parts, merge, level


def _nodes(word: str, merges: Sequence[tuple[str, str]]) -> tuple[list, list[str]]:
    """Return all letters and tokens of a word, and each merge in words."""
    ranks = {pair: number for number, pair in enumerate(merges, start=1)}
    row: list[Node] = [(i, i + 1, (), 0, 0) for i in range(len(word))]
    found, steps = list(row), []
    texts = lambda: [word[first:end] for first, end, *_ in row]
    while known := [pair for pair in zip(texts(), texts()[1:]) if pair in ranks]:
        pair = min(known, key=ranks.get)
        at = list(zip(texts(), texts()[1:])).index(pair)
        one, two = row[at : at + 2]
        level = 1 + max(one[4], two[4])
        row[at : at + 2] = [(one[0], two[1], (one, two), ranks[pair], level)]
        found.append(row[at])
        names = [part.replace(" ", "space ").strip() for part in pair]
        steps.append(f"Merge {ranks[pair]} joins {names[0]} and {names[1]}.")
    return found, steps
