"""Draws the ladder: one bar per model, as long as its loss, the best one last.

The same picture stands on the site, where style sheets give it its colours, and as a
file of its own for the README, where it brings its colours along. Widths are in percent
and text keeps its size, so that it can be read on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template

from course_data import Rung

HEADING = "Loss in nats per character: shorter is better"
ROW, TO_COME_ROW, TOP = 74, 38, 30
SHORT, LONG = 33, 78  # characters of a sample on a phone and elsewhere
WIDTH, MARGIN = 680, 24  # of the file
STEP = 0.05  # nats; a rung that is nearer to one that is drawn is left out
# The best model of each of these lessons is always drawn, and so is a checkpoint's.
MILESTONES = (
    "text_and_tokens",
    "bigram",
    "attention",
    "multi_head_attention",
    "transformer_block",
    "training",
)

STYLE = """
.ladder-svg text { fill: var(--ladder-ink); font-size: 15px }
.ladder-svg .name { font-weight: 600 }
.ladder-svg .quiet { fill: var(--ladder-quiet); font-size: 14px; font-weight: 400 }
.ladder-svg .sample { fill: var(--ladder-quiet); font: 12px ui-monospace, Menlo,
  Consolas, "DejaVu Sans Mono", monospace }
.ladder-svg .track { fill: var(--ladder-track) }
.ladder-svg .bar { fill: var(--ladder-bar) }
.ladder-svg .next { stroke: var(--ladder-quiet); stroke-dasharray: 2 6;
  stroke-linecap: round; stroke-width: 2 }
"""
PHONE = "@media (max-width: 600px) { .ladder-svg .wide { display: none } }"

FILE = Template("""\
<svg xmlns="http://www.w3.org/2000/svg" width="$width" height="$height"
 viewBox="0 0 $width $height" role="img" aria-label="$label">
<style>
:root { --ladder-ink: #1c2733; --ladder-quiet: #55606c; --ladder-track: #e8edf1;
  --ladder-bar: #0f766e; --ladder-paper: #fff; --ladder-edge: #d5dce2 }
@media (prefers-color-scheme: dark) { :root { --ladder-ink: #e6edf3;
  --ladder-quiet: #a3b0bd; --ladder-track: #26303a; --ladder-bar: #2dd4bf;
  --ladder-paper: #12181f; --ladder-edge: #2c3742 } }
svg { font-family: system-ui, "Segoe UI", Roboto, Helvetica, sans-serif }
.paper { fill: var(--ladder-paper); stroke: var(--ladder-edge) }$style</style>
<rect class="paper" x=".5" y=".5" width="$paper_width" height="$paper_height" rx="10"/>
<svg class="ladder-svg" x="$margin" y="$margin" width="$inner" height="$inner_height">
$body
</svg>
</svg>
""")


def milestones(rungs: Sequence[Rung]) -> list[Rung]:
    """The rungs that are always drawn; losses fall."""
    best = {rung.checkpoint or rung.lesson[3:]: rung for rung in rungs}
    return [rung for key, rung in best.items() if rung.checkpoint or key in MILESTONES]


def steps(rungs: Sequence[Rung]) -> list[Rung]:
    """The rungs to draw: the milestones, and what does not coincide with another."""
    drawn = milestones(rungs)
    for rung in reversed(rungs):
        near = (abs(rung.validation_loss - one.validation_loss) for one in drawn)
        if all(distance >= STEP for distance in near):
            drawn.append(rung)
    return [rung for rung in rungs if rung in drawn]


def describe(rungs: Sequence[Rung]) -> str:
    """Say in words what the picture shows."""
    losses = "; ".join(f"{r.name} {r.validation_loss:.2f}" for r in rungs)
    return f"The ladder of models, loss in nats per character, falling: {losses}."


def inline(rungs: Sequence[Rung], to_come: Sequence[str]) -> str:
    """The picture as an element of a page that defines the four colours."""
    rungs = steps(rungs)
    return (
        f'<svg class="ladder-svg" width="100%" height="{_height(rungs, to_come)}" '
        f'role="img" aria-label="{escape(describe(rungs))}">\n'
        f"<style>{STYLE}{PHONE}</style>\n{_body(rungs, to_come)}\n</svg>"
    )


def file(rungs: Sequence[Rung], to_come: Sequence[str]) -> str:
    """The picture as a file of its own, right on light and on dark pages."""
    rungs = steps(rungs)
    inner_height = _height(rungs, to_come)
    height = inner_height + 2 * MARGIN
    return FILE.substitute(
        width=WIDTH,
        height=height,
        label=escape(describe(rungs)),
        style=STYLE,
        paper_width=WIDTH - 1,
        paper_height=height - 1,
        margin=MARGIN,
        inner=WIDTH - 2 * MARGIN,
        inner_height=inner_height,
        body=_body(rungs, to_come),
    )


def _height(rungs: Sequence[Rung], to_come: Sequence[str]) -> int:
    return TOP + ROW * len(rungs) + TO_COME_ROW * len(to_come)


def _body(rungs: Sequence[Rung], to_come: Sequence[str]) -> str:
    longest = max((rung.validation_loss for rung in rungs), default=1.0)
    parts = [f'<text class="quiet" y="13">{HEADING}</text>']
    y = TOP
    for rung in rungs:
        parts.append(_rung(rung, y, 100 * rung.validation_loss / longest))
        y += ROW
    for name in to_come:
        parts.append(_to_come(name, y))
        y += TO_COME_ROW
    return "\n".join(parts)


def _rung(rung: Rung, y: int, percent: float) -> str:
    return f"""\
<g transform="translate(0 {y})">
<text class="name" y="16">{escape(rung.name)}<tspan class="quiet wide" dx="8">\
{rung.parameters:,} parameters</tspan></text>
<text class="name" x="100%" y="16" text-anchor="end">{rung.validation_loss:.2f}</text>
<rect class="track" y="25" width="100%" height="10" rx="5"/>
<rect class="bar" y="25" width="{percent:.2f}%" height="10" rx="5"/>
<text class="sample" y="53">{_sample(rung.sample)}</text>
</g>"""


def _to_come(name: str, y: int) -> str:
    return f"""\
<g transform="translate(0 {y})">
<text class="quiet" y="14">{escape(name)}</text>
<text class="quiet" x="100%" y="14" text-anchor="end">to come</text>
<line class="next" x1="1" y1="25" x2="100%" y2="25"/>
</g>"""


def _sample(text: str) -> str:
    """The first characters of a sample; fewer of them on narrow screens."""
    line = " ".join(text.split())
    if not line:
        return ""
    rest = escape(line[SHORT:LONG].rstrip())
    return f'{escape(line[:SHORT])}<tspan class="wide">{rest}</tspan>…'
