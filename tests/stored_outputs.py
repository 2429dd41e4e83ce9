"""Compares what a cell prints now with the output that is stored: by the cell's tag.

No tag: letter by letter. ``measured``: numbers that come out of a training may differ
within a band, everything else is exact. ``measured:wide``: the same with the wide band,
for what is inside of one trained model. ``sample``: a text that a trained model wrote;
the cell runs, and its output is not compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from nbformat import NotebookNode, from_dict

NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)(?: ?%)?"
)
SPACES = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class Band:
    """How far a number may be from the stored one: a distance, and a share of it.

    A percentage counts as hundredths. Whole numbers are counts, sizes and steps: they
    are exact unless the band has a share for them.
    """

    distance: float
    share: float
    whole: float = 0.0

    def holds(self, now: str, stored: str) -> bool:
        """Whether a number, as it is written, is near enough to the stored one."""
        if now == stored:
            return True
        if ("%" in now) != ("%" in stored) or ("." in now) != ("." in stored):
            return False
        (a, _), (b, unit) = value_of(now), value_of(stored)
        if unit == 1 and "." not in stored:
            return abs(a - b) <= self.whole * abs(b)
        return abs(a - b) * unit <= self.distance + self.share * abs(b) * unit


BANDS = {"measured": Band(0.03, 0.02), "measured:wide": Band(0.15, 0.3, whole=0.5)}
NOT_COMPARED = "sample"


def value_of(number: str) -> tuple[float, float]:
    """The value of a number as it is written, and what one of its units is worth."""
    unit = 0.01 if number.endswith("%") else 1
    plain = number.rstrip(" %").replace(",", "").replace("−", "-")
    return float(plain), unit


def band_of(tags: list[str]) -> Band | None:
    """The band of a cell with these tags, None for an exact one."""
    return next((BANDS[tag] for tag in tags if tag in BANDS), None)


def snapped(now: str, stored: str, band: Band) -> str:
    """The text of now with each number inside its band replaced by the stored one.

    The two texts are then equal exactly where the cell is as it should be. Columns may
    be wider or narrower where a number has another length.
    """
    now, stored = SPACES.sub(" ", now), SPACES.sub(" ", stored)
    wanted = iter(NUMBER.findall(stored))

    def near(match: re.Match) -> str:
        other = next(wanted, match[0])
        return other if band.holds(match[0], other) else match[0]

    return NUMBER.sub(near, now)


def in_bands(
    compare: Callable[[list, list], bool], band: Band
) -> Callable[[list, list], bool]:
    """Return nbval's comparison of a cell's outputs, with numbers in their bands."""

    def compare_in_bands(now: list, stored: list, **options) -> bool:
        texts = [text for output in stored for text in _texts(output)]
        now, stored = (_mapped(outputs, texts, band) for outputs in (now, stored))
        return compare(now, stored, **options)

    return compare_in_bands


def _texts(output: NotebookNode) -> list[str]:
    """The texts of an output that are compared."""
    data = output.get("data", {})
    found = [output["text"]] if "text" in output else []
    return found + [data[k] for k in sorted(data) if k.startswith("text/")]


def _mapped(outputs: list, stored: list[str], band: Band) -> list[NotebookNode]:
    """Copies of outputs whose texts are snapped to the stored ones, one by one."""
    texts = iter(stored)
    copies = [from_dict(dict(output)) for output in outputs]
    for copy in copies:
        if "text" in copy:
            copy["text"] = snapped(copy["text"], next(texts, ""), band)
        if "data" in copy:
            copy["data"] = from_dict(dict(copy["data"]))
            for kind in sorted(k for k in copy["data"] if k.startswith("text/")):
                copy["data"][kind] = snapped(copy["data"][kind], next(texts, ""), band)
    return copies
