"""What stands at the end of each page: minutes of the next lesson, ways to mend it.

And what other sites show of a page: the card, a picture of the ladder.
"""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import quote, urljoin

from course_data import ROOT, is_finished, read_course, read_ladder
from PIL import Image, ImageDraw, ImageFont
from sphinx.application import Sphinx
from sphinx.config import Config

SOURCES = ("lessons/", "solutions/", "book/")
CARD = "_static/card.png"
CARD_SIZE = (1200, 630)
PAPER, INK, QUIET, BAR = "#ffffff", "#1c2733", "#55606c", "#0f766e"
N_BARS = 7


@cache
def minutes() -> dict[str, int]:
    """Heading of each finished lesson, as pages write it -> how long it takes."""
    lessons = filter(is_finished, read_course().lessons)
    return {escape(lesson.heading): lesson.minutes() for lesson in lessons}


def add_ways(
    app: Sphinx, page: str, template: str, context: dict, doctree: object
) -> None:
    """Tell the page's template the minutes of lessons, and the page's own source.

    A notebook is written by its script, so that is what a reader can mend.
    """
    context["lesson_minutes"] = minutes()
    if doctree is None or not page.startswith(SOURCES):
        return
    options = app.config.html_theme_options
    address = options["repository_url"].rstrip("/")
    file = next(page + end for end in (".md", ".py") if (ROOT / (page + end)).exists())
    title = quote(f"A problem on {page}", safe="")
    context["edit_address"] = f"{address}/edit/{options['repository_branch']}/{file}"
    context["report_address"] = f"{address}/issues/new?title={title}"


def show_card(app: Sphinx, config: Config) -> None:
    """Give opengraph the address of the card, and what can be seen there."""
    config.ogp_image = urljoin(config.html_baseurl, CARD)
    config.ogp_image_alt = "Bars, shorter from model to model: the loss on the ladder"


def draw_card(title: str) -> Image.Image:
    """The title of the course above the losses of some of its models, as bars."""
    card = Image.new("RGB", CARD_SIZE, PAPER)
    draw = ImageDraw.Draw(card)
    draw.rectangle((0, 0, 24, CARD_SIZE[1]), fill=BAR)
    draw.text((80, 50), title, fill=INK, font=ImageFont.load_default(64))
    font = ImageFont.load_default(26)
    draw.text((80, 135), "Loss, in nats per character", fill=QUIET, font=font)
    rungs = sorted(read_ladder(), key=lambda rung: -rung.validation_loss)
    step = max(1, (len(rungs) - 1) // (N_BARS - 1))
    chosen = [*rungs[:-1:step][: N_BARS - 1], rungs[-1]]
    longest = chosen[0].validation_loss
    for i, rung in enumerate(chosen):
        top, length = 205 + 56 * i, round(560 * rung.validation_loss / longest)
        draw.rectangle((460, top, 460 + length, top + 32), fill=BAR)
        draw.text((80, top), rung.name, fill=QUIET, font=font)
        loss = f"{rung.validation_loss:.2f}"
        draw.text((475 + length, top), loss, fill=INK, font=font)
    return card


def write_card(app: Sphinx, error: Exception | None) -> None:
    """Write the card into the site."""
    if error is None and app.builder.format == "html":
        card = draw_card(app.config.html_title or app.config.project)
        card.quantize(64).save(Path(app.outdir) / CARD, optimize=True)


def setup(app: Sphinx) -> None:
    """Hook all of this into the build."""
    app.connect("config-inited", show_card)
    app.connect("html-page-context", add_ways)
    app.connect("build-finished", write_card)
