"""Diagrams of the lesson on generation: the loop, the cache, passes, and drafts."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["writing_loop", "cache_step", "prefill_decode", "speculation"]

LOOP = (
    "The tokens so far stand at the top. The newest goes into the GPT, which has a new "
    "part beside it: a cache with the keys and values of all earlier tokens. Logits "
    "come out. New rules, penalty, temperature, top-k and top-p, decide what may come, "
    "one token is drawn, and it is appended to the text, from where all begins again."
)
STEP = (
    "Two tables of queries and keys for five tokens. Without a cache all rows are "
    "computed again for each new token. With a cache only the last row is, from five "
    "keys, four of which were kept and one is new."
)
PASSES = (
    "Six passes through the weights, one after the other. The first, prefill, reads "
    "the whole prompt: its bar of multiplications is high. The other five decode one "
    "token each: their bars are low. Below, the bar of weights read is equal in all."
)
DRAFT = (
    "After the text, To be, or, the draft proposes four tokens: space, n, i, c. In one "
    "pass the target accepts the first two and rejects i. It draws its own o instead, "
    "and the c behind it is thrown away: three new tokens for one pass."
)
CELL = 30
TEXT = "My␣lo"  # what is there already; the next token is r
N = 5  # tokens in the two tables
SIDE = 34
BARS = (44, 30, 12, 20, 6, 26, 9)
N_DECODED = 5


def writing_loop() -> Diagram:
    """Draw how a GPT writes: read, choose, append; the rules and the cache are new."""
    diagram = Diagram("writing-loop", "How a GPT writes", LOOP, height=412)
    left, wide, middle = 24, 200, 124
    diagram.cells(left, 28, [TEXT], CELL, CELL)
    end = left + CELL * len(TEXT)
    diagram.cells(end + 6, 28, ["r"], CELL, CELL, "new")
    newest = end - CELL / 2
    diagram.arrow([(newest, 61), (newest, 77), (middle, 77), (middle, 95)])
    diagram.box(left, 98, wide, 54, "GPT", "reads the newest token")
    diagram.box(288, 98, 152, 54, "cache", "keys and values", "new")
    diagram.arrow([(227, 114), (285, 114)], "new", 2)
    diagram.arrow([(285, 137), (227, 137)], "new", 2)
    diagram.note(288, 172, "of all earlier tokens")
    for i, high in enumerate(BARS):
        diagram.rect(middle - 56 + 16 * i, 222 - high, 12, high, "edge", radius=2)
    diagram.note(left, 188, "logits")
    diagram.shape(left, 210, "(V)", anchor="start")
    diagram.arrow([(middle, 155), (middle, 173)])
    diagram.arrow([(middle, 228), (middle, 250)])
    diagram.box(left, 253, wide, 54, "rules", "what may come?", "new")
    for i, words in enumerate(("repetition penalty", "temperature", "top-k, top-p")):
        diagram.note(244, 260 + 21 * i, words, "ink")
    diagram.arrow([(middle, 310), (middle, 338)])
    diagram.box(left, 341, wide, 46, "draw one token")
    back = [(227, 364), (462, 364), (462, 43), (end + 6 + CELL + 4, 43)]
    diagram.arrow(back, "ink")
    diagram.note(244, 382, "append it, and read it")
    return diagram


def cache_step() -> Diagram:
    """Draw which rows of attention a new token needs, without a cache and with one."""
    diagram = Diagram("cache-step", "Attention for one new token", STEP, height=340)
    top = 66
    for left, name, first in ((44, "without a cache", 0), (266, "with a cache", N - 1)):
        right, bottom = left + SIDE * N, top + SIDE * N
        diagram.text((left + right) / 2, 34, name, bold=True)
        for row in range(first, N):
            width = SIDE * (row + 1)
            diagram.rect(left, top + SIDE * row, width, SIDE, "new-soft", radius=0)
        diagram.grid(left, top, (N, N), (SIDE, SIDE), "edge")
        diagram.rect(left, bottom - SIDE, SIDE * N, SIDE, "none", "new", 3, radius=4)
        for row in range(N):
            tone = "ink" if row >= first else "quiet"
            diagram.shape(left - 16, top + SIDE * (row + 0.5), str(row), tone)
        cells = bottom + 34
        kept = [[str(i) for i in range(first)]]
        fresh = [[str(i) for i in range(first, N)]]
        if first:
            diagram.cells(left, cells, kept, SIDE, SIDE, "accent")
        diagram.cells(left + SIDE * first, cells, fresh, SIDE, SIDE, "new")
        diagram.note(left, bottom + 20, "keys and values")
    diagram.note(44, 318, "rows: queries")
    diagram.note(266, 318, "0 to 3 kept, 4 new")
    return diagram


def prefill_decode() -> Diagram:
    """Draw the passes of prefill and decoding, their work, and the weights."""
    diagram = Diagram("prefill-decode", "Prefill and decoding", PASSES, height=366)
    left, wide, gap, floor = 24, 120, 50, 190
    diagram.note(left, 30, "multiplications", "ink")
    diagram.rect(left, 52, wide, floor - 52, "accent-soft", "accent", 1.5, radius=4)
    diagram.text(left + wide / 2, 108, "prefill", bold=True)
    diagram.note(left + wide / 2, 132, "whole prompt", anchor="middle")
    starts = [left + wide + 24 + (gap + 8) * i for i in range(N_DECODED)]
    for i, x in enumerate(starts):
        diagram.rect(x, floor - 8, gap, 8, "new-soft", "new", 2, radius=2)
        diagram.shape(x + gap / 2, floor - 24, f"+{i + 1}", "ink")
    middle = (starts[0] + starts[-1] + gap) / 2
    diagram.text(middle, 108, "decoding", bold=True)
    diagram.note(middle, 132, "one token a pass", anchor="middle")
    diagram.note(left, 222, "weights read from memory", "ink")
    for x, width in [(left, wide), *((x, gap) for x in starts)]:
        diagram.rect(x, 238, width, 44, "soft", "edge", 1.5, radius=4)
        diagram.text(x + width / 2, 260, "all")
    diagram.arrow([(left, 306), (456, 306)])
    diagram.note(left, 332, "compute-bound")
    diagram.note(middle, 332, "memory-bound", anchor="middle")
    diagram.note(456, 332, "time", anchor="end")
    return diagram


def speculation() -> Diagram:
    """Draw one round of speculative decoding: drafted, checked, corrected."""
    diagram = Diagram("speculation", "One round of drafting", DRAFT, height=330)
    text, drafted = "be,␣or", "␣nic"
    size = 33
    start = 112
    first = start + size * len(text)
    diagram.note(24, 46, "draft")
    diagram.cells(start, 30, [text], size, size, "quiet")
    diagram.cells(first, 30, [drafted], size, size)
    diagram.note(first, 82, "4 small passes")
    diagram.note(24, 150, "target")
    diagram.box(start, 128, size * 10, 44, "one pass over all of it", tone="new")
    marks = ("yes", "yes", "no")
    for i, mark in enumerate(marks):
        x = first + size * (i + 0.5)
        diagram.arrow([(x, 175), (x, 199)], "new" if mark == "no" else "accent")
        diagram.note(x, 214, mark, "ink", "middle")
    diagram.note(24, 250, "text")
    diagram.cells(start, 234, [text], size, size, "quiet")
    diagram.cells(first, 234, [drafted[:2]], size, size, "accent")
    diagram.cells(first + 2 * size, 234, ["o"], size, size, "new")
    diagram.hatch(first + 3 * size, 234, size, size)
    diagram.note(start, 290, "two accepted, one of its own")
    return diagram
