// What style sheets cannot do. Everything can be read without it, too.
{
  // On paper all answers are open.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach(details => { details.open = true; });
  });
  addEventListener("afterprint", () => {
    opened.forEach(details => { details.open = false; });
  });

  // Code and formulas that are wider than their place scroll in it, with keys as well.
  const markWide = box => {
    const formula = box.querySelector("mjx-math"); // its words for screen readers are wider
    const width = formula ? formula.getBoundingClientRect().width : box.scrollWidth;
    const wide = width > box.clientWidth + 1;
    box.classList.toggle("wide", wide);
    if (wide) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  const markAll = () => document
    .querySelectorAll(".bd-article :is(pre, div.math, span.math)").forEach(markWide);
  addEventListener("load", async () => {
    await window.MathJax?.startup?.promise;
    markAll();
    addEventListener("resize", markAll);
    addEventListener("toggle", markAll, true); // what was folded had no width
  });

  // The other pictures of a slider are fetched when a reader turns to it.
  const fetchFrames = ({ target }) => {
    const script = target.closest?.("figure[id^=frames]")?.querySelector("script");
    if (!script || script.dataset.fetched) return;
    script.dataset.fetched = "yes";
    for (const [address] of script.textContent.matchAll(/[^"]+\.(?:webp|png)(?=")/g)) {
      new Image().src = address;
    }
  };
  for (const kind of ["pointerover", "focusin"]) addEventListener(kind, fetchFrames);

  // A browser that comes back to a page restores its sliders, but not their pictures.
  addEventListener("pageshow", () => document
    .querySelectorAll("figure input[type=range]")
    .forEach(slider => slider.dispatchEvent(new Event("input"))));
}
