"""Small pages that lead on: from the root, from old addresses, from a wrong one."""

from __future__ import annotations

import tomllib
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import urljoin

from course_data import ROOT, Lesson, read_course
from sphinx.application import Sphinx

FOLDERS = ("lessons", "solutions")
WAY = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
$head
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; font-family: system-ui, sans-serif }
main { margin: 15vh auto; max-width: 32rem; padding: 0 1rem }
</style>
</head>
<body><main><h1>$heading</h1><p>$text</p></main></body>
</html>
""")
# The script keeps what stands behind the `#`; without scripts that is lost.
LEAD = Template("""\
<link rel="canonical" href="$address">
<script>location.replace("$target" + location.search + location.hash)</script>
<noscript><meta http-equiv="refresh" content="0; url=$target"></noscript>""")
HIDE = '<meta name="robots" content="noindex">'


def leading_page(title: str, address: str, target: str, head: str) -> str:
    """A page that leads to another one at once.

    Args:
        title: what the other page is called.
        address: the whole address of the other page.
        target: the same, seen from this page.
        head: what else the page tells about itself.
    """
    lead = LEAD.substitute(address=escape(address), target=escape(target))
    link = f'This page is at <a href="{escape(target)}">{escape(target)}</a>.'
    return WAY.substitute(
        title=escape(title), head=f"{head}\n{lead}", heading=escape(title), text=link
    )


def forwards(lessons: list[Lesson], site: Path) -> dict[str, tuple[str, Lesson]]:
    """Old address -> name of the page that is there now, and its lesson.

    Only pages that the site has are led to.
    """
    return {
        f"{folder}/{old}.html": (f"{folder}/{lesson.name}.html", lesson)
        for lesson in lessons
        for old in lesson.was
        for folder in FOLDERS
        if (site / folder / f"{lesson.name}.html").is_file()
    }


def write_forwards(app: Sphinx, site: Path) -> None:
    """Lead from every address that a page had before to the page."""
    for old, (new, lesson) in forwards(read_course().lessons, site).items():
        if (site / old).exists():
            raise FileExistsError(f"{old} is a page, and an old address of {new}")
        title = lesson.heading
        if new.startswith("solutions/"):
            title = f"Solutions {title}"
        address = urljoin(app.config.html_baseurl, new)
        page = leading_page(title, address, Path(new).name, HIDE)
        (site / old).write_text(page, encoding="utf-8")


def write_index(app: Sphinx, site: Path) -> None:
    """Lead from the root of the site to its first page."""
    home = app.builder.get_target_uri(app.config.root_doc)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    words = escape(project["project"]["description"])
    page = leading_page(
        app.config.html_title,
        urljoin(app.config.html_baseurl, home),
        home,
        f'<meta name="description" content="{words}">',
    )
    (site / "index.html").write_text(page, encoding="utf-8")


def write_not_found(app: Sphinx, site: Path) -> None:
    """Say at a wrong address where the course begins; it can lie in any folder."""
    home, search = (
        escape(urljoin(app.config.html_baseurl, app.builder.get_target_uri(name)))
        for name in (app.config.root_doc, "search")
    )
    text = (
        f'Begin at the <a href="{home}">first page</a> of '
        f'{escape(app.config.html_title)}, or <a href="{search}">search</a> the course.'
    )
    heading = "There is no such page"
    page = WAY.substitute(title=heading, head=HIDE, heading=heading, text=text)
    (site / "404.html").write_text(page, encoding="utf-8")


def write_ways(app: Sphinx, error: Exception | None) -> None:
    """Write all of them when the pages of the site are there."""
    if error is None and app.builder.format == "html":
        for write in (write_forwards, write_index, write_not_found):
            write(app, Path(app.outdir))


def setup(app: Sphinx) -> None:
    """Hook them into the build."""
    app.connect("build-finished", write_ways)
