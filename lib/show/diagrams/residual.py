"""The recurring picture of the course: the residual stream, which grows by a lesson."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram, require
from lib.show.diagrams.scheme import LOOKS

__all__ = ["stream"]

LANES = (144, 204, 264, 324)  # where the vectors of the tokens run down
LEFT, WIDE = 114, 240  # of the boxes across the lanes
SHAPES = 368  # where the shapes begin
PAST = 92  # where the stream runs past a box
EMBED, VECTORS, PLACES, BLOCK = 78, 128, 200, 246
NORM_1, ATTEND, ADD_1 = 276, 318, 416
NORM_2, FORWARD, ADD_2 = 450, 492, 582
BLOCK_END, NORM, HEAD, LOGITS = 604, 626, 668, 720
LOGIT_BARS = ((8, 24, 5, 12), (20, 4, 10, 6), (4, 9, 7, 25), (6, 14, 22, 3))

# What each stage adds to the picture, and the height where the stream then ends.
STAGES = {
    "embeddings": ("Token embeddings turn each id into a vector of D numbers.", 206),
    "positions": ("The vector of its position is added to each of them.", 244),
    "attention": ("Attention lets each position take from earlier ones.", 424),
    "heads": ("Attention has H heads, which look at different places.", 424),
    "feed_forward": ("A feed-forward network works at each position alone.", 592),
    "block": (
        "Norms stand before attention and feed-forward, and what these give is added "
        "to the stream, which runs past them. All this is one block; N blocks follow "
        "each other.",
        634,
    ),
    "gpt": (
        "A last norm and the head turn each vector into the logits of V next tokens.",
        LOGITS + 26,
    ),
}


def stream(stage: str) -> Diagram:
    """Draw the model up to a lesson; what this one adds is in colour.

    Args:
        stage: "embeddings", "positions", "attention", "heads", "feed_forward",
            "block" or "gpt".

    Raises:
        ValueError: if there is no such stage.
    """
    require("stage", stage, stage in STAGES, f"one of {', '.join(STAGES)}")
    so_far = list(STAGES)[: list(STAGES).index(stage) + 1]
    new, end = STAGES[stage]
    words = " ".join(STAGES[name][0] for name in so_far[:-1])
    words = f"Four tokens enter at the top. {words} New: {new}".replace("  ", " ")
    name = stage.replace("_", "-")
    title = f"The model so far, with {name}"
    diagram = Diagram(f"stream-{name}", title, words, height=end + 24)
    tones = dict.fromkeys(so_far, "quiet") | {stage: "new"}
    _lanes(diagram, so_far, end)
    _embeddings(diagram, tones["embeddings"])
    if "positions" in tones:
        _positions(diagram, tones["positions"])
    if "attention" in tones:
        _attention(diagram, tones.get("heads", tones["attention"]), "heads" in tones)
    if "feed_forward" in tones:
        _feed_forward(diagram, tones["feed_forward"])
    if "block" in tones:
        _block(diagram, tones["block"])
    if "gpt" in tones:
        _head(diagram, tones["gpt"])
    return diagram


def _lanes(diagram: Diagram, so_far: list[str], end: float) -> None:
    """Draw the lines of the tokens' vectors, from the tokens to the end."""
    stops = [(54, EMBED), (EMBED + 32, VECTORS), (VECTORS + 44, end)]
    if "attention" in so_far:
        top = ATTEND - 12 if "heads" in so_far else ATTEND
        stops[-1:] = [(VECTORS + 44, top), (ATTEND + 74, end)]
    if "feed_forward" in so_far:
        stops[-1:] = [(ATTEND + 74, FORWARD), (FORWARD + 66, end)]
    if "gpt" in so_far:
        stops[-1:] = [(FORWARD + 66, HEAD), (HEAD + 30, LOGITS - 4)]
    elif len(so_far) > 1:
        diagram.shape(SHAPES, end - 8, "(B, T, D)", anchor="start")
    for top, bottom in stops:
        for x in LANES:
            diagram.arrow([(x, top + 3), (x, bottom - 2)], "edge")


def _embeddings(diagram: Diagram, tone: str) -> None:
    """Draw the tokens, their lookup, and the vectors that it gives."""
    for x, token in zip(LANES, "To␣b", strict=True):
        diagram.cells(
            x - 16, 24, [token], 32, 30, "quiet" if tone == "quiet" else "ink"
        )
        diagram.cells(x - 9, VECTORS, [[""]] * 4, 18, 11, tone)
    diagram.box(LEFT, EMBED, WIDE, 32, "token embedding", tone=tone)
    diagram.shape(SHAPES, 39, "(B, T)", anchor="start")
    diagram.shape(SHAPES, VECTORS + 22, "(B, T, D)", anchor="start")


def _positions(diagram: Diagram, tone: str) -> None:
    """Draw the positions' vectors and where they are added."""
    _add(diagram, PLACES, 104, tone)
    diagram.box(20, PLACES - 16, 84, 32, "positions", tone=tone)
    diagram.shape(62, PLACES + 30, "(T, D)")


def _add(diagram: Diagram, y: float, start: float, tone: str) -> None:
    """Draw a plus on each lane, and the line along them that brings what is added."""
    diagram.line([(start, y), (LANES[-1], y)], _inside(tone)[1], LOOKS[tone][2])
    for x in LANES:
        diagram.plus(x, y, tone, radius=9)


def _attention(diagram: Diagram, tone: str, several: bool) -> None:
    """Draw attention across the lanes: each one takes from those before it."""
    for behind in (12, 6) if several else ():
        diagram.box(LEFT + behind, ATTEND - behind, WIDE, 74, tone=tone)
    diagram.box(LEFT, ATTEND, WIDE, 74, tone=tone)
    words, line = _inside(tone)
    name = "attention, H heads" if several else "attention"
    diagram.text(LEFT + WIDE / 2, ATTEND + 15, name, words)
    y = ATTEND + 62
    for j, to in enumerate(LANES):
        for i, start in enumerate(LANES[:j]):
            up = y - 18 - 12 * (j - i - 1)
            diagram.bow(((start, y), (start, up), (to, up), (to, y)), line)
    for x in LANES:
        diagram.circle(x, y, 3.5, line)


def _feed_forward(diagram: Diagram, tone: str) -> None:
    """Draw the feed-forward network of each lane: it widens, and narrows again."""
    diagram.box(LEFT, FORWARD, WIDE, 66, tone=tone)
    words, line = _inside(tone)
    diagram.text(LEFT + WIDE / 2, FORWARD + 14, "feed-forward", words)
    top, middle, bottom = FORWARD + 29, FORWARD + 43, FORWARD + 57
    for x in LANES:
        right = [(x + 6, top), (x + 24, middle), (x + 6, bottom)]
        left = [(x - 6, bottom), (x - 24, middle), (x - 6, top)]
        diagram.area([*right, *left], "paper", line)
    diagram.shape(SHAPES, middle, "D→4D→D", anchor="start")


def _block(diagram: Diagram, tone: str) -> None:
    """Draw what makes a block: norms, the lines past attention and feed-forward."""
    words, line = _inside(tone)
    size = (376, BLOCK_END - BLOCK)
    diagram.rect(76, BLOCK, *size, "none", line, 1.5, radius=12, dash="2 5")
    diagram.text(46, (BLOCK + BLOCK_END) / 2, "× N", words, bold=True)
    for branch, norm, add in [
        (BLOCK + 14, NORM_1, ADD_1),
        (ADD_1 + 20, NORM_2, ADD_2),
    ]:
        past = [(PAST, branch), (PAST, add)]
        diagram.line(
            [(LANES[-1], branch), *past, (LANES[0], add)], line, LOOKS[tone][2]
        )
        for x in LANES:
            diagram.circle(x, branch, 3.5, line)
        diagram.box(LEFT, norm, WIDE, 26, "norm", tone=tone)
        _add(diagram, add, LANES[0], tone)


def _head(diagram: Diagram, tone: str) -> None:
    """Draw the last norm, the head and the logits."""
    diagram.box(LEFT, NORM, WIDE, 26, "norm", tone=tone)
    diagram.box(LEFT, HEAD, WIDE, 30, "head", tone=tone)
    floor = LOGITS + 26
    for x, heights in zip(LANES, LOGIT_BARS, strict=True):
        for i, high in enumerate(heights):
            diagram.rect(x - 15 + 8 * i, floor - high, 6, high, tone, radius=1)
        diagram.line([(x - 19, floor), (x + 19, floor)], "edge")
    diagram.shape(SHAPES, LOGITS + 14, "(B, T, V)", anchor="start")


def _inside(tone: str) -> tuple[str, str]:
    """The tones of words and of lines inside a box."""
    return ("quiet", "edge") if tone == "quiet" else ("ink", tone)
