"""The list of all pages in the side bar, made once instead of once for each page.

It is the theme's own, of the first page that is written. Other pages get the same list
with addresses as they see them, and with the mark on their own line. Pages that show a
file of the library list no lessons: there are many of these pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from posixpath import dirname, join, normpath

from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

ADDRESS = re.compile(r'href="([^"]*)"')
CLASSES = re.compile(r'class="([^"]*)"')
LESSON = re.compile(
    r'<li class="[^"]*"><a [^>]*href="(?:lessons|solutions|book/museum)/[^"]*">'
    r"[^<]*</a></li>\n?"
)
EMPTY = re.compile(r"<p [^>]*><span [^>]*>[^<]*</span></p>\s*<ul[^>]*>\s*</ul>\n?")
CODE = "_modules/"
MARKS = {"current", "active"}
HERE = re.compile(
    r'<ul class="(?P<list>[^"]*)">(?P<before>(?:(?!</?ul).)*)'
    r'<li class="(?P<item>[^"]*)"><a class="(?P<link>[^"]*)" href="#">',
    re.DOTALL,
)


def neutral(html: str, page: str) -> str:
    """A list of pages without marks, with addresses as seen from the site's root.

    Args:
        html: the list that the theme made.
        page: the address of the page that it was made for.
    """

    def from_root(found: re.Match) -> str:
        address = page if found[1] == "#" else normpath(join(dirname(page), found[1]))
        return f'href="{address}"'

    def unmarked(found: re.Match) -> str:
        return f'class="{" ".join(c for c in found[1].split() if c not in MARKS)}"'

    return ADDRESS.sub(from_root, CLASSES.sub(unmarked, html))


def seen_from(html: str, page: str) -> str:
    """The neutral list, as a page shows it."""

    def address(found: re.Match) -> str:
        return f'href="{relative_uri(page, found[1]) if found[1] != page else "#"}"'

    def mark(found: re.Match) -> str:
        return (
            f'<ul class="current {found["list"]}">{found["before"]}'
            f'<li class="{found["item"]} current active">'
            f'<a class="current {found["link"]}" href="#">'
        )

    return HERE.sub(mark, ADDRESS.sub(address, html))


def without_lessons(html: str) -> str:
    """The neutral list, without lessons, solutions and rooms of the museum."""
    return EMPTY.sub("", LESSON.sub("", html))


def setup(app: Sphinx) -> None:
    """Give the templates the quick list, after the theme gave them its own."""
    made: dict[str, str] = {}

    def quick_list(
        app: Sphinx, page: str, template: str, context: dict, doctree: object
    ) -> None:
        theme: Callable[..., object] = context["generate_toctree_html"]
        address = app.builder.get_target_uri(page)

        def generate(**options: object) -> object:
            if options.get("kind") != "sidebar":
                return theme(**options)
            kind = repr(sorted(options.items()))
            if kind not in made:
                html = str(theme(**options))
                if "<details" in html:  # folded lists: the theme knows which are open
                    return theme(**options)
                made[kind] = neutral(html, address)
            pages = made[kind]
            if page.startswith(CODE):
                pages = without_lessons(pages)
            return seen_from(pages, address)

        context["generate_toctree_html"] = generate

    app.connect("html-page-context", quick_list, priority=600)
