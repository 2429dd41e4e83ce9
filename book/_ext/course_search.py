"""A search that knows a learner's words: "rope" finds the rotary positions.

The words of `book/search_words.yml`, the terms of the glossary and the titles of the
lessons become entries of the search index, which count more than words of the text.
What a search shows, and in which order, is up to `book/_static/search.js`.
"""

from __future__ import annotations

from course_data import read_course
from docutils import nodes
from search_data import GLOSSARY, WORDS, lesson_words, read_words, spellings
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
SCRIPT = "search.js"


def add_words(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put the words that lead to a page, or to its sections, into the index."""
    sections = {
        section[0].astext(): section["ids"][0]
        for section in doctree.findall(nodes.section)
    }
    if page == GLOSSARY:
        words = read_words()["glossary"]
        terms = {term: term for term in sections if len(term) > 1}  # not the letters
        places = {sections.get(term): [term, *words.get(term, [])] for term in terms}
        unknown = words.keys() - terms.keys()
    elif page.startswith("lessons/"):
        lesson = read_course().lesson(page.removeprefix("lessons/"))
        places = lesson_words(lesson, read_words())
        unknown = places.keys() - {"", *doctree.ids}
    else:
        return
    for name in sorted(unknown):
        LOGGER.warning(f"{WORDS.name}: {page} has no {name!r}", location=page)
    doctree += addnodes.index(entries=list(entries(places)))


def entries(places: dict[str, list[str]]) -> list[tuple]:
    """Entries of the search index, as Sphinx writes them."""
    return [
        ("single", spelling, anchor, "main", None)
        for anchor, words in places.items()
        for word in words
        for spelling in sorted(spellings(word))
    ]


def add_script(
    app: Sphinx, page: str, template: str, context: dict, doctree: object
) -> None:
    """Give the search page its script."""
    if page == "search":
        app.add_js_file(SCRIPT)


def setup(app: Sphinx) -> None:
    """Hook all of this into the build."""
    app.connect("doctree-resolved", add_words)
    app.connect("html-page-context", add_script)
