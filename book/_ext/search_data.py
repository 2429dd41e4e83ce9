"""The words that learners type into the search, and where they lead.

Reads `book/search_words.yml`. Nothing in here needs Sphinx, so tests use it too.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml
from course_data import ROOT, Lesson

WORDS = ROOT / "book" / "search_words.yml"
GLOSSARY = "book/glossary"


@cache
def read_words(path: Path = WORDS) -> dict[str, dict[str, list[str]]]:
    """Read the file: `glossary` and `lessons`, each a place -> its words.

    A place in the glossary is a term; a lesson is named by its slug, and a section of
    it by `slug#anchor`.
    """
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        kind: {str(place): [*map(str, words)] for place, words in rows.items()}
        for kind, rows in data.items()
    }


def lesson_words(
    lesson: Lesson, words: dict[str, dict[str, list[str]]]
) -> dict[str, list[str]]:
    """Anchor -> words that lead there; a lesson's own title leads to its beginning."""
    found = {"": [lesson.title]}
    for place, more in words["lessons"].items():
        slug, _, anchor = place.partition("#")
        if slug == lesson.slug:
            found.setdefault(anchor, []).extend(more)
    return found


def spellings(word: str) -> set[str]:
    """A word as it may be typed: `fine-tuning`, `fine tuning`, `finetuning`."""
    word = word.lower()
    spaced = word.replace("-", " ")
    if " " not in spaced:
        return {word}
    return {word, spaced, spaced.replace(" ", "-"), spaced.replace(" ", "")}
