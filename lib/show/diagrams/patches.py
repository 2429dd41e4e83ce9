"""Diagrams of the lesson beyond text: a picture as tokens, and a caption for it."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["patch_encoder", "square_patches", "caption_decoder"]

PICTURE = (
    "A picture of 8 by 8 pixels, a handwritten seven, is cut into 16 patches of 2 by 2 "
    "pixels. Each patch is flattened to four numbers and multiplied by one matrix E; a "
    "vector for its place is added. The 16 tokens pass an encoder of two blocks, which "
    "is not new. The mean of the 16 vectors that come out goes to a head with ten "
    "logits, one for each digit."
)
SQUARES = (
    "A picture of 4 by 4 pixels, numbered line by line, twice. As squares, the first "
    "token holds pixels 0, 1, 4 and 5. As strips, which a reshape alone gives, it "
    "holds 0, 1, 2 and 3, a whole line."
)
CAPTION = (
    "Left: a picture passes the trained encoder, which is frozen, and becomes a memory "
    "of 16 vectors. Right: the caption so far, beginning mark, s, e, v, passes "
    "self-attention, which sees its own past. Cross-attention takes queries from the "
    "caption, keys and values from the memory. Feed-forward and head follow. The next "
    "letters come out: s, e, v, e."
)
SEVEN = (  # how dark each pixel is: 0, 1 or 2
    "00122100",
    "01222200",
    "01101220",
    "00001210",
    "00122221",
    "00122100",
    "00012100",
    "00022000",
)
DARK = ("paper", "soft", "edge")


def patch_encoder() -> Diagram:
    """Draw the way of a picture through patches and encoder to a class."""
    diagram = Diagram("patch-encoder", "A picture as tokens", PICTURE, height=566)
    diagram.text(96, 30, "picture", bold=True)
    diagram.text(356, 30, "16 patches", bold=True)
    _picture(diagram, 24, 50, 18)
    diagram.note(226, 98, "cut", "ink", "middle")
    diagram.arrow([(184, 122), (268, 122)], "new", 2.5)
    for n in range(16):
        row, column = divmod(n, 4)
        _patch(diagram, 284 + 38 * column, 48 + 38 * row, row, column)
    diagram.arrow([(356, 202), (356, 218)], "new", 2.5)
    remark = "one E for all"
    diagram.box(24, 222, 432, 54, "flatten, times E, plus place", remark, "new")
    _tokens(diagram, 292, "new")
    diagram.shape(240, 344, "16 tokens (N, D)")
    diagram.arrow([(240, 356), (240, 370)])
    diagram.box(24, 374, 432, 50, "encoder", "two blocks, not new, no mask")
    _tokens(diagram, 440, "ink")
    diagram.arrow([(240, 478), (240, 492)])
    diagram.box(120, 496, 240, 52, "mean, head", "ten logits", "new")
    return diagram


def square_patches() -> Diagram:
    """Draw one small picture cut into squares, and into strips."""
    diagram = Diagram("square-patches", "Squares and strips", SQUARES, height=262)
    squares = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    strips = [[4 * n + i for i in range(4)] for n in range(4)]
    for left, name, rows in ((48, "squares", squares), (272, "strips", strips)):
        diagram.text(left + 80, 30, name, bold=True)
        tones = {pixel: TOKEN_TONES[n] for n, row in enumerate(rows) for pixel in row}
        for pixel in range(16):
            x, y = left + 40 * (pixel % 4), 50 + 36 * (pixel // 4)
            diagram.rect(x, y, 38, 34, tones[pixel], "edge", 1, radius=3)
            diagram.shape(x + 19, y + 17, str(pixel), "ink")
        diagram.note(left, 222, "first token:", "ink")
        diagram.shape(left, 243, ", ".join(map(str, rows[0])), "ink", "start")
    return diagram


def caption_decoder() -> Diagram:
    """Draw a decoder that writes while it looks at the patches of a picture."""
    diagram = Diagram("caption-decoder", "A caption for a picture", CAPTION, height=428)
    diagram.text(112, 30, "picture", bold=True)
    _picture(diagram, 64, 48, 12)
    diagram.arrow([(112, 148), (112, 164)])
    diagram.box(24, 168, 176, 50, "encoder", "trained, frozen", "quiet")
    diagram.arrow([(112, 220), (112, 234)])
    for n in range(16):
        diagram.rect(24 + 11.2 * n, 238, 8, 30, "accent-soft", "accent", 1, radius=2)
    diagram.shape(112, 286, "memory (16, D)")
    diagram.text(352, 30, "caption so far", bold=True)
    diagram.cells(248, 48, [["<bos>", "s", "e", "v"]], 52, 32)
    diagram.arrow([(352, 82), (352, 108)])
    diagram.box(248, 112, 208, 50, "self-attention", "sees its own past")
    diagram.arrow([(352, 164), (352, 222)])
    diagram.arrow([(206, 253), (244, 253)], "new", 2.5)
    diagram.box(248, 226, 208, 54, "cross-attention", "keys, values: patches", "new")
    diagram.arrow([(352, 282), (352, 302)])
    diagram.box(248, 306, 208, 36, "feed-forward, head")
    diagram.arrow([(352, 344), (352, 358)])
    diagram.cells(248, 362, [["s", "e", "v", "e"]], 52, 32, "accent")
    diagram.note(352, 408, "the next letter", "ink", "middle")
    return diagram


TOKEN_TONES = ("new-soft", "accent-soft", "soft", "paper")  # of tokens 0 to 3


def _picture(diagram: Diagram, x: float, y: float, cell: float) -> None:
    """Draw the handwritten seven as a table of pixels."""
    for row, line in enumerate(SEVEN):
        for column, dark in enumerate(line):
            if dark != "0":
                at = x + cell * column, y + cell * row
                diagram.rect(*at, cell, cell, DARK[int(dark)], radius=0)
    diagram.grid(x, y, (8, 8), (cell, cell), "rule", 1.5, radius=0)


def _patch(diagram: Diagram, x: float, y: float, row: int, column: int) -> None:
    """Draw one patch of the seven: its four pixels."""
    for i in range(4):
        down, right = divmod(i, 2)
        dark = int(SEVEN[2 * row + down][2 * column + right])
        diagram.rect(x + 16 * right, y + 16 * down, 16, 16, DARK[dark], radius=0)
    diagram.rect(x, y, 32, 32, "none", "new", 1.5, radius=2)


def _tokens(diagram: Diagram, y: float, tone: str) -> None:
    """Draw 16 vectors in a row."""
    fill, line = ("new-soft", "new") if tone == "new" else ("paper", "edge")
    for n in range(16):
        diagram.rect(26 + 27 * n, y, 21, 34, fill, line, 1.5, radius=3)
