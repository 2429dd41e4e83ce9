"""Chromium for the tests that look at the built site: pages, messages, axe."""

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from built_site import missing, require_site
from paper import FLAGS, find_chromium

try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import (
        Browser,
        ConsoleMessage,
        Page,
        Request,
        sync_playwright,
    )
except ImportError:  # a skip says so
    sync_playwright = Axe = Browser = Page = ConsoleMessage = Request = None

WIDTHS = (320, 375, 1280)
# What axe finds in the theme itself: (rule, element).
THEME = {("region", ".title")}
AXE_OPTIONS = {"resultTypes": ["violations"], "preload": False}
RUN_AXE = """async options => (await axe.run(options)).violations
  .flatMap(rule => rule.nodes.map(node => [rule.id, node.target.join(" ")]))"""
MEASURE_MARKED = """() => axe.configure({
  rules: [{id: "color-contrast", selector: "[data-look]"}]})"""
# Contrast depends on the colours and the size of a text alone: mark one element of
# each look, and let axe measure those instead of five thousand.
MARK_LOOKS = """() => {
  const looks = new Set(), clear = "rgba(0, 0, 0, 0)";
  const paper = e => e && getComputedStyle(e).backgroundColor === clear
    ? paper(e.parentElement) : e && getComputedStyle(e).backgroundColor;
  for (const e of document.body.querySelectorAll("*")) {
    e.removeAttribute("data-look");
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(e);
    const look = [style.color, paper(e), style.fontSize, style.fontWeight].join();
    if (e.getClientRects().length && !looks.has(look)) {
      looks.add(look);
      e.setAttribute("data-look", "");
    }
  }
}"""

# Colours change at once, so that nothing is measured on the way.
NO_TRANSITIONS = """addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = "* { transition: none !important; }";
  document.head.append(style);
})"""


@pytest.fixture(scope="module")
def site() -> Path:
    """The folder of the built site."""
    return require_site()


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[[], "Browser"]]:
    """A function that returns Chromium: the running one, or another if that ended."""
    if sync_playwright is None:
        missing("playwright is not installed: run `make browser`")
    if (path := find_chromium()) is None:
        missing("no Chromium is found: install your system's package `chromium`")
    with sync_playwright() as play:
        started: list[Browser] = []

        def running() -> "Browser":
            if not (started and started[-1].is_connected()):
                started.append(play.chromium.launch(executable_path=path, args=FLAGS))
            return started[-1]

        yield running
        for browser in started:
            browser.close()


@pytest.fixture
def browser(launch: Callable[[], "Browser"]) -> Iterator["Browser"]:
    """Chromium, running; the tabs that a test leaves open are closed after it."""
    browser = launch()
    yield browser
    if browser.is_connected():
        for context in browser.contexts:
            context.close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line per request."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def serve(folder: Path) -> http.server.ThreadingHTTPServer:
    """Serve a folder on a free port of this machine, in a thread."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the built site is served over http."""
    server = serve(site)
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def open_page(browser: "Browser", base: str) -> tuple["Page", list[str]]:
    """A new tab, and the list that its messages and requests elsewhere will go to."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(NO_TRANSITIONS)
    heard: list[str] = []

    def hear_message(message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):  # the theme logs its own doings
            heard.append(f"console: {message.text}")

    def hear_failure(request: "Request") -> None:
        if request.failure != "net::ERR_ABORTED":  # the test itself went on
            heard.append(f"failed: {request.url}")

    def hear_request(request: "Request") -> None:
        if not request.url.startswith((base, "data:", "blob:")):
            heard.append(f"elsewhere: {request.url}")

    page.on("console", hear_message)
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("requestfailed", hear_failure)

    page.on("request", hear_request)
    return page, heard


def start_axe(page: "Page") -> None:
    """Load axe into a page, to measure one element of each look."""
    page.evaluate(Axe().axe_script)
    page.evaluate(MEASURE_MARKED)


def measured(page: "Page", **options: object) -> set[tuple[str, str]]:
    """What axe finds on a page as it is now, as pairs of a rule and an element."""
    page.evaluate(MARK_LOOKS)
    found = page.evaluate(RUN_AXE, {**AXE_OPTIONS, **options})
    return {(rule, element) for rule, element in found}


def violations(page: "Page", theme: str, **options: object) -> set[tuple[str, str]]:
    """What axe finds on a page in a theme."""
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    return measured(page, **options)


def axe_problems(page: "Page") -> list[str]:
    """What axe finds on a page in light, and in its colours in dark."""
    start_axe(page)
    found = violations(page, "light")
    found |= violations(page, "dark", runOnly=["color-contrast"])
    return [f"axe: {rule} at {element}" for rule, element in sorted(found - THEME)]
