"""Pictures: each helper takes plain numbers and labels and returns the figure.

In a notebook the figure of a cell's last line appears under the cell. In a script the
figures open when the script ends, and are left out where there is no display.
"""

from __future__ import annotations

import atexit
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends import BackendFilter, backend_registry
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

__all__ = [
    "line_chart",
    "loss_curve",
    "heat_map",
    "bar_chart",
    "attention_maps",
    "visible",
]

plt.style.use(Path(__file__).with_suffix(".mplstyle"))


def visible(characters: Sequence[str]) -> list[str]:
    """Return labels in which space and newline can be seen."""
    return [{" ": "␣", "\n": "↵"}.get(character, character) for character in characters]


def line_chart(
    lines: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    x: Sequence[float] | None = None,
    levels: Mapping[str, float] | None = None,
    log: bool = False,
) -> Figure:
    """Draw lines over one horizontal axis, with named horizontal levels to compare.

    Args:
        lines: name -> heights; with a single line the name is not shown.
        xlabel: what the horizontal axis is.
        ylabel: what a height is, with its unit.
        x: where the heights stand, from left to right; 0, 1, 2 ... if None.
        levels: name -> height, drawn as a dashed line with its name.
        log: whether the vertical axis is logarithmic.

    Raises:
        ValueError: if a line has not as many heights as ``x`` has places.
    """
    figure, axes = plt.subplots(figsize=(7, 3.5))
    for name, heights in lines.items():
        places = range(len(heights)) if x is None else x
        if len(places) != len(heights):
            raise ValueError(f"{name!r} has {len(heights)} heights for {len(x)} places")
        axes.plot(places, heights, label=name)
    for name, level in (levels or {}).items():
        axes.axhline(level, color="0.45", linestyle="--", linewidth=1)
        axes.annotate(
            name, (1, level), xycoords=("axes fraction", "data"), xytext=(-4, -3),
            textcoords="offset points", ha="right", va="top", color="0.25",
        )  # fmt: skip
    axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    if len(lines) > 1:
        axes.legend()
    return _finished(figure)


def loss_curve(
    losses: Mapping[str, Sequence[float]], levels: Mapping[str, float] | None = None
) -> Figure:
    """Draw losses over training steps, with named horizontal lines to compare with.

    Args:
        losses: name of a run -> its loss at each step, in nats.
        levels: name -> loss in nats, drawn as a dashed line with its name.
    """
    return line_chart(losses, "step", "loss (nats per token)", levels=levels)


def heat_map(
    matrix: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    xlabel: str,
    ylabel: str,
    size: tuple[float, float] = (7, 6.3),
    top: float | None = None,
    gamma: float = 1.0,
    label: str = "probability",
) -> Figure:
    """Draw a matrix as colours: white is 0, dark blue is large.

    Where entries are negative, they are red, and equal amounts are equally dark.

    Args:
        matrix: ``(R, C)``.
        rows: R labels, from top to bottom.
        columns: C labels, from left to right.
        xlabel: what the columns are.
        ylabel: what the rows are.
        size: width and height in inches.
        top: the value of the darkest colour; the largest entry decides if None.
        gamma: below 1 it lets small values show: colour = value ** gamma.
        label: what an entry is.

    Raises:
        ValueError: if the labels do not fit the matrix.
    """
    if matrix.shape != (len(rows), len(columns)):
        raise ValueError(
            f"matrix has shape {tuple(matrix.shape)} but there are {len(rows)} row "
            f"and {len(columns)} column labels"
        )
    values = matrix.detach().numpy()
    top = float(abs(values).max()) if top is None else top
    colours = {"cmap": "Blues", "norm": PowerNorm(gamma, 0, top)}
    if values.min() < 0:
        colours = {"cmap": "RdBu", "vmin": -top, "vmax": top}
    import seaborn as sns  # here: many lessons draw no such picture

    figure, axes = plt.subplots(figsize=size)
    sns.heatmap(
        values, ax=axes, xticklabels=list(columns), yticklabels=list(rows), square=True,
        cbar_kws={"label": label, "shrink": 0.7, "pad": 0.02}, **colours,
    )  # fmt: skip
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.tick_params(axis="x", rotation=0)
    axes.tick_params(axis="y", rotation=0)
    if len(rows) > 40:
        axes.tick_params(labelsize=6, pad=1)
    return _finished(figure)


def bar_chart(
    heights: Mapping[str, float], xlabel: str, ylabel: str, top: float | None = None
) -> Figure:
    """Draw one bar per label, in the order given.

    Args:
        heights: label -> height.
        xlabel: what the labels are.
        ylabel: what a height is, with its unit.
        top: the upper end of the vertical axis; the tallest bar decides if None.
    """
    figure, axes = plt.subplots(figsize=(7, 2.9))
    positions = np.arange(len(heights))
    axes.bar(positions, list(heights.values()))
    axes.set_xticks(positions, list(heights))
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, top))
    axes.grid(axis="x", visible=False)
    return _finished(figure)


def attention_maps(weights: Sequence[Tensor], labels: Sequence[str]) -> Figure:
    """Draw one square per layer and head: who looks at whom.

    Args:
        weights: one ``(H, T, T)`` tensor per layer; rows look, columns are looked at.
        labels: T labels of the positions.
    """
    n_layers, n_heads = len(weights), len(weights[0])
    columns = n_heads if n_layers > 1 else min(n_heads, 2)
    rows = math.ceil(n_layers * n_heads / columns)
    share = dict(squeeze=False, sharex=True, sharey=True)
    side = 3.1 if len(labels) <= 12 else 3.8  # inches
    size = (side * columns, side * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, **share)
    for axes in grid.flat[n_layers * n_heads :]:
        axes.set_visible(False)
    for i, axes in enumerate(grid.flat[: n_layers * n_heads]):
        layer, head = divmod(i, n_heads)
        axes.imshow(weights[layer][head].detach().numpy(), cmap="Blues", vmin=0, vmax=1)
        place = f"block {layer + 1}, " if n_layers > 1 else ""
        axes.set_title(f"{place}head {head + 1}")
        axes.grid(visible=False)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    figure.supxlabel("at this position")
    figure.supylabel("this position looks")
    return _finished(figure)


def _finished(figure: Figure) -> Figure:
    """Take the figure away from pyplot, or a notebook would show it twice."""
    if "inline" in plt.get_backend():
        plt.close(figure)
    return figure


@atexit.register
def _open_windows() -> None:
    """Show a script's figures at its end, where matplotlib can open windows."""
    interactive = backend_registry.list_builtin(BackendFilter.INTERACTIVE)
    if plt.get_fignums() and plt.get_backend().lower() in interactive:
        plt.show()
