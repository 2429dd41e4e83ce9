"""Diagrams of the lesson on scaling: what each process keeps, and what runs twice."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["shared_memory", "recomputed"]

KEPT = ["weights", "gradients", "state"]
WAYS = [  # a name, what is shared out, and which of the three that concerns
    ("DDP", "everything in each process", 0),
    ("ZeRO-1", "the optimiser's state shared out", 1),
    ("FSDP", "weights and gradients too", 3),
]
LEFT, WIDE, APART = 108, 168, 190  # the first column of bars, and the next
TALL, LINE, TOP, ROW = 18, 24, 62, 122

BLOCKS = ["block 1", "block 2", "block 3"]
PLACES, BOX = (110, 236, 362), 104  # left edges of the blocks


def shared_memory() -> Diagram:
    """Draw what two processes keep when they train one model in each of three ways."""
    words = "; ".join(f"{name}: {what}" for name, what, _ in WAYS)
    words = (
        "What two processes keep of weights, gradients and the optimiser's state. "
        f"{words}. A bar of half the length is one half of the numbers."
    )
    height = TOP + ROW * len(WAYS) - 4
    diagram = Diagram("shared-memory", "What each process keeps", words, height=height)
    for process in range(2):
        x = LEFT + APART * process
        diagram.text(x + WIDE / 2, 28, f"process {process}", bold=True)
    for row, (name, what, n_shared) in enumerate(WAYS):
        top = TOP + ROW * row
        diagram.note(14, top, f"{name}: {what}", "ink")
        for i, part in enumerate(KEPT):
            y = top + 18 + LINE * i
            diagram.note(14, y + TALL / 2, part)
            for process in range(2):
                _bar(diagram, LEFT + APART * process, y, process, i >= 3 - n_shared)
    return diagram


def _bar(diagram: Diagram, x: float, y: float, process: int, shared: bool) -> None:
    """Draw all of something, or this process's half of it."""
    if shared:
        diagram.rect(x, y, WIDE, TALL, "paper", "rule")
        start = x + process * WIDE / 2
        diagram.rect(start, y, WIDE / 2, TALL, "new-soft", "new", 2.5)
    else:
        diagram.rect(x, y, WIDE, TALL, "panel", "edge")


def recomputed() -> Diagram:
    """Draw a forward pass that keeps inputs only, and a backward pass that repeats."""
    words = (
        "Three blocks. In the forward pass each keeps only its input. In the backward "
        "pass, from the last block to the first, each runs forward once more from its "
        "input, gives its gradients, and forgets again."
    )
    diagram = Diagram("recomputed", "Recomputed activations", words, height=250)
    diagram.note(14, 60, "forward", "ink")
    diagram.note(14, 146, "backward", "ink")
    for number, (x, name) in enumerate(zip(PLACES, BLOCKS), start=1):
        diagram.rect(x, 40, BOX, 40, "paper", "rule")
        diagram.text(x + BOX / 2, 60, name)
        diagram.rect(x, 126, BOX, 40, "new-soft", "new", 2.5)
        diagram.note(x + BOX / 2, 146, "once more", "ink", anchor="middle")
        diagram.arrow([(x + 16, 84), (x + 16, 122)], "accent")
        diagram.note(x + 26, 103, f"input {number}")
    for x in PLACES[:2]:
        diagram.arrow([(x + BOX + 2, 60), (x + 124, 60)], "edge")
    for x in PLACES[1:]:
        diagram.arrow([(x - 2, 146), (x - 20, 146)], "new")
    diagram.note(240, 200, "kept: the inputs of all blocks,", anchor="middle")
    diagram.note(240, 222, "and all of one block at a time", anchor="middle")
    return diagram
