"""The picture of which lesson needs which: a list of links, and lines beside it.

What the lesson right above hands on is a short arrow. What a lesson hands on further
down runs in a lane of its own, left of the list, and turns into each lesson that needs
it. Nothing in here needs Sphinx.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from course_data import Course, Lesson

ROW, CAPTION, LANE, TEXT = 34, 30, 11, 340
BEND = 7  # radius of the corners
STYLE = """
.needs-svg text { fill: var(--pst-color-text-base); font-size: 15px }
.needs-svg .caption { fill: var(--quiet); font-size: 13px }
.needs-svg rect { fill: var(--panel); stroke: var(--rule) }
.needs-svg path { fill: none; stroke: var(--quiet); stroke-width: 1.5 }
.needs-svg .tip { fill: var(--quiet); stroke: none }
.needs-svg a:is(:hover, :focus-visible) rect { stroke: var(--accent) }
.needs-svg a:is(:hover, :focus-visible) rect { stroke-width: 2.5 }
.needs-svg a:focus { outline: none }
"""
CHOSEN = (
    ".needs-svg:has(.n-{0}:is(:hover, :focus-visible)) path.e-{0} "
    "{{ stroke: var(--accent); stroke-width: 3 }}"
)


@dataclass(frozen=True)
class Row:
    """A lesson in the picture: what it needs, and where its middle is."""

    lesson: Lesson
    needs: tuple[int, ...]
    y: float


def rows(course: Course, needs: Mapping[int, Sequence[int]]) -> tuple[list, list, int]:
    """Return rows, captions with their place, and the height of the picture."""
    found, captions, y, part = [], [], 0, ""
    for lesson in course.lessons:
        if lesson.number not in needs:
            continue
        if lesson.part != part:
            part = lesson.part
            captions.append((f"Part {part}: {course.parts[part]}", y + CAPTION - 9))
            y += CAPTION
        found.append(Row(lesson, tuple(needs[lesson.number]), y + ROW / 2))
        y += ROW
    return found, captions, y


def lanes(needs: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """Give each lesson that is needed further down a lane; none crosses in its lane."""
    last: dict[int, int] = {}
    for number, wanted in needs.items():
        for source in wanted:
            if number - source > 1:
                last[source] = max(last.get(source, 0), number)
    chosen, ends = {}, []
    for source in sorted(last, reverse=True):  # long ones come out on the left
        free = [n for n, start in enumerate(ends) if start >= last[source]]
        lane = free[0] if free else len(ends)
        ends[lane : lane + 1] = [source]
        chosen[source] = lane
    return chosen


def draw(course: Course, needs: Mapping[int, Sequence[int]], link: str) -> str:
    """Return the picture; ``link`` with a lesson's name is where its row leads."""
    found, captions, height = rows(course, needs)
    lane_of, ys = lanes(needs), {row.lesson.number: row.y for row in found}
    left = LANE * (max(lane_of.values(), default=0) + 1) + 14
    styles = STYLE + "\n".join(CHOSEN.format(number) for number in ys)
    parts = [_caption(words, left + 36, y) for words, y in captions]
    for row in found:
        for source in row.needs:
            x = left - 14 - LANE * lane_of.get(source, 0)
            near = row.lesson.number - source == 1
            parts.append(
                _step(ys[source], row.y, left, source)
                if near
                else _branch(ys[source], row.y, x, left, source)
            )
    parts += [_row(row, left, link) for row in found]
    width = left + TEXT
    return (
        f'<svg class="needs-svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'style="max-width: 100%; height: auto" role="group" '
        f'aria-label="Which lesson needs which, in the order of the course">\n'
        f"<style>{styles}</style>\n" + "\n".join(parts) + "\n</svg>"
    )


def says(row: Row) -> str:
    """Return a row in words: the lesson, and what it needs."""
    wanted = [f"{number:02}" for number in row.needs]
    if not wanted:
        return f"{row.lesson.heading}: needs no other lesson"
    listed = " and ".join(filter(None, [", ".join(wanted[:-1]), wanted[-1]]))
    return f"{row.lesson.heading}: needs {listed}"


def _caption(words: str, x: float, y: float) -> str:
    return f'<text class="caption" x="{x}" y="{y:g}">{escape(words)}</text>'


def _row(row: Row, x: float, link: str) -> str:
    name = f"n-{row.lesson.number}"
    box = f'<rect x="{x}" y="{row.y - 14:g}" width="{TEXT - 2}" height="28" rx="6"/>'
    text = f'<text x="{x + 10}" y="{row.y + 5:g}">{escape(row.lesson.heading)}</text>'
    href = escape(link.format(row.lesson.name))
    return (
        f'<a class="{name}" href="{href}" aria-label="{escape(says(row))}">'
        f"{box}{text}</a>"
    )


def _step(top: float, bottom: float, left: float, source: int) -> str:
    """An arrow from a lesson to the next one."""
    x, start, end = left + 22, top + 14, bottom - 14
    return (
        f'<path class="e-{source}" d="M{x} {start:g}V{end - 3:g}"/>'
        f'<path class="tip" d="M{x} {end:g}l-3.5 -5h7z"/>'
    )


def _branch(top: float, bottom: float, x: float, left: float, source: int) -> str:
    """A line that leaves a lesson, runs down in its lane and turns into another one."""
    start, end = top + 5, bottom - 5
    return (
        f'<path class="e-{source}" d="M{left} {start:g}H{x + BEND:g}'
        f"q{-BEND} 0 {-BEND} {BEND}V{end - BEND:g}"
        f'q0 {BEND} {BEND} {BEND}H{left - 5}"/>'
        f'<path class="tip" d="M{left} {end:g}l-6 -3.5v7z"/>'
    )
