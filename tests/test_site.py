"""Every page of the built site, opened in Chromium, over http and from disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
from built_site import course_pages, page_names
from chromium import (
    WIDTHS,
    Browser,
    Page,
    address,
    axe_problems,
    browser,
    launch,
    measured,
    open_page,
    serve,
    site,
    start_axe,
)

pytestmark = pytest.mark.browser

# Formulas of which a part cannot be seen: it is outside of a box that does not scroll.
CUT_OFF = """() => {
  const cut = [];
  for (const formula of document.querySelectorAll(".bd-article mjx-math")) {
    let {left, right} = formula.getBoundingClientRect(), fits = true;
    for (let box = formula; box.tagName !== "ARTICLE"; box = box.parentElement) {
      const edge = box.getBoundingClientRect();
      const scrolls = getComputedStyle(box).overflowX;
      if (right <= edge.right + 1.5 && left >= edge.left - 1.5) continue;
      if (scrolls === "hidden" || scrolls === "clip") fits = false;
      if (scrolls === "auto" || scrolls === "scroll") ({left, right} = edge);
    }
    if (!fits || right > innerWidth) cut.push(formula.closest("section").id);
  }
  return cut;
}"""
# Icons of the page that nothing is drawn for.
BARE_ICONS = """() => [...document.querySelectorAll("i[class*=fa-], span[class*=fa-]")]
  .filter(icon => icon.getClientRects().length)
  .filter(icon => !getComputedStyle(icon, "::before").maskImage.startsWith("url("))
  .map(icon => icon.className)"""
CUT_ON_PAPER = """() => [...document.querySelectorAll(".bd-article pre")]
  .filter(e => e.getClientRects().length && e.scrollWidth > e.clientWidth + 1)
  .map(e => e.innerText.slice(0, 60))"""

# The page hears of its new width, and is drawn again.
NEXT_FRAMES = """() => new Promise(
  done => requestAnimationFrame(() => requestAnimationFrame(done)))"""


def wait_for_formulas(page: "Page") -> None:
    """Wait until MathJax, where the page has it, has set every formula."""
    page.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise")


def layout_problems(page: "Page") -> list[str]:
    """The widths at which a page scrolls sideways, or cuts off a formula."""
    problems = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(NEXT_FRAMES)
        inner = page.evaluate("document.documentElement.scrollWidth")
        if inner > width:
            problems.append(f"{inner} pixels wide on a screen of {width}")
        for formula in page.evaluate(CUT_OFF):
            problems.append(f"a formula of {formula} is cut off at {width}")
    return problems + [f"no icon: {name}" for name in page.evaluate(BARE_ICONS)]


def key_problems(page: "Page") -> list[str]:
    """What makes a reader press Tab for nothing, or cannot be reached with it."""
    problems = []
    if page.locator(".cell_output .copybtn, mjx-container[tabindex]").count():
        problems.append("an output's copy button or a formula is a stop of Tab")
    cells = page.locator(".cell_input")
    if cells.count() != cells.locator(".copybtn").count():
        problems.append("code without a copy button")
    return problems


def look_at(
    browser: "Browser", base: str, names: list[str], *checks: Callable
) -> dict[str, list[str]]:
    """Open pages one after the other; return what is wrong with each."""
    page, heard = open_page(browser, base)
    problems = {}
    for name in names:
        heard.clear()
        page.goto(base + name, wait_until="load")
        wait_for_formulas(page)
        problems[name] = list(heard)
        problems[name] += [problem for check in checks for problem in check(page)]
    page.close()
    return {name: found for name, found in problems.items() if found}


CHECKS = (layout_problems, key_problems, axe_problems)
N_PARTS = 6  # of all pages: several processes can share them


@pytest.mark.parametrize("part", range(N_PARTS))
def test_pages_over_http(
    browser: "Browser", site: Path, address: str, part: int
) -> None:
    written = course_pages(site)
    others = [name for name in page_names(site) if name not in written]
    assert look_at(browser, address, written[part::N_PARTS], *CHECKS) == {}
    assert look_at(browser, address, others[part::N_PARTS]) == {}


def test_pages_from_disk(browser: "Browser", site: Path) -> None:
    base = site.resolve().as_uri() + "/"
    problems = look_at(browser, base, page_names(site))
    assert problems == {}


def test_the_root_leads_to_the_first_page(
    browser: "Browser", site: Path, address: str
) -> None:
    for base in (address, site.resolve().as_uri() + "/"):
        page, heard = open_page(browser, base)
        page.goto(base + "index.html")
        page.wait_for_url("**/book/intro.html")
        assert (
            page.locator("article h1")
            .inner_text()
            .startswith("From Bigram to Transformer")
        )
        assert heard == []
        page.close()


def test_an_old_address_keeps_the_place_on_the_page(
    browser: "Browser", site: Path, address: str
) -> None:
    for base in (address, site.resolve().as_uri() + "/"):
        for scripts, place in ((True, "#exercises"), (False, "")):
            page = browser.new_page(java_script_enabled=scripts)
            page.goto(f"{base}lessons/04_attention.html#exercises")
            page.wait_for_url(f"{base}lessons/06_attention.html{place}")
            page.close()


def test_search_finds_a_word(browser: "Browser", address: str) -> None:
    page, heard = open_page(browser, address)
    page.goto(address + "book/intro.html")
    page.locator("button.search-button-field:visible").click()
    page.keyboard.type("perplexity")
    page.keyboard.press("Enter")
    page.locator("#search-results a[href*='glossary']").first.wait_for()
    assert heard == []
    page.close()


BAR = "getComputedStyle(document.querySelector('.ladder-svg .bar')).fill"
COLOURS = f"""() => [{BAR}, ...["article h2", "body"].map(
  e => getComputedStyle(document.querySelector(e)),
).map(style => style.color + style.backgroundColor)]"""


def test_the_ladder_is_drawn_in_both_themes(browser: "Browser", address: str) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        for scripts in (True, False):
            page = browser.new_page(color_scheme=scheme, java_script_enabled=scripts)
            page.goto(address + "book/intro.html")
            theme = page.evaluate("document.documentElement.dataset.theme")
            assert theme == (scheme if scripts else "auto")
            seen[scheme, scripts] = page.evaluate(COLOURS)
            page.evaluate("document.documentElement.removeAttribute('data-theme')")
            seen[scheme, None] = page.evaluate(COLOURS)
            page.close()
        assert seen[scheme, True] == seen[scheme, False] == seen[scheme, None]
        assert "rgb(0, 0, 0)" not in seen[scheme, True]
    assert not set(seen["light", True]) & set(seen["dark", True])


def test_on_paper_all_is_open_dark_on_light_and_whole(
    browser: "Browser", address: str
) -> None:
    page = browser.new_page(color_scheme="dark", viewport={"width": 700, "height": 900})
    page.goto(address + "lessons/08_feed_forward.html", wait_until="load")
    assert page.evaluate(CUT_ON_PAPER) != []  # on this screen
    closed = page.locator("article details:not([open])")
    n_closed = closed.count()
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert n_closed > 2 and closed.count() == 0
    assert page.evaluate(CUT_ON_PAPER) == []
    start_axe(page)
    assert measured(page, runOnly=["color-contrast"]) == set()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert closed.count() == n_closed
    page.close()


def test_a_slider_that_the_browser_restores_shows_its_picture(
    browser: "Browser", address: str
) -> None:
    page = browser.new_page()
    page.goto(address + "lessons/02_bigram.html", wait_until="load")
    name = page.locator("figure[id^=frames] b").first
    slider = page.locator("figure[id^=frames] input").first
    said = name.inner_text()
    slider.evaluate("input => { input.value = input.max; }")  # as a browser restores it
    page.evaluate("dispatchEvent(new Event('pageshow'))")
    assert name.inner_text() != said
    assert name.inner_text() == slider.get_attribute("aria-valuetext")
    page.close()


# The test's own test, on a small broken site

BROKEN = """<!doctype html><html lang="en"><head><title>x</title>
<link rel="icon" href="data:,"></head><body><main><h1>Title</h1>
<p style="color: #ccc; background: #fff">pale</p><div style="width: 700px">wide</div>
<img src="gone.png"><script>console.warn("noise"); nowhere()</script>
<script src="http://localhost:9/elsewhere.js"></script></main></body></html>"""


def test_a_broken_page_is_found(browser: "Browser", tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(BROKEN, encoding="utf-8")
    server = serve(tmp_path)
    base = f"http://127.0.0.1:{server.server_port}/"
    found = look_at(browser, base, ["page.html"], layout_problems, axe_problems)
    server.shutdown()
    said = "\n".join(found["page.html"])
    assert "console: noise" in said and "nowhere is not defined" in said
    assert "elsewhere: http://localhost:9/elsewhere.js" in said
    assert "404" in said and "pixels wide on a screen of 320" in said
    assert "axe: color-contrast at p" in said and "axe: image-alt at img" in said
