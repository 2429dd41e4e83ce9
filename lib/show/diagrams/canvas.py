"""What a drawing is made of, rectangles, circles, paths and words, and its SVG.

Every element has its light colours as attributes, and classes by which the style sheet
gives it the colours of the reader's scheme. So a drawing also shows where style sheets
are taken away, as in some previews of notebooks.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from lib.show.diagrams.scheme import LIGHT, SANS, STYLE

__all__ = ["Canvas", "Point", "number", "place"]

WIDTH = 480  # units; on a phone the drawing is 343 pixels wide

Point = tuple[float, float]


class Canvas:
    """A drawing that a notebook shows as an SVG, on a panel of its own.

    Args:
        name: what the ids in the drawing begin with; each drawing has its own.
        title: what the drawing is.
        description: in words, what it shows.
        height: in units, 480 of which are the drawing's width.
    """

    def __init__(self, name: str, title: str, description: str, height: float) -> None:
        self.name = name
        self.title = title
        self.description = description
        self.height = height
        self.parts: list[str] = []
        self.rect(0.5, 0.5, WIDTH - 1, height - 1, "panel", "rule", 1, radius=12)

    @property
    def alt(self) -> str:
        """The drawing in words: its title and its description."""
        return f"{self.title}. {self.description}"

    def svg(self) -> str:
        """Return the drawing as a text, which is the same every time."""
        ids = f"d-{self.name}-title", f"d-{self.name}-desc"
        size = f"{WIDTH} {number(self.height)}"
        lines = [
            '<svg xmlns="http://www.w3.org/2000/svg" class="d-diagram" role="img"',
            f' aria-labelledby="{" ".join(ids)}" viewBox="0 0 {size}"',
            f' width="{WIDTH}" height="{number(self.height)}"',
            ' style="max-width:100%;height:auto" stroke-linecap="round"',
            f' stroke-linejoin="round" font-family="{SANS}">',
            f'<title id="{ids[0]}">{escape(self.title)}</title>',
            f'<desc id="{ids[1]}">{escape(self.description)}</desc>',
        ]
        return "\n".join([*lines, STYLE, *self.parts, "</svg>\n"])

    def html(self) -> str:
        """Return the drawing as an image in HTML, with its words as ``alt``.

        JupyterLab shows it in a notebook that it does not trust yet, and no SVG there.
        """
        source = base64.b64encode(self.svg().encode("utf-8")).decode("ascii")
        return (
            f'<img src="data:image/svg+xml;base64,{source}" alt="{escape(self.alt)}" '
            f'width="{WIDTH}" style="max-width: 100%">\n'
        )

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, str]:
        """Show the drawing in a notebook, and its title where only text is shown."""
        return {
            "image/svg+xml": self.svg(),
            "text/html": self.html(),
            "text/plain": self.title,
        }

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str = "paper",
        line: str = "none",
        thick: float = 1.5,
        radius: float = 8,
        dash: str = "",
    ) -> None:
        """Draw a rectangle; ``fill`` and ``line`` are tones, or "none"."""
        size = f'width="{number(width)}" height="{number(height)}"'
        paint = _paint(fill, line, thick, dash)
        at = f'x="{number(x)}" y="{number(y)}"'
        self.parts.append(f'<rect {at} {size} rx="{number(radius)}" {paint}/>')

    def circle(
        self,
        x: float,
        y: float,
        radius: float,
        fill: str = "paper",
        line: str = "none",
        thick: float = 1.5,
    ) -> None:
        """Draw a circle around a point."""
        at = f'cx="{number(x)}" cy="{number(y)}" r="{number(radius)}"'
        self.parts.append(f"<circle {at} {_paint(fill, line, thick)}/>")

    def path(
        self, path: str, line: str, thick: float = 1.5, fill: str = "none"
    ) -> None:
        """Draw the line of a path that is written as in SVG."""
        self.parts.append(f'<path d="{path}" {_paint(fill, line, thick)}/>')

    def area(self, points: Sequence[Point], fill: str, line: str = "none") -> None:
        """Draw a polygon."""
        corners = " L".join(place(point) for point in points)
        self.path(f"M{corners} Z", line, fill=fill)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        tone: str = "ink",
        size: float = 16,
        anchor: str = "middle",
        mono: bool = False,
        bold: bool = False,
    ) -> None:
        """Write a line whose letters stand around the height ``y``."""
        font = ' font-family="monospace"' if mono else ""
        font += ' font-weight="600"' if bold else ""
        classes = f"d-{tone} d-mono" if mono else f"d-{tone}"
        at = f'x="{number(x)}" y="{number(y + 0.35 * size)}" text-anchor="{anchor}"'
        self.parts.append(
            f'<text {at} font-size="{number(size)}"{font} class="{classes}" '
            f'fill="{LIGHT[tone]}">{escape(words)}</text>'
        )


def number(value: float) -> str:
    """Return a coordinate as a text, rounded alike on every machine."""
    return f"{round(value + 1e-9, 2):g}"


def place(point: Point) -> str:
    """Return a point as a text."""
    return f"{number(point[0])} {number(point[1])}"


def _paint(fill: str, line: str, thick: float, dash: str = "") -> str:
    """The classes and attributes of an area's colour and of its line's."""
    classes, attributes = [], []
    for key, tone, ending in (("fill", fill, ""), ("stroke", line, "-line")):
        if tone != "none":
            classes.append(f"d-{tone}{ending}")
        attributes.append(f'{key}="{LIGHT.get(tone, "none")}"')
    if line != "none":
        attributes.append(f'stroke-width="{number(thick)}"')
    if dash:
        attributes.append(f'stroke-dasharray="{dash}"')
    return f'class="{" ".join(classes)}" {" ".join(attributes)}'
