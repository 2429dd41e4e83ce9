"""The words of the diagrams: boxes, cells, arrows, pluses, shapes and remarks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lib.show.diagrams.canvas import Canvas, Point, place
from lib.show.diagrams.scheme import LOOKS

__all__ = ["Diagram", "Point", "require", "signed"]

SMALL = 15  # size of the smallest letters; a phone shows them with 10.7 pixels


class Diagram(Canvas):
    """A diagram of a lesson: a drawing of boxes, cells and arrows."""

    def note(
        self, x: float, y: float, words: str, tone: str = "quiet", anchor: str = "start"
    ) -> None:
        """Write a remark."""
        self.text(x, y, words, tone, SMALL, anchor)

    def shape(
        self,
        x: float,
        y: float,
        words: str,
        tone: str = "quiet",
        anchor: str = "middle",
    ) -> None:
        """Write a shape such as (B, T, D), or a number."""
        self.text(x, y, words, tone, SMALL, anchor, mono=True)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        name: str = "",
        remark: str = "",
        tone: str = "ink",
    ) -> None:
        """Draw a rounded box with a name in its middle, and a remark below the name.

        Args:
            x: of its left edge.
            y: of its top edge.
            width: from edge to edge.
            height: from edge to edge.
            name: what it is.
            remark: what there is to say about it.
            tone: "ink", "quiet", "accent" or "new".
        """
        self.rect(x, y, width, height, *LOOKS[tone])
        middle, ink = (x + width / 2, y + height / 2), _ink(tone)
        if remark:
            self.text(middle[0], middle[1] - 11, name, ink, bold=True)
            self.note(middle[0], middle[1] + 11, remark, anchor="middle")
        elif name:
            self.text(*middle, name, ink)

    def cells(
        self,
        x: float,
        y: float,
        rows: Sequence[Sequence[str]],
        width: float,
        height: float,
        tone: str = "ink",
    ) -> None:
        """Draw a table of cells as one block.

        Args:
            x: of its left edge.
            y: of its top edge.
            rows: what stands in the cells, or ""; a text is a row of characters.
            width: of one cell.
            height: of one cell.
            tone: "ink", "quiet", "accent" or "new".
        """
        fill, line, thick = LOOKS[tone]
        size = len(rows), len(rows[0])
        self.rect(x, y, width * size[1], height * size[0], fill, radius=5)
        self.grid(x, y, size, (width, height), line, thick)
        for i, row in enumerate(rows):
            for j, words in enumerate(row):
                if words:
                    middle = x + width * (j + 0.5), y + height * (i + 0.5)
                    self.shape(*middle, words, _ink(tone))

    def grid(
        self,
        x: float,
        y: float,
        size: tuple[int, int],
        cell: tuple[float, float],
        line: str,
        thick: float = 1.5,
        radius: float = 5,
    ) -> None:
        """Draw the lines of a table of ``size`` (rows, columns) cells."""
        (rows, columns), (width, height) = size, cell
        right, bottom = x + width * columns, y + height * rows
        heights = [y + height * i for i in range(1, rows)]
        sides = [x + width * j for j in range(1, columns)]
        rules = [f"M{place((x, at))} L{place((right, at))}" for at in heights]
        rules += [f"M{place((at, y))} L{place((at, bottom))}" for at in sides]
        if rules:
            self.path(" ".join(rules), line, 1)
        self.rect(x, y, right - x, bottom - y, "none", line, thick, radius)

    def hatch(self, x: float, y: float, width: float, height: float) -> None:
        """Fill a rectangle with slanted lines: here nothing can be."""
        self.rect(x, y, width, height, radius=0)
        lines = []
        for start in range(8, int(width + height), 8):
            low = x + max(start - height, 0), y + min(start, height)
            high = x + min(start, width), y + max(start - width, 0)
            lines.append(f"M{place(low)} L{place(high)}")
        self.path(" ".join(lines), "edge", 1)

    def plus(self, x: float, y: float, tone: str = "ink", radius: float = 11) -> None:
        """Draw a circle with a plus: here two things are added."""
        self.circle(x, y, radius, *LOOKS[tone])
        arm = radius / 2
        across = f"M{place((x - arm, y))} L{place((x + arm, y))}"
        down = f"M{place((x, y - arm))} L{place((x, y + arm))}"
        self.path(f"{across} {down}", tone, LOOKS[tone][2])

    def line(
        self, points: Sequence[Point], tone: str = "ink", thick: float = 1.5
    ) -> None:
        """Draw a line through points, with round corners."""
        self.path(_through(points), tone, thick)

    def arrow(
        self, points: Sequence[Point], tone: str = "ink", thick: float = 1.5
    ) -> None:
        """Draw a line through points, with round corners and a head at its end."""
        *others, tip = points
        neck = self._head(others[-1], tip, tone, thick)
        self.line([*others, neck], tone, thick)

    def bow(
        self,
        points: tuple[Point, Point, Point, Point],
        tone: str = "ink",
        thick: float = 1.5,
        head: bool = False,
    ) -> None:
        """Draw a curve: its start, two points that it turns to, and its end."""
        start, turn, back, end = points
        neck = self._head(back, end, tone, thick) if head else end
        self.path(
            f"M{place(start)} C{place(turn)} {place(back)} {place(neck)}", tone, thick
        )

    def _head(self, before: Point, tip: Point, tone: str, thick: float) -> Point:
        """Draw an arrow's head; return where its line ends."""
        angle = math.atan2(tip[1] - before[1], tip[0] - before[0])
        length = 6 + 1.6 * thick

        def behind(share: float, turn: float = 0) -> Point:
            way = share * length
            x, y = math.cos(angle + turn), math.sin(angle + turn)
            return tip[0] - way * x, tip[1] - way * y

        self.area([tip, behind(1, -0.42), behind(1, 0.42)], tone)
        return behind(0.7)


def require(argument: str, value: object, right: bool, allowed: str) -> None:
    """Check an argument of a diagram.

    Raises:
        ValueError: if it is not right; names the argument, its value, what is allowed.
    """
    if not right:
        raise ValueError(f"{argument}={value!r} must be {allowed}")


def signed(value: float, digits: int) -> str:
    """Return a number as a text, with a minus sign that is as wide as a plus."""
    return f"{value:.{digits}f}".replace("-", "−")


def _ink(tone: str) -> str:
    """The tone of words in a box."""
    return "quiet" if tone == "quiet" else "ink"


def _through(points: Sequence[Point], radius: float = 8) -> str:
    """A path through points that cuts each corner with a small curve."""
    path = [f"M{place(points[0])}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        path.append(f"L{place(_towards(corner, before, radius))}")
        path.append(f"Q{place(corner)} {place(_towards(corner, after, radius))}")
    return " ".join([*path, f"L{place(points[-1])}"])


def _towards(point: Point, other: Point, step: float) -> Point:
    """The point a step from one point towards another, at most half of the way."""
    (x, y), (to_x, to_y) = point, other
    share = min(step / math.hypot(to_x - x, to_y - y), 0.5)
    return x + share * (to_x - x), y + share * (to_y - y)
