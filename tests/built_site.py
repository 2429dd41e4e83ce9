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


def leads_on(path: Path) -> bool:
    """Whether a page only leads to another one, as the root of the site does."""
    return "<script>location.replace(" in path.read_text("utf-8")[:1000]


def page_names(site: Path) -> list[str]:
    """Every page of a site, such as `book/intro.html`, but not the ways to one."""
    pages = (path for path in site.rglob("*.html") if not leads_on(path))
    names = sorted(page.relative_to(site).as_posix() for page in pages)
    return [name for name in names if not name.startswith("_static/")]


def course_pages(site: Path) -> list[str]:
    """The pages that the course wrote: no indices, no listings of source code."""
    folders = ("book/", "lessons/", "solutions/")
    return [name for name in page_names(site) if name.startswith(folders)]
