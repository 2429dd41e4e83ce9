// What all live panels share: elements, a shadow root with the style, the start.

import { CSS } from "./panel.css";

/** A token as it is shown where a bare space or line break would not be seen. */
export const visible = (token) => token.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣");

export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

let panels = 0; // for ids: several panels may share a page

export class View {
  /** sources: by name, functions that return a promise of a file's bytes. */
  constructor(host, sources, options = {}) {
    this.host = host;
    this.sources = sources;
    this.options = options;
    this.id = `playground-${panels++}`;
  }

  /** Put elements into the host's shadow, where the page's style does not reach. */
  show(...children) {
    const shadow = this.host.shadowRoot ?? this.host.attachShadow({ mode: "open" });
    const panel = make("div", { className: "panel" }, ...children);
    shadow.replaceChildren(make("style", { textContent: CSS }), panel);
    return panel;
  }

  labelled(text, input) {
    input.id = `${this.id}-${input.name || text.toLowerCase().replaceAll(" ", "-")}`;
    return make("label", { htmlFor: input.id, textContent: text });
  }

  heading(text) {
    return make("p", { className: "heading", textContent: text });
  }

  button(text, onclick, className = "") {
    return make("button", { type: "button", textContent: text, onclick, className });
  }

  /** A table with a row of headings. */
  table(headings, rows) {
    const head = headings.map((text) => make("th", { scope: "col", textContent: text }));
    return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  }

  /** A part of the panel that scrolls, also with the keyboard. */
  region(tag, label, className, properties = {}) {
    return make(tag, { className, tabIndex: 0, role: "region", "aria-label": label, ...properties });
  }
}

/** Put a panel into an element; returns it when it has read what it shows. Not seen before,
 * so that nothing moves while it fills. */
export async function fill(Kind, host, sources, options) {
  const panel = new Kind(host, sources, options), whole = host.shadowRoot.lastChild;
  whole.style.visibility = "hidden";
  try {
    await panel.begin();
  } catch (error) {
    whole.textContent = `This could not start: ${error.message}.`;
    throw error;
  } finally {
    whole.style.visibility = "";
  }
  host.panel = panel;
  host.dataset.ready = "1";
  return panel;
}
