"""The tools that make the built site light and quick; needs the site's environment."""

import base64
import io
import json
from pathlib import Path

import pytest
from built_site import missing

try:
    from course_code import ColoursOnly, Name, Punctuation
    from course_figures import (
        Image,
        light,
        size,
        take_out,
        with_sizes,
        without_unused_rules,
    )
    from course_offline import without_outputs
    from course_reading import CARD_SIZE, ImageDraw, draw_card
    from course_sidebar import neutral, seen_from, without_lessons
except ImportError:  # they need Sphinx and Pillow
    Image = None

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def tools() -> None:
    """Skip where the site cannot be built."""
    if Image is None:
        missing("sphinx is not installed: run `make browser`")


def chart(width: int = 300, height: int = 200) -> bytes:
    """A PNG as notebooks store it: lines on white, with a full alpha channel."""
    picture = Image.new("RGBA", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    for x in range(0, width, 7):
        draw.line((x, 0, width - x, height), fill=(x % 256, 20, 90))
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def test_a_picture_becomes_lighter_and_looks_the_same() -> None:
    png = chart()
    data, kind = light(png)
    assert kind == ".webp" and len(data) < len(png)
    seen, meant = (Image.open(io.BytesIO(x)).convert("RGBA") for x in (data, png))
    assert seen.tobytes() == meant.tobytes()


def test_a_clear_picture_stays_clear() -> None:
    written = io.BytesIO()
    Image.new("RGBA", (50, 50), (255, 0, 0, 90)).save(written, "PNG")
    data, _ = light(written.getvalue())
    assert Image.open(io.BytesIO(data)).convert("RGBA").getpixel((9, 9))[3] == 90


def test_a_picture_that_gains_nothing_stays_as_it_is() -> None:
    written = io.BytesIO()
    Image.new("L", (1, 1)).save(written, "PNG")
    png = written.getvalue()
    data, kind = light(png)
    assert len(data) <= len(png) and (kind == ".webp" or data == png)


def test_embedded_pictures_become_files(tmp_path: Path) -> None:
    (tmp_path / "_images").mkdir()
    address = "data:image/png;base64," + base64.b64encode(chart()).decode()
    html = take_out(f'<img src="{address}"><i>[{{"picture": "{address}"}}]', tmp_path)
    (file,) = (tmp_path / "_images").iterdir()
    assert html.count(f'"../_images/{file.name}"') == 2 and "base64" not in html


def test_pictures_get_their_sizes_and_all_but_the_first_wait(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(chart(30, 20))
    svg = '<svg viewBox="0 0 48 77.5"\n width="48" height="77.5"></svg>'
    (tmp_path / "b.svg").write_text(svg, encoding="utf-8")
    (tmp_path / "c.svg").write_text('<svg viewBox="0 0 9 8"/>', encoding="utf-8")
    html = (
        '<img src="c.svg"><article><img src="x/colab-badge.svg"><img alt="1" '
        'src="a.png"><img src="b.svg"><img src="gone.png"><img width="5" src="a.png">'
    )
    assert with_sizes(html, tmp_path / "page.html") == (
        '<img width="9" height="8" src="c.svg"><article><img src="x/colab-badge.svg">'
        '<img width="30" height="20" alt="1" src="a.png">'
        '<img width="48" height="78" loading="lazy" src="b.svg">'
        '<img loading="lazy" src="gone.png"><img loading="lazy" width="5" src="a.png">'
    )
    (tmp_path / "d.svg").write_text("<svg></svg>", encoding="utf-8")
    assert size(tmp_path / "d.svg") is None


def test_a_diagram_keeps_the_rules_that_it_uses() -> None:
    svg = (
        '<svg class="d"><style>\n.d{--ink:#000}\n.a{fill:red}.a-line{stroke:red}\n'
        "@media (x){.d{--ink:#fff}}\n</style><path class='a'/>"
        '<path class="b a-line"/>.a{b}</svg>'
    )
    assert without_unused_rules(svg) == svg.replace(".a{fill:red}", "")


def test_only_colours_are_marked_in_code() -> None:
    code = io.StringIO()
    tokens = [(Name, "y"), (Punctuation, "("), (Name.Builtin, "abs"), (Name, "<\n")]
    ColoursOnly(nowrap=True).format_unencoded(tokens, code)
    assert code.getvalue() == 'y(<span class="nb">abs</span>&lt;\n'


LIST = """<ul class="nav bd-sidenav">
<li class="toctree-l1"><a class="reference internal" href="../a/one.html">1</a></li>
</ul><ul class="current nav bd-sidenav">
<li class="toctree-l1 current active"><a class="current reference internal" href="#">2
</a></li></ul>"""


def test_the_list_of_pages_is_the_same_for_each_page() -> None:
    plain = neutral(LIST, "b/two.html")
    assert "current" not in plain and "active" not in plain
    assert 'href="a/one.html"' in plain and 'href="b/two.html"' in plain
    assert seen_from(plain, "b/two.html") == LIST
    other = seen_from(plain, "a/one.html")
    assert other.startswith('<ul class="current nav bd-sidenav">')
    assert other.count("current") == 3 and other.count('href="#"') == 1
    assert 'href="../b/two.html"' in other
    assert neutral(other, "a/one.html") == plain
    assert "current" not in seen_from(plain, "search.html")


def test_pages_of_code_list_no_lessons() -> None:
    item = '<li class="toctree-l1"><a class="reference internal" href="{}">x</a></li>\n'
    head = '<p aria-level="2" role="heading"><span class="caption-text">A</span></p>\n'
    lists = [["book/map.html", "lessons/00_x.html"], ["solutions/00_x.html"]]
    items = ["".join(map(item.format, pages)) for pages in lists]
    html = "".join(f'{head}<ul class="nav">\n{each}</ul>\n' for each in items)
    kept = item.format("book/map.html")
    assert without_lessons(html) == f'{head}<ul class="nav">\n{kept}</ul>\n'


def test_a_notebook_is_downloaded_as_before_its_run() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# π"]},
        {"cell_type": "code", "source": ["1"], "outputs": [{}], "execution_count": 3},
    ]
    text = without_outputs(json.dumps({"cells": cells, "nbformat": 4}))
    (prose, code) = json.loads(text)["cells"]
    assert prose == cells[0] and "π" in text
    assert (code["outputs"], code["execution_count"]) == ([], None)


def test_the_card_shows_all_of_its_words() -> None:
    card = draw_card("From Bigram to Transformer")
    assert card.size == CARD_SIZE
    right = card.crop((CARD_SIZE[0] - 40, 0, *CARD_SIZE))
    names = card.crop((452, 205, 459, CARD_SIZE[1]))
    assert len(right.getcolors()) == len(names.getcolors()) == 1
