"""Diagrams of the lesson on the Transformer block."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import product

from lib.show.diagrams.core import Diagram, require, signed

__all__ = ["layer_norm", "norm_places", "depth_paths"]

PLACES = (
    "Pre-norm: a branch leaves the stream, passes a norm and then attention or "
    "feed-forward, and is added to the stream, on which there is nothing else. "
    "Post-norm: the branch has no norm; after each addition a norm stands on the "
    "stream itself."
)
GAIN, BIAS = (1.0, 3.0, 0.5, 2.0), (1.0, 0.0, 0.0, -0.5)
Step = tuple[str, list[str], list[float]]  # name, remarks, the vector


def layer_norm(values: Sequence[float] = (4.0, 6.0, 2.0, 8.0)) -> Diagram:
    """Draw a vector as bars: as it is, minus its mean, divided by its std, scaled.

    Args:
        values: 2 to 4 numbers, not all the same.

    Raises:
        ValueError: if there are too few or too many, or all are the same.
    """
    right = 2 <= len(values) <= 4 and len(set(values)) > 1
    require("values", values, right, "2 to 4 numbers that are not all the same")
    steps = _norm_steps(values)
    said = (f"{name}: {', '.join(f'{v:.2f}' for v in row)}." for name, _, row in steps)
    name = "norm-" + "-".join(f"{value:g}" for value in values)
    scale = 72 / max(_extent(row) for _, _, row in steps)
    tall = [max(74, 48 + scale * _extent(row)) for _, _, row in steps]
    title, height = "Layer normalization of one vector", 88 + sum(tall)
    diagram = Diagram(name, title, " ".join(said), height)
    y = 24.0
    for i, ((name, remarks, row), high) in enumerate(zip(steps, tall, strict=True)):
        if i:
            diagram.line([(24, y - 8), (456, y - 8)], "rule", 1)
        top = y + high / 2 - 11 * len(remarks)
        diagram.text(24, top, name, anchor="start", bold=True)
        for j, remark in enumerate(remarks, start=1):
            diagram.note(24, top + 22 * j, remark)
        zero = y + (high - scale * _extent(row)) / 2 + scale * max(0, *row)
        _bars(diagram, zero, scale, row, "new" if i == 3 else "accent")
        y += high + 16
    return diagram


def _listed(name: str, numbers: Sequence[float]) -> str:
    return f"{name} {', '.join(f'{n:g}' for n in numbers)}".replace("-", "−")


def _norm_steps(values: Sequence[float]) -> list[Step]:
    """The vector before and after each step of the normalization."""
    mean, std = statistics.fmean(values), statistics.pstdev(values)
    centered = [value - mean for value in values]
    scaled = [value / std for value in centered]
    gain, bias = GAIN[: len(values)], BIAS[: len(values)]
    moved = [g * v + b for v, g, b in zip(scaled, gain, bias, strict=True)]
    return [
        ("x", [f"mean {signed(mean, 2)}", f"std {std:.2f}"], list(values)),
        ("− mean", ["mean 0"], centered),
        ("÷ std", ["mean 0", "std 1"], scaled),
        ("× gain + bias", [_listed("gain", gain), _listed("bias", bias)], moved),
    ]


def _extent(row: Sequence[float]) -> float:
    """How far apart the ends of bars are that start at 0."""
    return max(0, *row) - min(0, *row)


def _bars(
    diagram: Diagram, zero: float, scale: float, row: list[float], tone: str
) -> None:
    """Draw numbers as bars up and down from zero, each with its number."""
    pitch = 280 / len(row)
    for i, value in enumerate(row):
        middle, tall = 176 + pitch * (i + 0.5), max(abs(value) * scale, 1)
        top = zero - tall if value >= 0 else zero
        diagram.rect(middle - 15, top, 30, tall, tone, radius=2)
        end = zero - tall - 13 if value >= 0 else zero + tall + 13
        diagram.shape(middle, end, signed(value, 2), "ink")
    diagram.line([(176, zero), (456, zero)], "edge")


def norm_places() -> Diagram:
    """Draw pre-norm and post-norm side by side, on the stream."""
    diagram = Diagram("norm-places", "Where the norms stand", PLACES, height=476)
    for left, name, caption in [
        (24, "pre-norm", "nothing on the stream"),
        (252, "post-norm", "norms on the stream"),
    ]:
        stream = left + 168
        diagram.text(left + 102, 34, name, bold=True)
        diagram.note(left + 102, 448, caption, anchor="middle")
        diagram.arrow([(stream, 58), (stream, 424)], "edge", 2.5)
        for y, part in [(74, "attention"), (244, "feed-forward")]:
            _branch(diagram, stream, y, part, pre=name == "pre-norm")
    return diagram


def _branch(diagram: Diagram, stream: float, y: float, part: str, pre: bool) -> None:
    """Draw a branch off the stream, and where it comes back."""
    middle, top = stream - 106, y + 18
    diagram.circle(stream, y, 3.5, "edge")
    diagram.arrow([(stream, y), (middle, y), (middle, top - 2)])
    if pre:
        diagram.box(middle - 62, top, 124, 30, "norm", tone="new")
        diagram.arrow([(middle, top + 32), (middle, top + 50)])
        top += 52
    diagram.box(middle - 62, top, 124, 38, part)
    back = top + 60
    diagram.arrow([(middle, top + 40), (middle, back), (stream - 13, back)])
    diagram.plus(stream, back)
    if not pre:
        diagram.box(stream - 36, back + 22, 72, 30, "norm", tone="new")


def depth_paths(n_layers: int = 3) -> Diagram:
    """Draw every path through layers that can be passed by: 2 to the power of N.

    Args:
        n_layers: N, 1 to 4.

    Raises:
        ValueError: if there are fewer or more.
    """
    require("n_layers", n_layers, n_layers in range(1, 5), "1 to 4")
    paths = list(product((0, 1), repeat=n_layers))
    paths.sort(key=lambda path: (sum(path), path[::-1]))
    words = (
        f"Each of {n_layers} layers is passed through or passed by, which makes "
        f"{len(paths)} paths from the start of the stream to its end. One of them, the "
        "direct path, passes by all layers."
    )
    height = 132 + 30 * len(paths)
    diagram = Diagram(f"paths-{n_layers}", "Paths through the layers", words, height)
    for i in range(n_layers):
        diagram.note(_column(i, n_layers), 34, f"layer {i + 1}", "ink", "middle")
    middle = 62 + 15 * len(paths)
    for k in reversed(range(len(paths))):  # the direct path lies over the others
        _path(diagram, 77 + 30 * k, middle, paths[k])
    for x in (36, 444):
        diagram.circle(x, middle, 8, "paper", "ink", 2)
    factors = " · ".join("2" * n_layers) + f" = {len(paths)}" if n_layers > 1 else "2"
    caption = f"{factors} paths; the direct one passes by all"
    diagram.note(240, height - 36, caption, "ink", "middle")
    return diagram


def _column(i: int, n_layers: int) -> float:
    """Where a layer stands, from left to right."""
    return 96 + 288 * (i + 0.5) / n_layers


def _path(diagram: Diagram, y: float, middle: float, passed: Sequence[int]) -> None:
    """Draw one path from the start to the end, and the layers that it goes through."""
    look = ("edge", 1.5) if any(passed) else ("new", 3)
    diagram.bow(((36, middle), (66, middle), (56, y), (96, y)), *look)
    diagram.line([(96, y), (384, y)], *look)
    diagram.bow(((384, y), (424, y), (414, middle), (444, middle)), *look)
    for i, through in enumerate(passed):
        if through:
            left = _column(i, len(passed)) - 22
            diagram.rect(left, y - 9, 44, 18, "accent-soft", "accent", radius=5)
