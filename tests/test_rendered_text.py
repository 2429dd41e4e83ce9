"""No markup is left on a page, where the reader would see it. Needs the built site."""

import re

import pytest
from built_site import course_pages, missing, require_site

try:
    from bs4 import BeautifulSoup
except ImportError:
    BeautifulSoup = None

pytestmark = pytest.mark.browser

MARKUP = re.compile(r"\$|\*\*|`|\\[a-zA-Z]+")
TEX = re.compile(r"\\[a-zA-Z]+|\$[^$]+\$|\*\*\S[^*]*\*\*|\\[()\[\]]")
# What is no prose: formulas wait for MathJax, code says what it likes.
NO_PROSE = ".math, pre, code, script, style, .cell_output, .sig, svg"


def rendered_problems(html: str) -> list[str]:
    """Markup and TeX that a page shows as text."""
    article = BeautifulSoup(html, "html.parser").find("article")
    summaries = [summary.text for summary in article.find_all("summary")]
    for element in article.select(NO_PROSE):
        element.decompose()
    found = [f"summary: {text.strip()}" for text in summaries if MARKUP.search(text)]
    return found + [
        f"text: {text.strip()}" for text in article.stripped_strings if TEX.search(text)
    ]


def test_no_page_shows_markup() -> None:
    if BeautifulSoup is None:
        missing("beautifulsoup4 is not installed: run `make browser`")
    site = require_site()
    problems = [
        f"{name}: {problem}"
        for name in course_pages(site)
        for problem in rendered_problems((site / name).read_text("utf-8"))
    ]
    assert not problems, "\n".join(["", *problems])


# The test's own test

SHOWN = """<article><details><summary>Is $x$ **large**?</summary></details>
<p>The loss is \\frac{1}{2}, or <span class="math">\\(\\frac{1}{2}\\)</span>, and
<code>a ** b</code> is code. Its price is 3 $.</p></article>"""


def test_markup_on_a_page_is_found() -> None:
    if BeautifulSoup is None:
        missing("beautifulsoup4 is not installed: run `make browser`")
    said = rendered_problems(SHOWN)
    assert len(said) == 3 and said[0].startswith("summary: Is $x$")
    assert said[1].startswith("text: Is $x$") and said[2].startswith("text: The loss")
