"""Diagrams of the lesson on the encoder-decoder: the whole, its inputs, its masks."""

from __future__ import annotations

from collections.abc import Sequence

from lib.show.diagrams.core import Diagram

__all__ = ["encoder_decoder", "decoder_inputs", "pad_masks"]

WHOLE = (
    "Two columns, read from top to bottom. Left, source tokens pass an embedding, are "
    "added to positions, and pass N blocks of the Encoder: attention in which all look "
    "at all, then feed-forward, each added and normalised. The result is the memory. "
    "Right, target tokens pass an embedding and positions, and N blocks of the "
    "Decoder: causal attention, cross-attention, feed-forward, each added and "
    "normalised; then the head gives logits. New: the memory and its mask go to the "
    "cross-attention of each block, which takes keys and values from there and queries "
    "from its own side."
)
INPUTS = (
    "Three inputs lead into the Decoder. First the target without its last token: "
    "start, t, o, d. Second the memory: a vector for each of the five source tokens d, "
    "o, t, end and padding. Third the memory mask: 1 for the first four, 0 for the "
    "padding. The Decoder predicts the target without its first token: t, o, d, end."
)
MASKS = (
    "Three squares of who may look at whom, for a word with padding at its end. "
    "Encoder: every row sees all source tokens, and the column of the padding is "
    "closed. Decoder: every target token sees itself and those before it. Cross: every "
    "target token sees all source tokens, and the column of the padding is closed."
)
LEFT, RIGHT, WIDE = 28, 288, 176  # of the boxes in both columns
START, ATTEND = 160, 190  # where the blocks begin, and their first part
SOURCE, TARGET = "dot>_", "<tod>"  # < starts, > ends, _ is padding
SIDE = 24  # of a square of a mask


def encoder_decoder() -> Diagram:
    """Draw the original Transformer with the names of its parts."""
    diagram = Diagram("encoder-decoder", "The Transformer of 2017", WHOLE, height=596)
    for left, name, ids, word in [
        (LEFT, "source", "src (B, S)", "Encoder"),
        (RIGHT, "target", "tgt (B, T)", "Decoder"),
    ]:
        middle = left + WIDE / 2
        diagram.text(middle, 22, name, bold=True)
        diagram.shape(middle, 44, ids)
        diagram.arrow([(middle, 56), (middle, 70)])
        _part(diagram, left, 72, 30, "Embedding", "quiet")
        diagram.arrow([(middle, 104), (middle, 121)])
        diagram.plus(middle, 134)
        diagram.arrow([(middle, 146), (middle, ATTEND - 2)])
        diagram.text(left - 12, START + 14, word, anchor="start", bold=True)
        diagram.text(middle + 40, START + 14, "× N", bold=True)
    for edge, end in [(LEFT + WIDE / 2 + 12, 150), (RIGHT + WIDE / 2 - 12, 326)]:
        diagram.line([(end, 134), (edge, 134)], "edge")
    diagram.shape(238, 134, "SinusoidalPositions", "ink")
    _encoder(diagram)
    _decoder(diagram)
    _bridge(diagram)
    return diagram


def _part(
    diagram: Diagram,
    x: float,
    y: float,
    height: float,
    name: str,
    tone: str = "quiet",
    remark: str = "",
) -> None:
    """Draw a box with the name of a class, and a remark below the name."""
    diagram.box(x, y, WIDE, height, tone=tone)
    middle, shift = x + WIDE / 2, 11 if remark else 0
    diagram.shape(middle, y + height / 2 - shift, name, "ink")
    if remark:
        diagram.note(middle, y + height / 2 + shift, remark, anchor="middle")


def _added(
    diagram: Diagram, x: float, y: float, height: float, name: str, *look: str
) -> float:
    """Draw a part, the line past it, and the norm of the sum; return its end."""
    middle, past, norm = x + WIDE / 2, x - 9, y + height + 13
    tone = look[0] if look else "quiet"
    _part(diagram, x, y, height, name, *look)
    diagram.arrow([(middle, y + height + 2), (middle, norm - 2)])
    _part(diagram, x, norm, 26, "+ LayerNorm", tone)
    line = [(middle, y - 8), (past, y - 8), (past, norm + 13), (x - 2, norm + 13)]
    diagram.arrow(line, "edge")
    return norm + 26


def _encoder(diagram: Diagram) -> None:
    """Draw a block of the encoder."""
    middle = LEFT + WIDE / 2
    look = ("quiet", "sees all tokens")
    end = _added(diagram, LEFT, ATTEND, 46, "MultiHeadAttention", *look)
    diagram.arrow([(middle, end), (middle, end + 20)])
    end = _added(diagram, LEFT, end + 22, 30, "FeedForward")
    diagram.rect(9, START, 203, end + 12 - START, "none", "edge", dash="2 5")
    diagram.arrow([(middle, end), (middle, 394)], "new", 2.5)


def _decoder(diagram: Diagram) -> None:
    """Draw a block of the decoder, and the head."""
    middle, attention = RIGHT + WIDE / 2, "MultiHeadAttention"
    end = _added(diagram, RIGHT, ATTEND, 46, attention, "quiet", "sees its own past")
    diagram.arrow([(middle, end), (middle, end + 20)])
    end = _added(diagram, RIGHT, end + 22, 46, attention, "new", "q from here")
    diagram.arrow([(middle, end), (middle, end + 20)])
    end = _added(diagram, RIGHT, end + 22, 30, "FeedForward")
    diagram.rect(269, START, 203, end + 12 - START, "none", "edge", dash="2 5")
    diagram.arrow([(middle, end), (middle, 522)])
    _part(diagram, RIGHT, 524, 30, "Linear")
    diagram.note(RIGHT - 10, 539, "head", anchor="end")
    diagram.arrow([(middle, 554), (middle, 568)])
    diagram.shape(middle, 578, "logits (B, T, V)")


def _bridge(diagram: Diagram) -> None:
    """Draw what goes from the encoder to the decoder."""
    diagram.box(LEFT, 396, WIDE, 46, "memory", "(B, S, D)", "new")
    diagram.box(LEFT, 464, WIDE, 46, "memory_mask", "(B, 1, 1, S)", "new")
    for y, x, tip in [(419, 228, 310), (487, 246, 334)]:
        points = [(LEFT + WIDE, y), (x, y), (x, tip), (RIGHT - 2, tip)]
        diagram.arrow(points, "new", 2.5)
    diagram.shape(238, 294, "k, v", "new")


def decoder_inputs() -> Diagram:
    """Draw what goes into the decoder in training, and what it shall predict."""
    diagram = Diagram("decoder-inputs", "The decoder's inputs", INPUTS, height=392)
    read, predicted = ["<bos>", *"tod"], [*"tod", "<eos>"]
    source = [*"dot", "<eos>", "<pad>"]
    left, wide, bottom = 144, 48, 272
    for y, name, shape in [
        (43, "tgt", "(B, T)"),
        (120, "memory", "(B, S, D)"),
        (219, "mask", "(B, 1, 1, S)"),
    ]:
        diagram.text(24, y - 9, name, anchor="start", bold=True)
        diagram.shape(24, y + 12, shape, anchor="start")
        diagram.line([(402, y), (440, y), (440, bottom + 8)], "edge")
    diagram.cells(left, 26, [read], wide, 34, "accent")
    for i, token in enumerate(source):
        x = left + wide * (i + 0.5)
        tone = "quiet" if token == "<pad>" else "accent"
        diagram.shape(x, 86, token)
        diagram.cells(x - 9, 98, [[""]] * 5, 18, 13, tone)
    diagram.cells(left, 202, ["11110"], wide, 34, "accent")
    turn = [(440, bottom), (440, bottom + 21), (388, bottom + 21)]
    diagram.arrow(turn, "edge")
    diagram.box(left, bottom, 5 * wide, 42, "Decoder")
    middle = left + 2 * wide
    diagram.arrow([(middle, bottom + 44), (middle, bottom + 64)])
    diagram.text(24, bottom + 75, "predicts", anchor="start", bold=True)
    diagram.shape(24, bottom + 96, "(B, T, V)", anchor="start")
    diagram.cells(left, bottom + 68, [predicted], wide, 34, "new")
    return diagram


def pad_masks() -> Diagram:
    """Draw who may look at whom in the three attentions, beside padding."""
    diagram = Diagram("pad-masks", "Three masks of a padded word", MASKS, height=262)
    for x, name, remark, rows, columns in [
        (38, "encoder", "d sees all", SOURCE, SOURCE),
        (194, "decoder", "d sees its past", TARGET, TARGET),
        (350, "cross", "d sees all", TARGET, SOURCE),
    ]:
        diagram.text(x + 60, 24, name, bold=True)
        _mask(diagram, x, 68, rows, columns)
        diagram.note(x + 60, 206, remark, anchor="middle")
    words = "< starts, > ends, _ fills; hatched: hidden"
    diagram.note(240, 238, words, "ink", "middle")
    return diagram


def allowed(rows: str, columns: str) -> list[list[bool]]:
    """Whether each row may look at each column: no padding, no future in a target."""
    own = rows == columns == TARGET
    return [
        [token != "_" and (j <= i or not own) for j, token in enumerate(columns)]
        for i in range(len(rows))
    ]


def _mask(
    diagram: Diagram, x: float, y: float, rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Draw a mask as squares with labels, and the row of d in colour."""
    size = len(rows), len(columns)
    for i, row in enumerate(allowed(rows, columns)):
        diagram.shape(x - 14, y + SIDE * (i + 0.5), rows[i])
        for j, sees in enumerate(row):
            place = x + SIDE * j, y + SIDE * i, SIDE, SIDE
            if sees:
                diagram.rect(*place, "accent-soft", radius=0)
            else:
                diagram.hatch(*place)
    for j, label in enumerate(columns):
        diagram.shape(x + SIDE * (j + 0.5), y - 14, label)
    diagram.grid(x, y, size, (SIDE, SIDE), "accent")
    place = y + SIDE * rows.index("d")
    diagram.rect(x - 1, place, SIDE * size[1] + 2, SIDE, "none", "new", 3, radius=3)
