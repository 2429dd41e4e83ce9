"""The pictures of the built pages: light files, with their sizes, loaded in time.

Notebooks store their figures as PNG, and sliders embed theirs in the page. Here each
becomes a file in WebP, without loss, about half as large; diagrams lose the colours
that they have and do not use. Pages say how large their pictures are, so that nothing
moves when these arrive; all but the first of a page load when the reader comes near.
"""

from __future__ import annotations

import re
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from PIL import Image
from sphinx.application import Sphinx

FOLDER = "_images"
WORD = re.compile(r'<span class="pre">([^<]*)</span>')  # it may break between lines
FOLDERS = ("book", "lessons", "solutions")
BADGE = "colab-badge"
EMBEDDED = re.compile(r"data:image/png;base64,([\w+/=]+)")
IMAGE = re.compile(r"<img\b[^>]*>")
SOURCE = re.compile(r'\bsrc="([^"]+)"')
STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)
RULE = re.compile(r"\.([\w-]+)\{[^{}]*\}\n?")
CLASS = re.compile(r'class="([^"]*)"')
SVG_SIZE = re.compile(r'<svg\b[^>]*?\swidth="([\d.]+)"\s+height="([\d.]+)"', re.DOTALL)
SVG_BOX = re.compile(r'<svg\b[^>]*?\bviewBox="[\d.-]+ [\d.-]+ ([\d.]+) ([\d.]+)"', re.S)
EFFORT = {"quality": 50, "method": 2}  # of 0 to 100, and 0 to 6: more gains little


def light(png: bytes) -> tuple[bytes, str]:
    """The same picture in the smaller of two formats, and how its files end."""
    picture = Image.open(BytesIO(png))
    if picture.mode == "RGBA" and picture.getextrema()[3] == (255, 255):
        picture = picture.convert("RGB")
    written = BytesIO()
    picture.save(written, "WEBP", lossless=True, **EFFORT)
    webp = written.getvalue()
    return (webp, ".webp") if len(webp) < len(png) else (png, ".png")


def lighten(path: Path) -> Path:
    """Put the light picture in the place of a PNG file."""
    data, kind = light(path.read_bytes())
    if kind == path.suffix:
        return path
    path.unlink()
    path.with_suffix(kind).write_bytes(data)
    return path.with_suffix(kind)


def size(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture in pixels; None where an SVG does not say it."""
    if path.suffix != ".svg":
        return Image.open(path).size
    text = path.read_text("utf-8")
    found = SVG_SIZE.search(text) or SVG_BOX.search(text)
    return (round(float(found[1])), round(float(found[2]))) if found else None


def without_unused_rules(svg: str) -> str:
    """A diagram whose style has only rules for classes that the diagram has."""
    used = {name for names in CLASS.findall(svg) for name in names.split()}

    def slim(style: re.Match) -> str:
        return RULE.sub(lambda rule: rule[0] if rule[1] in used else "", style[0])

    return STYLE.sub(slim, svg)


def take_out(html: str, site: Path) -> str:
    """Write the embedded pictures of a page into files, and name these instead."""

    def write(found: re.Match) -> str:
        data, kind = light(b64decode(found[1]))
        name = sha256(data).hexdigest()[:20] + kind
        (site / FOLDER / name).write_bytes(data)
        return f"../{FOLDER}/{name}"

    return EMBEDDED.sub(write, html)


def with_sizes(html: str, page: Path) -> str:
    """Say the size of each picture, and let all but the first of the text wait."""
    start = html.find("<article")
    n_seen = 0

    def complete(found: re.Match) -> str:
        nonlocal n_seen
        tag, more = found[0], ""
        if " width=" not in tag and (known := size_of(tag, page)):
            more = ' width="{}" height="{}"'.format(*known)
        if found.start() > start and BADGE not in tag:
            n_seen += 1
            more += ' loading="lazy"' if n_seen > 1 else ""
        return f"<img{more}{tag[4:]}"

    return IMAGE.sub(complete, html)


def size_of(tag: str, page: Path) -> tuple[int, int] | None:
    """The size of the picture that an element of a page shows."""
    source = SOURCE.search(tag)
    path = page.parent / source[1] if source else page.parent
    return size(path) if path.is_file() else None


def arrange_pictures(app: Sphinx, error: Exception | None) -> None:
    """Make all pictures light, and name them in all pages."""
    if error is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    pictures = sorted((site / FOLDER).glob("*.png"))
    for diagram in (site / FOLDER).glob("*.svg"):
        diagram.write_text(without_unused_rules(diagram.read_text("utf-8")), "utf-8")
    pages = [page for name in FOLDERS for page in sorted((site / name).glob("*.html"))]
    with ThreadPoolExecutor() as pool:
        pairs = zip(pictures, pool.map(lighten, pictures), strict=True)
        new = {old.name: path.name for old, path in pairs}
        list(pool.map(lambda page: arrange_page(page, site, new), pages))


def arrange_page(page: Path, site: Path, new: dict[str, str]) -> None:
    """Write one page again, with light pictures: the new name of each is given.

    And without the marks around each word in code, which only keep it on one line.
    """
    html = take_out(page.read_text("utf-8"), site)
    pattern = rf"(?<=/{FOLDER}/)[\w.-]+\.png"
    html = re.sub(pattern, lambda found: new.get(found[0], found[0]), html)
    html = WORD.sub(r"\1", html)
    page.write_text(with_sizes(html, page), encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Hook it into the build, when all pages are there."""
    app.connect("build-finished", arrange_pictures)
