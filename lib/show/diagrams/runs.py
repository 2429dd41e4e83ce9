"""Diagram of the lesson on training runs."""

from __future__ import annotations

from lib.show.diagrams.core import Diagram

__all__ = ["run_state"]

RUN = (
    "A process that will stop holds four things: the weights of the model, the running "
    "means of the optimiser, the step with all losses so far, and the generators of "
    "random numbers for batches and dropout. Each goes into one file, under names of "
    "its own, and from there to the same place in a new process, which goes on."
)
# What a run consists of, a remark, and how the names of its tensors begin.
PARTS = [
    ("weights", "of the model", ["model."]),
    ("optimiser", "running means", ["optimizer."]),
    ("step", "and all losses", ["run.losses"]),
    ("generators", "batch, dropout", ["run.generator", "run.torch"]),
]
LEFT, FILE, RIGHT = 12, 176, 332  # where the two processes and the file begin
WIDE, FILE_WIDE, TALL, APART = 136, 128, 52, 66
TOP = 60


def run_state() -> Diagram:
    """Draw what a training run consists of, the file that holds it, a new process."""
    end = TOP + APART * len(PARTS)
    diagram = Diagram("run-state", "The state of a training run", RUN, height=end + 34)
    for x, width, words in [
        (LEFT, WIDE, "the process"),
        (FILE, FILE_WIDE, "one file"),
        (RIGHT, WIDE, "a new process"),
    ]:
        diagram.text(x + width / 2, 34, words, bold=True)
    size = (FILE_WIDE, end - TOP)
    diagram.rect(FILE, TOP - 8, *size, "new-soft", "new", 2.5)
    for i, (name, remark, prefixes) in enumerate(PARTS):
        y = TOP + APART * i
        for x in (LEFT, RIGHT):
            diagram.box(x, y, WIDE, TALL - 2, name, remark)
        middle = y + TALL / 2
        for j, prefix in enumerate(prefixes):
            shift = 20 * (j - (len(prefixes) - 1) / 2)
            words = f"{prefix}*" if prefix.endswith(".") else prefix
            diagram.shape(FILE + FILE_WIDE / 2, middle + shift, words, "ink")
        diagram.arrow([(LEFT + WIDE + 3, middle), (FILE - 3, middle)], "accent")
        diagram.arrow([(FILE + FILE_WIDE + 3, middle), (RIGHT - 3, middle)], "accent")
    diagram.note(LEFT + WIDE / 2, end + 10, "stops here", anchor="middle")
    diagram.note(RIGHT + WIDE / 2, end + 10, "goes on from here", anchor="middle")
    return diagram
