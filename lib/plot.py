"""Pictures: each helper takes plain numbers and labels and returns the figure.

In a notebook the figure of a cell's last line appears under the cell. In a script the
figures open when the script ends, and are left out where there is no display.
"""

from __future__ import annotations

import atexit
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.backends import BackendFilter, backend_registry
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["loss_curve", "heat_map", "bar_chart", "attention_maps", "visible"]

sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.9)
plt.rcParams.update({"figure.dpi": 110, "figure.constrained_layout.use": True})


def visible(characters: Sequence[str]) -> list[str]:
    """Return labels in which space and newline can be seen."""
    return [{" ": "␣", "\n": "↵"}.get(character, character) for character in characters]


def loss_curve(
    losses: Mapping[str, Sequence[float]], levels: Mapping[str, float] | None = None
) -> Figure:
    """Draw losses over training steps, with named horizontal lines to compare with.

    Args:
        losses: name of a run -> its loss at each step, in nats.
        levels: name -> loss in nats, drawn as a dashed line with its name.
    """
    figure, axes = plt.subplots(figsize=(7, 3.5))
    for name, values in losses.items():
        axes.plot(values, label=name)
    for name, level in (levels or {}).items():
        axes.axhline(level, color="0.45", linestyle="--", linewidth=1)
        axes.annotate(
            name, (1, level), xycoords=("axes fraction", "data"), xytext=(-4, -3),
            textcoords="offset points", ha="right", va="top", color="0.25",
        )  # fmt: skip
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    if len(losses) > 1:
        axes.legend()
    return _finished(figure)


def heat_map(
    matrix: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    xlabel: str,
    ylabel: str,
    size: tuple[float, float] = (7, 6.3),
    top: float | None = None,
    gamma: float = 1.0,
) -> Figure:
    """Draw a matrix of probabilities as colours, from white (small) to dark (large).

    Args:
        matrix: ``(R, C)``.
        rows: R labels, from top to bottom.
        columns: C labels, from left to right.
        xlabel: what the columns are.
        ylabel: what the rows are.
        size: width and height in inches.
        top: the value of the darkest colour; the largest entry decides if None.
        gamma: below 1 it lets small values show: colour = value ** gamma.

    Raises:
        ValueError: if the labels do not fit the matrix.
    """
    if matrix.shape != (len(rows), len(columns)):
        raise ValueError(
            f"matrix has shape {tuple(matrix.shape)} but there are {len(rows)} row "
            f"and {len(columns)} column labels"
        )
    figure, axes = plt.subplots(figsize=size)
    sns.heatmap(
        matrix.detach().numpy(), cmap="Blues", norm=PowerNorm(gamma, 0, top), ax=axes,
        xticklabels=list(columns), yticklabels=list(rows), square=True,
        cbar_kws={"label": "probability", "shrink": 0.7, "pad": 0.02},
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
    size = (3.1 * n_heads, 3.1 * n_layers)
    share = dict(squeeze=False, sharex=True, sharey=True)
    figure, grid = plt.subplots(n_layers, n_heads, figsize=size, **share)
    for layer, row in enumerate(grid):
        for head, axes in enumerate(row):
            square = weights[layer][head].detach().numpy()
            axes.imshow(square, cmap="Blues", vmin=0, vmax=1)
            axes.set_title(f"layer {layer + 1}, head {head + 1}")
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
