"""Measure the live model in Chromium: its start, its first token, tokens per second.

``make panel`` builds the site first. Each is measured as it is, and with the
processor slowed down four times, as on an old phone. Times vary on a busy machine: the
least of several tries is shown.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from chromium import Page, serve, sync_playwright  # noqa: E402
from paper import FLAGS, find_chromium  # noqa: E402

PAGE = "book/playground.html"
TRIES, SLOWER = 3, (1, 4)
# Presses a button and says how many milliseconds go by until a token more is shown.
ONE_TOKEN = """() => new Promise(done => {
  const host = document.querySelector("[data-tokens]"), start = performance.now();
  new MutationObserver((_, watch) => {
    watch.disconnect();
    requestAnimationFrame(() => done(performance.now() - start));
  }).observe(host, {attributeFilter: ["data-tokens"]});
  for (const button of host.shadowRoot.querySelectorAll("button"))
    if (button.textContent === "One token") button.click();
})"""
# Lets it write for some seconds; says how many tokens a second came, and for how long
# the page did not answer.
WRITE = """([seconds, before]) => new Promise(done => {
  const host = document.querySelector("[data-tokens]");
  const tokens = () => Number(host.dataset.tokens);
  const press = name => [...host.shadowRoot.querySelectorAll("button")]
    .find(button => button.textContent === name).click();
  let blocked = 0;
  const watch = new PerformanceObserver(list => list.getEntries().forEach(
    entry => { blocked = Math.max(blocked, entry.duration); }));
  watch.observe({entryTypes: ["longtask"]});
  const end = () => {
    press("Stop");
    watch.disconnect();
    const taken = (performance.now() - start) / 1000;
    done({speed: (tokens() - first) / taken, blocked});
  };
  const first = tokens(), start = performance.now();
  press("Write");
  const timer = setInterval(() => {
    if (performance.now() - start < 1000 * seconds && tokens() < before) return;
    clearInterval(timer);
    end();
  }, 10);
})"""


def measure(page: Page, address: str) -> dict[str, float]:
    """Return what a visitor of the page waits for, in milliseconds and tokens/s."""
    page.goto(address + PAGE)
    page.wait_for_selector("[data-ready]")
    slider = page.get_by_label("Tokens a second")
    slider.evaluate("input => { input.max = 10_000; input.value = 10_000; }")
    start = page.locator("[data-start-ms]").get_attribute("data-start-ms")
    found = {"start, ms": float(start), "first token, ms": page.evaluate(ONE_TOKEN)}
    short = page.evaluate(WRITE, [2, 50])
    page.evaluate(WRITE, [30, 100])  # until the window is full
    full = page.evaluate(WRITE, [4, 10**6])
    found |= {"tokens/s, short": short["speed"], "tokens/s, full": full["speed"]}
    return found | {"longest block, ms": max(short["blocked"], full["blocked"])}


def main() -> None:
    """Print one line for each speed of the processor."""
    server = serve(ROOT / "_build" / "html")
    address = f"http://127.0.0.1:{server.server_port}/"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        for slower in SLOWER:
            tries = []
            for _ in range(TRIES):
                page = browser.new_page()
                session = page.context.new_cdp_session(page)
                session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
                tries.append(measure(page, address))
                page.close()
            best = {
                name: (max if "tokens/s" in name else min)(t[name] for t in tries)
                for name in tries[0]
            }
            shown = "; ".join(f"{name}: {value:.0f}" for name, value in best.items())
            print(f"processor / {slower}: {shown}", flush=True)
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
