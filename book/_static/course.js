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

  // The search looks up the ids of modules, whose dots would be taken for classes.
  addEventListener("DOMContentLoaded", () => {
    if (typeof Search === "undefined") return;
    const toText = Search.htmlToText;
    Search.htmlToText = (html, anchor) => toText(html, anchor?.replaceAll(".", "\\."));
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

  // A browser that comes back to a page restores its sliders, but not their pictures.
  addEventListener("pageshow", () => document
    .querySelectorAll("figure input[type=range]")
    .forEach(slider => slider.dispatchEvent(new Event("input"))));
}
