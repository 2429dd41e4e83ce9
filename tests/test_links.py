"""Every link, picture and button of the built site is right. Needs no browser."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from built_site import ROOT, course_pages, missing, page_names, require_site
from course_data import is_finished, read_course

try:
    from bs4 import BeautifulSoup
except ImportError:
    BeautifulSoup = None
try:
    from course_links import parts
    from course_styles import Names, compact, every_theme, slim
except ImportError:  # they need Sphinx
    parts = None

pytestmark = pytest.mark.browser

TITLE = "From Bigram to Transformer"
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
}
# A page shows nothing before these are there: one second on a line of 1.6 Mbit/s.
BEFORE_FIRST_PAINT = 200_000  # bytes, not packed
# A lesson's page with all its pictures, those of its sliders, too; and the whole site.
LESSON_BYTES = 700_000
SITE_BYTES = 25_000_000
PICTURE = re.compile(r"\b_images/[\w.-]+")
MENTION = re.compile(r"\b[Ll]essons?\s+(\d\d)(?![\d.:]\d|\d)")
UNLINKED = "a, code, pre, summary, .math, script, style, h1, h2, h3, .cell_output"
LOADING_LINKS = {"stylesheet", "preload", "icon", "modulepreload"}


@dataclass
class Page:
    """One page: its parsed text and what can be linked in it."""

    name: str
    soup: object
    anchors: set[str]


def read_pages(site: Path) -> dict[str, Page]:
    """Parse every page of a site."""
    if BeautifulSoup is None:
        missing("beautifulsoup4 is not installed: run `make browser`")
    pages = {}
    for name in page_names(site):
        soup = BeautifulSoup((site / name).read_text(encoding="utf-8"), "html.parser")
        anchors = {tag.get("id") or tag.get("name") for tag in soup.find_all(True)}
        pages[name] = Page(name, soup, anchors - {None})
    return pages


@pytest.fixture(scope="module")
def site() -> Path:
    """The folder of the built site."""
    return require_site()


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """All pages of the built site."""
    return read_pages(site)


def broken_links(site: Path, pages: dict[str, Page]) -> list[str]:
    """Local addresses that lead nowhere."""
    problems = []
    for page in pages.values():
        for tag in page.soup.find_all(True):
            for address in filter(None, (tag.get("href"), tag.get("src"))):
                if not leads_somewhere(address, page.name, site, pages):
                    problems.append(f"{page.name}: nothing at {address}")
    return problems


def leads_somewhere(
    address: str, name: str, site: Path, pages: dict[str, Page]
) -> bool:
    """Whether file and place exist; an address elsewhere counts as right."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return True
    if parts.path:
        target = ((site / name).parent / unquote(parts.path)).resolve()
        if not target.is_relative_to(site.resolve()) or not target.is_file():
            return False
        name = target.relative_to(site.resolve()).as_posix()
    fragment = unquote(parts.fragment)
    return not fragment or name not in pages or fragment in pages[name].anchors


def remote_loads(pages: dict[str, Page]) -> list[str]:
    """What a page would fetch from another server when it is opened."""
    problems = []
    for page in pages.values():
        for tag in page.soup.find_all([*LOADS, "link"]):
            if tag.name == "link":
                loads = LOADING_LINKS.intersection(tag.get("rel", []))
                address = tag.get("href", "") if loads else ""
            else:
                address = tag.get(LOADS[tag.name], "")
            if urlsplit(address).netloc:
                problems.append(f"{page.name}: loads {address}")
    return problems


def speechless_pictures(pages: dict[str, Page]) -> list[str]:
    """Pictures of the text whose alternative text says nothing."""
    problems = []
    for page in pages.values():
        for tag in page.soup.select("article img, article svg[role=img]"):
            words = tag.get("alt") or tag.get("aria-label") or ""
            if len(words.split()) < 3 or words.endswith((".png", ".svg", ".jpg")):
                problems.append(f"{page.name}: picture with alt text {words!r}")
    return problems


def test_every_link_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    assert broken_links(site, pages) == []


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, Page]) -> None:
    assert remote_loads(pages) == []


def test_every_picture_says_what_it_shows(pages: dict[str, Page]) -> None:
    assert speechless_pictures(pages) == []


def comes_from_notebook(name: str) -> bool:
    """Whether a page is a lesson, a solution or a room of the museum."""
    return not name.startswith("book/") or name.startswith("book/museum/")


def button_problems(page: Page, config: dict) -> list[str]:
    """Buttons at the top of a page that do not lead to its own source."""
    source = page.name.removesuffix(".html")
    is_notebook = comes_from_notebook(page.name)
    source += ".ipynb" if is_notebook else ".md"
    url, branch = config["repository"]["url"], config["repository"]["branch"]
    repository = url.removeprefix("https://github.com/")
    wanted = {url, f"{url}/blob/{branch}/{source}?plain=1"}
    launches = {
        f"https://colab.research.google.com/github/{repository}/blob/{branch}/{source}",
        f"https://mybinder.org/v2/gh/{repository}/{branch}?urlpath=lab/tree/{source}",
    }
    found = {a.get("href") for a in page.soup.select(".bd-header-article a")}
    missed = (wanted | launches if is_notebook else wanted) - found
    extra = set() if is_notebook else launches & found
    return [f"{page.name}: button {href}" for href in sorted(missed | extra)]


def test_every_button_leads_to_its_own_page(site: Path, pages: dict[str, Page]) -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    problems = [button_problems(pages[name], config) for name in course_pages(site)]
    assert sum(problems, []) == []


def mending_problems(page: Page, config: dict) -> list[str]:
    """A page whose own source cannot be edited, or whose faults not be reported."""
    source = page.name.removesuffix(".html")
    source += ".py" if comes_from_notebook(page.name) else ".md"
    url, branch = config["repository"]["url"], config["repository"]["branch"]
    found = [a["href"] for a in page.soup.select(".mend-page a")]
    report = f"{url}/issues/new?title=A%20problem%20on%20"
    report += page.name.removesuffix(".html").replace("/", "%2F")
    wanted = [f"{url}/edit/{branch}/{source}", report]
    missed = [] if (ROOT / source).is_file() else [source]
    missed += [] if found == wanted else [f"{found} are not {wanted}"]
    return [f"{page.name}: {what}" for what in missed]


def test_every_page_can_be_mended(site: Path, pages: dict[str, Page]) -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    problems = [mending_problems(pages[name], config) for name in course_pages(site)]
    assert sum(problems, []) == []


def test_the_ways_to_lessons_say_how_long_these_take(pages: dict[str, Page]) -> None:
    minutes = {x.heading: x.minutes() for x in read_course().lessons if is_finished(x)}
    ways = [way for p in pages.values() for way in p.soup.select(".prev-next-info")]
    said = {}
    for way in ways:
        takes = way.select_one(".prev-next-minutes")
        title = way.select_one(".prev-next-title").get_text(strip=True)
        said[title] = takes and takes.get_text(strip=True)
    assert {title for title, takes in said.items() if takes} == set(minutes)
    assert all(said[title] == f"{n} minutes" for title, n in minutes.items())


def test_every_page_introduces_itself(site: Path, pages: dict[str, Page]) -> None:
    sitemap = (site / "sitemap.xml").read_text(encoding="utf-8")
    for name in course_pages(site):
        soup = pages[name].soup
        assert soup.title.text.endswith(TITLE), name
        for kind in ({"name": "description"}, {"property": "og:title"}):
            assert len(soup.find("meta", kind)["content"]) > 5, f"{name}: {kind}"
        card = soup.find("meta", {"property": "og:image"})["content"]
        assert (site / "_static" / Path(card).name).is_file(), f"{name}: {card}"
        assert f"/{name}<" in sitemap, f"{name} is not in sitemap.xml"


def test_the_search_index_knows_the_words_of_the_course(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert all(word in index for word in ("bigram", "shakespear", "glossary"))


def bytes_before_first_paint(page: Page, site: Path) -> int:
    """Bytes of all that a browser must read before it shows anything of a page."""
    sheets = page.soup.select("head link[rel=stylesheet]")
    scripts = page.soup.select("head script[src]:not([defer], [async], [type=module])")
    addresses = [tag["href"] for tag in sheets] + [tag["src"] for tag in scripts]
    files = [(site / page.name).parent / urlsplit(one).path for one in addresses]
    return sum(path.stat().st_size for path in files)


def test_little_stands_before_the_first_paint(
    site: Path, pages: dict[str, Page]
) -> None:
    sizes = {n: bytes_before_first_paint(pages[n], site) for n in course_pages(site)}
    assert 50_000 < max(sizes.values()) < BEFORE_FIRST_PAINT


def page_bytes(name: str, site: Path) -> int:
    """Bytes of a page and of every picture that it may show, not packed."""
    html = (site / name).read_bytes()
    pictures = set(PICTURE.findall(html.decode("utf-8")))
    return len(html) + sum((site / picture).stat().st_size for picture in pictures)


def test_no_lesson_is_heavy(site: Path) -> None:
    lessons = [name for name in course_pages(site) if name.startswith("lessons/")]
    sizes = {name: page_bytes(name, site) for name in lessons}
    assert {n: size for n, size in sizes.items() if size > LESSON_BYTES} == {}
    assert max(sizes.values()) > 100_000


def test_the_site_is_light(site: Path) -> None:
    sizes = [path.stat().st_size for path in site.rglob("*") if path.is_file()]
    assert 5_000_000 < sum(sizes) < SITE_BYTES


def picture_problems(page: Page) -> list[str]:
    """Pictures that move the text when they arrive, or that load too early or heavy."""
    problems = []
    pictures = page.soup.select("article img:not([src*=colab-badge])")
    for i, tag in enumerate(pictures):
        what = f"{page.name}: {tag.get('src', '')[:60]}"
        if not all(tag.get(side, "").isdigit() for side in ("width", "height")):
            problems.append(f"{what} has no size")
        if i and tag.get("loading") != "lazy":
            problems.append(f"{what} does not wait")
        if tag.get("src", "").startswith("data:"):
            problems.append(f"{what} is embedded")
    return problems


def test_pictures_have_their_sizes_and_wait(pages: dict[str, Page]) -> None:
    assert sum(map(picture_problems, pages.values()), []) == []
    pictures = [tag for p in pages.values() for tag in p.soup.select("article img")]
    kinds = {Path(tag["src"]).suffix for tag in pictures}
    assert kinds <= {".svg", ".webp", ".png"} and ".webp" in kinds


def test_a_picture_without_a_size_is_found() -> None:
    if BeautifulSoup is None:
        missing("beautifulsoup4 is not installed: run `make browser`")
    html = (
        "<article><img src='a.webp' width='1' height='2'><img src='b.webp' width='1' "
        "height='auto' loading='lazy'><img src='data:,' width='1' height='2'></article>"
    )
    page = Page("lessons/01_x.html", BeautifulSoup(html, "html.parser"), set())
    said = [problem.split(": ", 1)[1] for problem in picture_problems(page)]
    assert said == [
        "b.webp has no size",
        "data:, does not wait",
        "data:, is embedded",
    ]


def test_a_page_has_mathjax_if_it_has_formulas(pages: dict[str, Page]) -> None:
    for page in pages.values():
        has_mathjax = bool(page.soup.select("script[src*=mathjax]"))
        assert has_mathjax == bool(page.soup.select("article .math")), page.name


def test_no_icon_font_is_left(site: Path, pages: dict[str, Page]) -> None:
    assert not list(site.rglob("*fontawesome*"))
    for page in pages.values():
        assert not page.soup.select("[href*=fontawesome], [src*=fontawesome]")


SHEET = """/* .gone { } */
@import "x.css"; @charset "utf-8";
.here, .gone > p, #top:not(.gone, :is(.lost)) { color: red }
.gone { color: red } p::before { content: "x" }
@media (max-width: 9px) { .gone { color: red } .bs-tip { color: red } }
@media print { .gone { color: red } }
"""


def test_rules_that_no_page_needs_are_left_out() -> None:
    if parts is None:
        missing("sphinx is not installed: run `make browser`")
    names = Names(["<p class='here' id=\"top\">gone</p>"], ["add(`bs-${kind}`)"])
    assert slim(compact(SHEET), names).splitlines() == [
        ".here,#top:not(.gone, :is(.lost)){color: red}",
        'p::before{content: "x"}',
        "@media (max-width: 9px){.bs-tip{color: red}",
        "}",
    ]


def test_colours_hold_on_paper_and_where_no_theme_is_chosen() -> None:
    if parts is None:
        missing("sphinx is not installed: run `make browser`")
    css = 'html[data-theme="light"] p{a: b}html[data-theme=dark] p,q{c: d}'
    assert every_theme(css).splitlines() == [
        "html:not([data-theme=dark]) p{a: b}",
        "q{c: d}",
        *("@media print{", "html[data-theme=dark] p{a: b}", "}"),
        *("@media screen{", "html[data-theme=dark] p{c: d}", "}"),
        "@media screen and (prefers-color-scheme: dark){",
        *("html:not([data-theme=light],[data-theme=dark]) p{c: d}", "}"),
    ]


def test_no_page_needs_the_parts_that_are_left_out(pages: dict[str, Page]) -> None:
    for page in pages.values():  # sphinx-design, sphinx-togglebutton
        used = page.soup.select("article :is([class*='sd-'], .toggle, .dropdown)")
        assert not used, f"{page.name}: see UNUSED in course_offline.py"


def unlinked_mentions(page: Page, finished: set[int]) -> list[str]:
    """Mentions of finished lessons that are no links, outside code and headings."""
    article = BeautifulSoup(str(page.soup.find("article")), "html.parser")
    for element in article.select(UNLINKED):
        element.decompose()
    found = MENTION.findall(article.get_text())
    own = re.match(r"lessons/(\d\d)_", page.name)
    found = [n for n in found if int(n) in finished and not (own and n == own[1])]
    return [f"{page.name}: lesson {number} is not linked" for number in found]


def test_every_mention_of_a_lesson_is_a_link(
    site: Path, pages: dict[str, Page]
) -> None:
    finished = {one.number for one in read_course().lessons if is_finished(one)}
    names = course_pages(site)
    problems = [unlinked_mentions(pages[name], finished) for name in names]
    assert sum(problems, []) == []
    links = pages["lessons/00_quickstart.html"].soup.select("article p a")
    assert any(re.fullmatch(r"lesson\s\d\d", link.text) for link in links)


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("as in lesson 06, where", ["lesson 06"]),
        ("Lesson\n13's model", ["Lesson\n13"]),
        ("lessons 03 to 07; 12 more", ["03", "07"]),
        ("lessons 03, 04 and 05.", ["03", "04", "05"]),
        ("lesson 06, 12 heads", ["lesson 06"]),
        ("lesson 6, lesson 123, lesson 12.5, Lessons", []),
        ("lesson 01 or lesson 02", ["lesson 01", "lesson 02"]),
    ],
)
def test_mentions_are_found(text: str, links: list[str]) -> None:
    if parts is None:
        missing("sphinx is not installed: run `make browser`")
    found = list(parts(text))
    assert [piece for piece, number in found if number is not None] == links
    assert all(piece.endswith(f"{n:02}") for piece, n in found if n is not None)
    assert "".join(piece for piece, _ in found) == text


# The test's own test, on a small broken site

BROKEN = """<html><body><article id="top">
<a href="nowhere.html">no file</a> <a href="#bottom">no place</a>
<a href="../outside.html">outside</a> <a href="page.html#top">right</a>
<img src="picture.png"> <svg role="img" aria-label="ladder.svg"></svg>
<script src="https://cdn.example.org/x.js"></script>
<a href="https://example.org">elsewhere, but only when clicked</a>
</article></body></html>"""


def test_a_broken_page_is_found(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "outside.html").write_text("", encoding="utf-8")
    (site / "page.html").write_text(BROKEN, encoding="utf-8")
    pages = read_pages(site)
    wrong = ("nowhere.html", "#bottom", "../outside.html", "picture.png")
    assert broken_links(site, pages) == [f"page.html: nothing at {a}" for a in wrong]
    assert remote_loads(pages) == ["page.html: loads https://cdn.example.org/x.js"]
    assert len(speechless_pictures(pages)) == 2


def test_an_unlinked_mention_is_found() -> None:
    if BeautifulSoup is None:
        missing("beautifulsoup4 is not installed: run `make browser`")
    html = "<article><p>lesson 02, lesson 07, <a>lesson 03</a>, lesson 03</p></article>"
    page = Page("lessons/02_x.html", BeautifulSoup(html, "html.parser"), set())
    said = unlinked_mentions(page, {2, 3})
    assert said == ["lessons/02_x.html: lesson 03 is not linked"]


def test_a_wrong_button_is_found() -> None:
    if BeautifulSoup is None:
        missing("beautifulsoup4 is not installed: run `make browser`")
    config = {"repository": {"url": "https://github.com/a/b", "branch": "main"}}
    colab = "https://colab.research.google.com/github/a/b/blob/main/lessons/01_x.ipynb"
    html = f'<div class="bd-header-article"><a href="{colab}"></a></div>'
    soup = BeautifulSoup(html, "html.parser")
    assert len(button_problems(Page("lessons/01_x.html", soup, set()), config)) == 3
    assert len(button_problems(Page("lessons/02_y.html", soup, set()), config)) == 4
