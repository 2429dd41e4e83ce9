"""Finds the built site for the tests that look at it."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"


def missing(what: str) -> NoReturn:
    """Skip a test that lacks something; where CI promises to have it, fail."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def require_site() -> Path:
    """The folder of the built site."""
    if not (SITE / "index.html").exists():
        missing("the site is not built: run `make site`")
    return SITE


def page_names(site: Path) -> list[str]:
    """Every page of a site, such as `book/intro.html`, but not the way to it."""
    pages = (path.relative_to(site) for path in site.rglob("*.html"))
    names = sorted(page.as_posix() for page in pages if page.parts[0] != "_static")
    return [name for name in names if name != "index.html"]


def course_pages(site: Path) -> list[str]:
    """The pages that the course wrote: no indices, no listings of source code."""
    folders = ("book/", "lessons/", "solutions/")
    return [name for name in page_names(site) if name.startswith(folders)]
