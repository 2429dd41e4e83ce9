// The translator's panel: a sentence, its French word by word, and what each word looks at.

import { readCheckpoint } from "./files.js";
import { distribution } from "./sampling.js";
import { Translation } from "./translation.js";
import { View, fill, make, percent } from "./view.js";

const N_LIKELY = 6; // rows of the table of the next word
const PAUSE = 600; // milliseconds between two words
const EXAMPLES = [
  "the small boy does not see the black cats",
  "I want the red apple today",
  "my old friend draws her pretty garden",
  "these young girls look for the green car here",
  "the happy horses follow them behind the house",
  "she does not sell a white flower",
];

class TranslatorPanel extends View {
  constructor(host, sources, options) {
    super(host, sources, options);
    const parts = [this.frenchPart(), this.picturePart(), this.textPart()];
    this.show(...this.sentenceField(), make("div", { className: "columns" }, ...parts));
  }

  // Elements

  sentenceField() {
    const value = this.options.sentence ?? EXAMPLES[0];
    this.sentence = make("input", { type: "text", name: "sentence", value, maxLength: 400, spellcheck: false, autocomplete: "off", lang: "en" });
    this.sentence.oninput = () => this.restart();
    this.sentence.onkeydown = (event) => { if (event.key === "Enter") this.run(); };
    this.example = make("select", { name: "example" }, make("option", { value: "", textContent: "choose" }),
      ...EXAMPLES.map((text) => make("option", { value: text, textContent: text })));
    this.example.onchange = () => this.take(this.example.value);
    this.go = this.button("Translate", () => (this.timer ? this.stop() : this.run()), "main");
    const one = this.button("One word", () => { this.stop(); this.step(); });
    const again = this.button("Start over", () => this.restart());
    this.status = make("p", { className: "note line", role: "status" });
    this.words = make("p", { className: "note", lang: "en" });
    const hint = make("details", {}, make("summary", { textContent: "The words that it knows" }), this.words);
    return [this.labelled("An English sentence", this.sentence), this.sentence,
      make("div", { className: "bar" }, this.labelled("Example", this.example), this.example),
      hint, make("div", { className: "bar" }, this.go, one, again), this.status];
  }

  frenchPart() {
    this.text = make("p", { className: "text french", lang: "fr", "aria-live": "polite" });
    this.rows = Array.from({ length: N_LIKELY }, () => this.likelyRow());
    const table = this.table(["word", "probability", "bar"], this.rows.map(({ row }) => row));
    this.next = make("div", { className: "likely" }, this.heading("The next word"), table);
    return make("div", {}, this.heading("French"), this.text, this.next);
  }

  likelyRow() {
    const word = make("th", { scope: "row", lang: "fr", textContent: "–" }), share = make("td", { className: "number" });
    const bar = make("i", { className: "after" });
    const chart = make("td", { className: "chart" }, make("div", { "aria-hidden": "true" }, bar));
    return { row: make("tr", {}, word, share, chart), word, share, bar };
  }

  picturePart() {
    this.part = make("select", { name: "part" });
    this.part.onchange = () => this.showAttention();
    this.map = this.region("div", "Attention as a picture", "scroll map-of-words");
    return make("div", { className: "beside" }, this.heading("What each word looks at"),
      make("div", { className: "bar" }, this.labelled("Show", this.part), this.part), this.map);
  }

  textPart() {
    this.said = make("ul");
    const region = this.region("div", "Attention as text", "scroll said");
    region.append(this.said);
    return make("div", {}, this.heading("The same as text"), region);
  }

  // Doing

  async begin() {
    const [load] = Object.values(this.sources);
    this.translation = new Translation(readCheckpoint(await load()));
    this.words.textContent = this.translation.english.tokens.slice(3).join(", ");
    this.listParts();
    this.restart();
  }

  /** Every block's heads, their mean, and the mean of all: as "block head" for `weights`. */
  listParts() {
    const { n_decoder_layers: L, n_heads: H } = this.translation.model.config;
    const option = (value, textContent) => make("option", { value, textContent });
    for (let block = L - 1; block >= 0; block--) {
      this.part.append(option(`${block} `, `block ${block + 1}, mean of the heads`));
      for (let head = 0; head < H; head++) {
        this.part.append(option(`${block} ${head}`, `block ${block + 1}, head ${head + 1}`));
      }
    }
    this.part.append(option(" ", "mean of all blocks and heads"));
  }

  take(sentence) {
    if (!sentence) return;
    this.sentence.value = sentence;
    this.restart();
  }

  restart() {
    this.stop();
    const { unknown, nTooMany } = this.translation.start(this.sentence.value);
    const notes = [];
    if (unknown.length) notes.push(`Left out, since the model does not know them: ${unknown.join(" ")}.`);
    if (nTooMany) notes.push(`The last ${nTooMany} words are too many.`);
    this.isEmpty = this.translation.source.length === 1;
    if (this.isEmpty) notes.push("Type some words that it knows.");
    this.status.textContent = notes.join(" ");
    this.refresh();
  }

  step() {
    if (this.isEmpty || this.translation.isDone) return;
    this.translation.step();
    this.refresh();
  }

  run() {
    if (this.timer || this.isEmpty) return;
    if (this.translation.isDone) this.restart();
    this.go.textContent = "Stop";
    const tick = () => {
      this.step();
      if (this.translation.isDone) this.stop();
      else this.timer = setTimeout(tick, PAUSE);
    };
    this.timer = setTimeout(tick, 0);
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.go.textContent = "Translate";
  }

  // Showing

  refresh() {
    const { text, isDone, ids } = this.translation;
    this.text.textContent = text;
    this.text.classList.toggle("done", isDone);
    this.showLikely();
    this.showAttention();
    this.host.dataset.words = ids.length - 1;
  }

  showLikely() {
    const { logits, isDone, french } = this.translation, isShown = !isDone && !this.isEmpty;
    const { before, order } = distribution(logits);
    this.rows.forEach(({ word, share, bar }, i) => {
      const id = order[i];
      word.textContent = isShown ? french.tokens[id] : "–";
      share.textContent = isShown ? percent(before[id], 1) : "";
      bar.style.width = isShown ? `${100 * before[id]}%` : "0";
    });
  }

  showAttention() {
    const [block, head] = this.part.value.split(" ").map((part) => (part === "" ? null : Number(part)));
    const { sourceWords, written } = this.translation;
    const rows = written.map((word, t) => ({ word, weights: this.translation.weights(t, block, head) }));
    this.map.replaceChildren(this.picture(sourceWords, rows));
    this.said.replaceChildren(...rows.map(({ word, weights }) => {
      const [first, second] = [...weights.keys()].sort((a, b) => weights[b] - weights[a]);
      const name = (j) => `“${sourceWords[j]}” (${percent(weights[j])})`;
      const also = weights[second] >= 0.1 ? ` and ${name(second)}` : "";
      return make("li", { textContent: `“${word}” looks at ${name(first)}${also}` });
    }));
  }

  picture(words, rows) {
    const cell = (weight) => make("td", { title: percent(weight) },
      make("i", { style: `opacity: ${weight.toFixed(3)}` }), make("span", { className: "unseen", textContent: percent(weight) }));
    const head = words.map((word) => make("th", { scope: "col", lang: "en" }, make("span", { textContent: word })));
    const body = rows.map(({ word, weights }) =>
      make("tr", {}, make("th", { scope: "row", lang: "fr", textContent: word }), ...weights.map(cell)));
    return make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...head)), make("tbody", {}, ...body));
  }

  close() {
    this.stop();
  }
}

export const mount = (host, sources, options) => fill(TranslatorPanel, host, sources, options);
