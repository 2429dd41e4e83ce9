"""The Sphinx extension of the course's site."""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # autodoc imports lib

import course_code
import course_figures
import course_links
import course_map
import course_offline
import course_pages
import course_playground
import course_quiz
import course_reading
import course_search
import course_sidebar
import course_speed
import course_styles
import course_teaching
import course_ways
from course_data import is_finished, read_course
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.typing import ExtensionMetadata


def share_address(app: Sphinx, config: Config) -> None:
    """Give opengraph the site's address, which `_config.yml` holds once."""
    config.ogp_site_url = config.html_baseurl


def describe_lesson(
    app: Sphinx, page: str, template: str, context: dict, doctree: object
) -> None:
    """Use a lesson's promise as the description that search engines show."""
    lesson = read_course().lesson(page.removeprefix("lessons/"))
    if lesson and page.startswith("lessons/"):
        tag = f'<meta name="description" content="{escape(lesson.promise)}" />\n'
        context["metatags"] += tag
        context["meta"] = {**(context["meta"] or {}), "og:description": lesson.promise}


def link_home_lesson(
    app: Sphinx, what: str, name: str, item: object, options: object, lines: list[str]
) -> None:
    """Make fields of a docstring's last lines, `Source: ...` and `Home lesson: ...`."""
    text = re.sub(r"\n+(Source|Home lesson): ", r"\n\n\1: ", "\n".join(lines))
    paragraphs = text.split("\n\n")
    for i, paragraph in enumerate(paragraphs):
        if paragraph.startswith("Source: "):
            paragraphs[i] = ":" + paragraph.strip().replace("\n", "\n   ")
        elif found := re.fullmatch(r"Home lesson: (\w+)\s*", paragraph):
            paragraphs[i] = f":Home lesson: {_lesson_reference(found[1])}"
    lines[:] = "\n\n".join(paragraphs).splitlines()


def _lesson_reference(name: str) -> str:
    lesson = read_course().lesson(name)
    if lesson is None:
        return name
    if is_finished(lesson):
        return f":doc:`{lesson.heading} </lessons/{lesson.name}>`"
    return f"{lesson.heading} (to come)"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Called by Sphinx once, when a build starts."""
    course_code.setup(app)
    course_figures.setup(app)
    course_links.setup(app)
    course_map.setup(app)
    course_offline.setup(app)
    course_pages.setup(app)
    course_playground.setup(app)
    course_quiz.setup(app)
    course_reading.setup(app)
    course_search.setup(app)
    course_sidebar.setup(app)
    course_speed.setup(app)
    course_styles.setup(app)
    course_teaching.setup(app)
    course_ways.setup(app)
    app.connect("config-inited", share_address)
    app.connect("html-page-context", describe_lesson, priority=400)  # before opengraph
    app.connect("autodoc-process-docstring", link_home_lesson, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
