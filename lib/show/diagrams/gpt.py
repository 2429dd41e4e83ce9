"""Diagrams of the lesson on GPT: its names, its parameters, and a file of GPT-2."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["gpt_names", "gpt2_parameters", "gpt2_file"]

NAMES = (
    "From top to bottom, with the names that the code gives: ids of shape B by T; "
    "tokens, an nn.Embedding of V by D numbers; positions, LearnedPositions of T by D; "
    "blocks, n times a Block of attention_norm, attention, ffn_norm and ffn; "
    "final_norm, a LayerNorm; head, an nn.Linear of V by D; logits of shape B by T by "
    "V. A line in colour joins tokens and head: with tied weights both are one table."
)
ROWS = [  # attribute, class, shape of its weights, how it looks
    ("tokens", "nn.Embedding", "(V, D)", "ink"),
    ("positions", "LearnedPositions", "(T, D)", "ink"),
    ("attention_norm", "LayerNorm", "2 D", "quiet"),
    ("attention", "MultiHeadAttention", "4 × D × D", "quiet"),
    ("ffn_norm", "LayerNorm", "2 D", "quiet"),
    ("ffn", "FeedForward", "2 × F × D", "quiet"),
    ("final_norm", "LayerNorm", "2 D", "new"),
    ("head", "nn.Linear", "(V, D)", "new"),
]
TOPS = (58, 108, 182, 228, 274, 320, 396, 446)  # of the rows
LEFT, WIDE, TALL, SIDE = 158, 176, 32, 346

PARAMETERS = (
    "All parameters of GPT-2's smallest model as areas. The table of token vectors "
    "is nearly a third. The table of positions is a thin strip. Below stand twelve "
    "equal blocks; in each, attention takes one third and feed-forward two thirds. "
    "Norms are too small to be seen."
)
D, V, T, N_BLOCKS = 768, 50_257, 1_024, 12  # GPT-2's smallest
COUNTS = {
    "tokens": V * D,
    "positions": T * D,
    "attention": N_BLOCKS * (4 * D * D + 4 * D),
    "feed-forward": N_BLOCKS * (8 * D * D + 5 * D),
    "norms": N_BLOCKS * 4 * D + 2 * D,
}
AREA = (20, 24, 290, 480)  # left, top, width and height of all parameters together

FILE = (
    "At the top stands the matrix c_attn of a file of GPT-2: two rows, one for each "
    "number that comes in, and six columns, two for queries, two for keys, two for "
    "values. Turned, it has six rows and two columns. Cut into three from top to "
    "bottom, it gives q_proj, k_proj and v_proj, each of two rows and two columns."
)
PARTS = (("q", "accent"), ("k", "ink"), ("v", "new"))


def gpt_names() -> Diagram:
    """Draw a GPT with the names of its parts in the code and their shapes."""
    diagram = Diagram("gpt-names", "A GPT by its names in the code", NAMES, height=540)
    middle = LEFT + WIDE / 2
    diagram.rect(8, 166, 440, 202, "none", "edge", 1.5, radius=12, dash="2 5")
    diagram.shape(20, 152, "blocks: n × Block", "ink", "start")
    diagram.shape(middle, 28, "ids (B, T)", "ink")
    diagram.arrow([(middle, 38), (middle, TOPS[0] - 3)], "edge")
    for (name, kind, size, tone), top in zip(ROWS, TOPS, strict=True):
        ink = "quiet" if tone == "quiet" else "ink"
        diagram.shape(LEFT - 10, top + TALL / 2, name, ink, "end")
        diagram.box(LEFT, top, WIDE, TALL, kind, tone=tone)
        diagram.shape(SIDE, top + TALL / 2, size, ink, "start")
    for top, below in zip(TOPS, TOPS[1:], strict=False):
        diagram.arrow([(middle, top + TALL + 2), (middle, below - 2)], "edge")
    diagram.arrow([(middle, TOPS[-1] + TALL + 2), (middle, 504)], "edge")
    diagram.shape(middle, 518, "logits (B, T, V)", "ink")
    ends = TOPS[0] + TALL / 2, TOPS[-1] + TALL / 2
    corners = [(406, ends[0]), (464, ends[0]), (464, ends[1]), (406, ends[1])]
    diagram.line(corners, "new", 2.5)
    diagram.note(396, TOPS[0] - 14, "one table", "ink")
    return diagram


def gpt2_parameters() -> Diagram:
    """Draw where the parameters of GPT-2's smallest model sit, as areas."""
    title = "Where GPT-2's 124 million parameters sit"
    left, top, width, height = AREA
    diagram = Diagram("gpt2-parameters", title, PARAMETERS, height=height + 100)
    scale = height / sum(COUNTS.values())  # units of height of one parameter
    tokens, places = (scale * COUNTS[name] for name in ("tokens", "positions"))
    diagram.rect(left, top, width, tokens, "new-soft", "new", 2.5, radius=0)
    diagram.text(left + width / 2, top + tokens / 2, "token vectors")
    diagram.rect(left, top + tokens, width, places, "ink", radius=0)
    start = top + tokens + places
    both = COUNTS["attention"] + COUNTS["feed-forward"]
    tall, wide = scale * both / N_BLOCKS, width * COUNTS["attention"] / both
    for i in range(N_BLOCKS):
        y = start + tall * i
        diagram.rect(left, y, wide, tall, "accent-soft", "accent", 1, radius=0)
        diagram.rect(left + wide, y, width - wide, tall, "paper", "edge", 1, radius=0)
    middle = start + tall * 5.5
    diagram.note(left + wide / 2, middle, "attention", "ink", "middle")
    diagram.note(left + (wide + width) / 2, middle, "feed-forward", "ink", "middle")
    _sizes(diagram, top + tokens / 2, start)
    return diagram


def _sizes(diagram: Diagram, table: float, start: float) -> None:
    """Write how many parameters each part has, beside its area."""
    side = AREA[0] + AREA[2] + 12
    rows = {"tokens": table, "positions": start - 2}
    rows |= {"attention": start + 136, "feed-forward": start + 188}
    for name, y in rows.items():
        diagram.note(side, y - 10, name, "ink")
        diagram.shape(side, y + 10, f"{COUNTS[name] / 1e6:.1f} M", anchor="start")
    diagram.text(side, start + 88, "12 blocks", anchor="start", bold=True)
    bottom = AREA[1] + AREA[3] + 30
    words = f"norms: {COUNTS['norms'] / 1e6:.2f} M, too small to be seen"
    diagram.note(AREA[0], bottom, words, "ink")
    total = f"all: {sum(COUNTS.values()):,} parameters"
    diagram.note(AREA[0], bottom + 24, total, "ink")


def gpt2_file() -> Diagram:
    """Draw how the matrix c_attn of GPT-2 becomes those of queries, keys, values."""
    diagram = Diagram("gpt2-file", "Three matrices in one", FILE, height=424)
    wide, tall, left = 44, 30, 28
    diagram.shape(left, 30, "attn.c_attn.weight  (D, 3 D)", "ink", "start")
    for i, (name, tone) in enumerate(PARTS):
        numbers = [2 * i + 1, 2 * i + 2]
        x = left + 2 * wide * i
        diagram.shape(x + wide, 58, name, "ink")
        rows = [[str(n) for n in numbers], [str(10 * n) for n in numbers]]
        diagram.cells(x, 74, rows, wide, tall, tone)
        turned = [[str(n), str(10 * n)] for n in numbers]
        diagram.cells(left, 196 + 2 * tall * i, turned, wide, tall, tone)
        y = 178 + 78 * i
        diagram.cells(258, y, turned, wide, tall, tone)
        diagram.shape(352, y + tall, f"{name}_proj", "ink", "start")
        middle = 196 + 2 * tall * i + tall
        start = left + 2 * wide + 6
        turn = start + 70
        curve = (start, middle), (turn, middle), (turn, y + tall), (252, y + tall)
        diagram.bow(curve, "edge", head=True)
    diagram.arrow([(left + wide, 140), (left + wide, 190)], "edge")
    diagram.note(left + wide + 14, 164, "turn: .T", "ink")
    diagram.note(122, 396, "cut: .chunk(3)", "ink")
    return diagram
