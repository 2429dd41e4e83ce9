// The tokenizer's panel: a text in pieces, and the merges that made them, one by one.

import { BPETokenizer } from "./tokens.js";
import { View, fill, make, visible } from "./view.js";

const LONGEST = 2000; // characters
const TEXT = "The tokenizer of this course knows Shakespeare: thou, thee and the king's café 🎭.";

class TokenizerPanel extends View {
  constructor(host, sources, options) {
    super(host, sources, options);
    this.text = make("textarea", { name: "text", rows: 3, maxLength: LONGEST, spellcheck: false, value: this.options.text ?? TEXT });
    this.text.oninput = () => this.restart();
    this.said = make("p", { className: "note lines", role: "status" });
    this.pieces = this.region("div", "The text in pieces", "text pieces");
    this.counts = make("p", { className: "note lines" });
    this.list = make("ol", { className: "note" });
    const all = make("details", {}, make("summary", { textContent: "All merges of this text, in their order" }), this.list);
    this.show(this.labelled("Text", this.text), this.text, this.slider(), this.said, this.pieces, this.counts, all);
  }

  slider() {
    this.range = make("input", { type: "range", className: "range", name: "merges", min: 0, step: 1 });
    this.range.oninput = () => this.go(Number(this.range.value));
    const move = (by) => () => this.go(this.step + by);
    return make("div", { className: "steps" }, this.labelled("Merges of this text", this.range), this.range,
      make("div", { className: "bar" },
        this.button("No merge", () => this.go(0)), this.button("One back", move(-1)),
        this.button("One merge", move(1), "main"), this.button("All merges", () => this.go(Infinity))));
  }

  async begin() {
    const [load] = Object.values(this.sources);
    this.tokenizer = new BPETokenizer(JSON.parse(new TextDecoder().decode(await load())));
    this.restart();
  }

  /** A new text: all its merges are done. */
  restart() {
    this.steps = this.tokenizer.steps(this.text.value);
    this.range.max = this.steps.merges.length;
    this.list.replaceChildren(...this.steps.merges.map((id) =>
      make("li", { textContent: `${this.merge(id)}, merge ${id - 255} of ${this.tokenizer.merges.length}` })));
    this.go(Infinity);
  }

  /** Show the text after so many of its merges. */
  go(step) {
    this.step = Math.max(0, Math.min(step, this.steps.merges.length));
    const id = this.steps.merges[this.step - 1], ids = this.idsAt(this.step);
    this.range.value = this.step;
    this.said.textContent = this.sentence(id, this.idsAt(this.step - 1).length - ids.length);
    this.range.setAttribute("aria-valuetext", `${this.step} of ${this.steps.merges.length}`);
    this.showPieces(ids, id);
    this.showCounts(ids.length);
    this.host.dataset.step = this.step;
  }

  /** The ids after a number of the text's merges. */
  idsAt(step) {
    const id = this.steps.merges[step - 1];
    return this.steps.after(id === undefined ? 0 : id - 255);
  }

  sentence(id, n) {
    const all = this.steps.merges.length;
    if (all === 0) return "No merge fits this text: each byte stays a token.";
    if (id === undefined) return `Step 0 of ${all}. Each byte is a token.`;
    const places = n === 1 ? "1 place" : `${n} places`;
    return `Step ${this.step} of ${all}. Merge ${id - 255} of ${this.tokenizer.merges.length}: ${this.merge(id)}, in ${places}.`;
  }

  merge(id) {
    const [first, second] = this.tokenizer.merges[id - 256].map((part) => this.name(part));
    return `“${first}” and “${second}” become “${this.name(id)}”, number ${id}`;
  }

  /** A token as text, or as its bytes in hexadecimal where they are no whole character. */
  name(id) {
    const text = this.tokenizer.tokens[id], bytes = this.tokenizer.bytes[id];
    const isText = !/[\uFFFD\p{C}]/u.test(text.replace(/[\n\t]/g, ""));
    return isText ? visible(text) : bytes.map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ");
  }

  showPieces(ids, newest) {
    this.pieces.replaceChildren(...ids.flatMap((id) => {
      const piece = make("span", { className: id === newest ? "piece new" : "piece", style: `--hue: ${(id * 47) % 360}` },
        make("b", { textContent: this.name(id) }), make("small", { textContent: id }));
      return this.tokenizer.tokens[id].endsWith("\n") ? [piece, make("br")] : [piece];
    }));
  }

  showCounts(nTokens) {
    const text = this.text.value, nCharacters = [...text].length, nBytes = new TextEncoder().encode(text).length;
    const ratio = nTokens ? `, ${(nCharacters / nTokens).toFixed(2)} characters per token` : "";
    const count = (n, name) => `${n.toLocaleString("en")} ${name}${n === 1 ? "" : "s"}`;
    this.counts.textContent = `${count(nTokens, "token")} for ${count(nCharacters, "character")} (${count(nBytes, "byte")})${ratio}.`;
  }

  close() {}
}

export const mount = (host, sources, options) => fill(TokenizerPanel, host, sources, options);
