"""Links each "lesson 13" of the text to its page, "lessons 03 to 07" by each number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from course_data import read_course
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

FOLDERS = ("lessons/", "solutions/", "book/")
ONE = r"\d\d(?!\d|[.:]\d)"
BETWEEN = r"(?:,?\s(?:and|or|to)\s|,\s|\s?[-–]\s?)"
MENTION = re.compile(rf"\b[Ll]esson(?:\s{ONE}|s\s{ONE}(?:{BETWEEN}{ONE})*)")
NUMBER = re.compile(r"\d\d")
# Code, outputs, HTML, links and headings stay as they are.
NOT_IN = (
    nodes.FixedTextElement,
    nodes.literal,
    nodes.reference,
    nodes.title,
    nodes.caption,
)


def parts(text: str) -> Iterator[tuple[str, int | None]]:
    """A text in pieces: what is to be a link, with the lesson's number; and the rest.

    A single mention is a link as a whole, of several each number is one.
    """
    end = 0
    for mention in MENTION.finditer(text):
        numbers = list(NUMBER.finditer(text, *mention.span()))
        for number in numbers:
            start = mention.start() if len(numbers) == 1 else number.start()
            yield text[end:start], None
            yield text[start : number.end()], int(number[0])
            end = number.end()
    yield text[end:], None


def link_mentions(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Turn each mention of a finished lesson into a link to its page."""
    if not page.startswith(FOLDERS):
        return
    finished = {
        one.number: f"lessons/{one.name}"
        for one in read_course().lessons
        if f"lessons/{one.name}" in app.env.found_docs - {page}
    }
    for element in list(doctree.findall(nodes.TextElement)):
        if not is_inside(element, NOT_IN):
            element[:] = list(linked(element, app, page, finished))


def linked(
    element: nodes.Element, app: Sphinx, page: str, finished: dict[int, str]
) -> Iterator[nodes.Node]:
    """The children of an element, with links; a line's end divides no mention."""
    for is_text, run in groupby(element.children, lambda n: isinstance(n, nodes.Text)):
        if not is_text:
            yield from run
            continue
        for piece, number in parts("".join(text.astext() for text in run)):
            text = nodes.Text(piece)
            if number in finished:
                yield make_refnode(app.builder, page, finished[number], None, text)
            elif piece:
                yield text


def is_inside(node: nodes.Node | None, kinds: tuple[type, ...]) -> bool:
    """Whether a node, or one around it, is one of these."""
    while node and not isinstance(node, kinds):
        node = node.parent
    return node is not None


def setup(app: Sphinx) -> None:
    """Hook it into the build, after all references are resolved."""
    app.connect("doctree-resolved", link_mentions, priority=900)
