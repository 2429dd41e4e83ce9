"""A picture with a slider that moves with and without a kernel.

Every position of the slider is drawn beforehand; a few lines of JavaScript in the
output swap the pictures. So it works on the site, from disk, in JupyterLab, in Colab.
"""

from __future__ import annotations

import base64
import html
import io
import json
import uuid
from collections.abc import Callable, Sequence
from typing import TypeVar

import matplotlib.pyplot as plt
from IPython.display import HTML
from matplotlib.figure import Figure

__all__ = ["slider"]

Value = TypeVar("Value")

PAGE = """\
<figure id="{id}" style="margin: 0; max-width: {width}px">
<img src="{picture}" alt="{alt}" style="width: 100%">
<label style="display: flex; gap: .8em; align-items: center">{label}
<input type="range" min="0" max="{last}" value="{start}" style="flex: 1"
 aria-valuetext="{name}"><b style="min-width: 4em">{name}</b></label>
<script>(() => {{
  const frames = {frames}, root = document.getElementById("{id}");
  const [image, input, name] = ["img", "input", "b"].map(s => root.querySelector(s));
  input.addEventListener("input", () => {{
    const frame = frames[input.value];
    [image.src, image.alt, name.textContent] = [frame.picture, frame.alt, frame.name];
    input.setAttribute("aria-valuetext", frame.name);
  }});
}})()</script>
</figure>"""


def slider(
    draw: Callable[[Value], Figure],
    values: Sequence[Value],
    label: str,
    alt: Callable[[Value], str],
    name: Callable[[Value], str] = str,
    start: int = 0,
) -> HTML:
    """Draw one picture per value and return them with a slider that chooses.

    Args:
        draw: draws the picture of a value.
        values: the values, from the left end of the slider to the right.
        label: what the slider changes.
        alt: says in words what the picture of a value shows.
        name: how a value is written beside the slider.
        start: index of the value shown first.

    Raises:
        ValueError: if ``start`` is not an index of ``values``.
    """
    if not 0 <= start < len(values):
        raise ValueError(f"start={start} must be 0 .. {len(values) - 1}")
    frames = [
        {"picture": _png(draw(v)), "alt": alt(v), "name": name(v)} for v in values
    ]
    first = {key: html.escape(text) for key, text in frames[start].items()}
    texts = label + "".join(frame["name"] + frame["alt"] for frame in frames)
    return HTML(
        PAGE.format(
            id=f"frames-{uuid.uuid5(uuid.NAMESPACE_OID, texts)}",
            label=html.escape(label),
            frames=json.dumps(frames).replace("</", "<\\/"),
            width=640,
            start=start,
            last=len(values) - 1,
            **first,
        )
    )


def _png(figure: Figure) -> str:
    """Return a figure as the address of an embedded picture, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
