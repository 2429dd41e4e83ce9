"""What is printed: a reader's page, the course as one book, the slides."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from built_site import missing, require_site
from chromium import (  # noqa: F401
    Browser,
    Page,
    address,
    browser,
    launch,
    serve,
    site,
)
from notebook_parts import FOLDED, ROOT, is_hint, pictures, questions, read
from paper import READY, find_chromium

try:
    import pdf
    from pypdf import PdfReader
except ImportError:  # a skip says so
    pdf = PdfReader = None

pytestmark = pytest.mark.browser

LESSONS = sorted(path.stem for path in (ROOT / "lessons").glob("[0-9][0-9]_*.ipynb"))
N_PARTS = 4  # of all lessons: several processes can share them
PAPER_WIDTH = 680  # A4 between its margins, in pixels
# What reaches beyond the paper, or is cut off inside of a box; and what is dark there.
BEYOND_PAPER = """() => [...document.querySelectorAll("article *")].filter(e => {
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  if (!e.getClientRects().length || e.closest("mjx-assistive-mml")) return false;
  const cut = style.overflowX !== "visible" && e.scrollWidth > e.clientWidth + 1;
  return box.left < -1 || box.right > innerWidth + 1 || cut;
}).map(e => `${e.tagName} ${e.textContent.trim().slice(0, 40)}`)"""
DARK_ON_PAPER = """() => {
  const light = colour => {
    const [r, g, b, alpha = 1] = colour.match(/[\\d.]+/g).map(Number);
    return alpha ? (.21 * r + .72 * g + .07 * b) / 255 : null;
  };
  const found = [];
  for (const e of document.querySelectorAll("html, body, article, article *")) {
    if (!e.getClientRects().length || e.closest("svg, mjx-container")) continue;
    const style = getComputedStyle(e), paper = light(style.backgroundColor);
    const words = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (paper !== null && paper < .8) found.push(`${e.tagName} lies on dark`);
    if (words && light(style.color) > .6) found.push(`${e.tagName} is pale`);
  }
  return found;
}"""


def on_paper(browser: Browser, where: str) -> Page:
    """A page that was read in the dark, as it is printed."""
    page = browser.new_page(
        color_scheme="dark", viewport={"width": PAPER_WIDTH, "height": 900}
    )
    page.goto(where, wait_until="load")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.evaluate(READY)
    return page


def write_with(tool: str, *arguments: object) -> None:
    """Run a tool in a process of its own, which has a Chromium of its own."""
    if find_chromium() is None:
        missing("no Chromium is found: install your system's package `chromium`")
    command = [sys.executable, ROOT / "book" / "_tools" / tool, *arguments]
    subprocess.run([str(part) for part in command], check=True)


@pytest.mark.parametrize("part", range(N_PARTS))
def test_a_lesson_fits_on_paper_in_light_colours(
    browser: Browser,
    address: str,
    part: int,  # noqa: F811
) -> None:
    problems = {}
    for name in LESSONS[part::N_PARTS]:
        page = on_paper(browser, f"{address}lessons/{name}.html")
        found = page.evaluate(BEYOND_PAPER) + page.evaluate(DARK_ON_PAPER)
        if page.locator("details:not([open])").count():
            found.append("something is still folded")
        if page.locator(
            ":is(.bd-sidebar, .copybtn, input[type=range]):visible"
        ).count():
            found.append("furniture of the screen is printed")
        problems |= {name: found} if found else {}
        page.close()
    assert problems == {}


def test_what_does_not_fit_is_found(  # noqa: F811
    browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text(
        "<!doctype html><html data-theme=dark><body><article><p>fits</p>"
        "<pre style='width: 900px'>wide</pre><div style='overflow: hidden; width: 9em'>"
        "<b style='display: block; width: 99em'>cut</b></div>"
        "<p style='background: #123; color: #eee'>night</p></article></body></html>",
        "utf-8",
    )
    server = serve(tmp_path)
    page = on_paper(browser, f"http://127.0.0.1:{server.server_port}/page.html")
    beyond, colours = page.evaluate(BEYOND_PAPER), page.evaluate(DARK_ON_PAPER)
    page.close()
    server.shutdown()
    assert {words.split()[-1] for words in beyond} == {"wide", "cut"}
    assert colours == ["P lies on dark", "P is pale"]


# The book


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> PdfReader:
    """The book of two lessons."""
    require_site()
    out = tmp_path_factory.mktemp("book") / "course.pdf"
    write_with("pdf.py", "--only", "06", "07", "--out", out)
    return PdfReader(io.BytesIO(out.read_bytes()))


@pytest.fixture(scope="module")
def texts(book: PdfReader) -> list[str]:
    """The words of each page of the book."""
    return [" ".join(page.extract_text().split()) for page in book.pages]


def titled(texts: list[str], title: str) -> range:
    """The indices of a chapter's pages: its title stands at their foot."""
    found = [
        n for n, text in enumerate(texts) if re.search(rf"{title} ?{n + 1}$", text)
    ]
    assert found == list(range(found[0], found[-1] + 1))
    return range(found[0], found[-1] + 1)


def test_each_chapter_begins_where_the_contents_say(
    book: PdfReader, texts: list[str]
) -> None:
    for title in ("06 · Attention", "Answers to 07 · Multi-head attention"):
        pages = titled(texts, f"(?<!to ){title}")
        assert re.search(rf"{title}[ .]*{pages[0] + 1}\b", texts[1])
        # The links back stand at the side, and are read first.
        assert re.match(rf"(back )*{title}", texts[pages[0]])
    names = [item.title for item in book.outline if not isinstance(item, list)]
    assert names == ["Part II: The parts", "Answers and hints"]
    assert all(len(text) > 60 for text in texts)  # no page is empty


def test_answers_stand_at_the_end_and_nothing_is_lost(texts: list[str]) -> None:
    lesson = " ".join(texts[n] for n in titled(texts, "(?<!to )06 · Attention"))
    answers = " ".join(texts[n] for n in titled(texts, "Answers to 06 · Attention"))
    for words in ("a sum has no order", "undoes the logarithm", "32 positions: 1,024"):
        assert words in answers and words not in lesson
    notebook = read(ROOT / "lessons" / "06_attention.ipynb")
    for question in questions(notebook):
        assert question in lesson and question in answers
    folded = [
        is_hint(match[1])
        for cell in notebook["cells"]
        for match in FOLDED.finditer("".join(cell["source"]))
    ]
    assert lesson.count("see the hint") == sum(folded) > 2
    assert lesson.count("see the answer") == len(folded) - sum(folded) > 2
    assert answers.count("back") >= len(folded)
    for cell in notebook["cells"]:
        for line in cell["source"] if cell["cell_type"] == "code" else []:
            if "remove-cell" not in cell["metadata"].get("tags", []):
                assert "".join(line.split()) in "".join((lesson + answers).split())


def test_links_stay_inside(book: PdfReader) -> None:
    base, places, elsewhere = pdf.settings()["html"]["baseurl"], set(), set()
    pages = {page.indirect_reference.idnum for page in book.pages}
    for page in book.pages:
        for entry in page.get("/Annots") or ():
            link = entry.get_object()
            if "/Dest" in link:
                goal = [*link["/Dest"]]
                assert goal[0].idnum in pages
                places.add((goal[0].idnum, str(goal[3])))
            else:
                elsewhere.add(str(link["/A"]["/URI"]))
    assert len(places) > 20
    for address in elsewhere:
        assert address.startswith("https://"), address
        assert not address.startswith((f"{base}lessons/06", f"{base}lessons/07"))


def test_the_book_has_all_lessons_in_order() -> None:
    found = pdf.chapters()
    assert [c.address[8:-5] for c in found if c.part.startswith("Part ")] == LESSONS
    assert [c.address for c in found if c.part == "Answers and hints"] == [
        f"lessons/{name}.html?answers" for name in LESSONS
    ]
    more = {c.address for c in pdf.chapters(solutions=True)} - {
        c.address for c in found
    }
    assert more == {f"solutions/{name}.html" for name in LESSONS}


# Slides


def test_a_deck_has_a_slide_for_each_diagram_and_question(tmp_path: Path) -> None:
    write_with("slides.py", "06", "--out", tmp_path)
    notebook = read(ROOT / "lessons" / "06_attention.ipynb")
    found, asked = pictures(notebook), questions(notebook)
    names = {f"06_attention_{n}.svg" for n in range(1, len(found) + 1)}
    assert {p.name for p in tmp_path.glob("*.svg")} == names
    deck = PdfReader(tmp_path / "06_attention.pdf")
    assert len(deck.pages) == 1 + len(found) + len(asked)
    words = [" ".join(page.extract_text().split()) for page in deck.pages]
    for page, text in zip(deck.pages, words, strict=True):
        assert abs(page.mediabox.width / page.mediabox.height - 16 / 9) < 0.01
        assert "06 · Attention" in text
    for page, (_, alt) in zip(deck.pages[1:], found, strict=False):
        notes = [entry.get_object()["/Contents"] for entry in page["/Annots"]]
        assert notes == [alt]
        assert alt in (tmp_path / "06_attention.md").read_text("utf-8")
    for question, text in zip(asked, words[-len(asked) :], strict=True):
        assert question in text
    assert "a sum has no order" not in " ".join(words)  # an answer
