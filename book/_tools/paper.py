"""Chromium as a printer, for the tools that make PDF files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
READY = """async () => {
  const images = [...document.images];
  images.forEach(image => { image.loading = "eager"; });
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  await Promise.all(images.map(image => image.decode().catch(() => {})));
}"""


def find_chromium() -> str | None:
    """Return where Chromium is, under any of its names; None if there is none."""
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "chrome")]
    return next(filter(None, found), None)


@contextmanager
def printer(folder: Path, address: str) -> Iterator[Page]:
    """Open a tab for which the pages of a folder stand at an address.

    Nothing else can be reached from it.

    Raises:
        RuntimeError: if there is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    if path is None:
        raise RuntimeError(
            "no Chromium is found: install your system's package `chromium`"
        )

    def answer(route: Route) -> None:
        name = route.request.url.removeprefix(address).split("?")[0].split("#")[0]
        file = folder / name
        if route.request.url.startswith(address) and file.is_file():
            route.fulfill(path=file)
        else:
            route.abort()

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(color_scheme="light")
        page.route("**/*", answer)
        yield page
        browser.close()


def open_for_paper(page: Page, address: str) -> None:
    """Open a page in light colours and wait for its formulas and pictures."""
    page.goto(address, wait_until="load")
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.evaluate(READY)
