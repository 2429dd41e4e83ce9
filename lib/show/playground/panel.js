// The panel around the engine: prompt, settings, text, probabilities, attention maps.

import { GPT, untrained, windowStart } from "./engine.js";
import { readCheckpoint } from "./files.js";
import { distribution, draw, random } from "./sampling.js";
import { makeTokenizer } from "./tokens.js";
import { View, fill, make, percent, visible } from "./view.js";

const N_ROWS = 10; // of the table of the next token
const TURN = 10; // milliseconds of work between two turns of the page
const SHARE = 5; // while it writes, at most one part in so many of the time goes into pictures
const UNTRAINED = "the same, before training";

let turn = 0; // when the page had its last turn

/** Wait until the page has had its turn, if it has waited for long. */
async function breathe() {
  if (performance.now() - turn < TURN) return;
  await new Promise((go) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = go;
    channel.port2.postMessage(null);
  });
  turn = performance.now();
}

/** A model that writes: its ids, how likely each was, its random numbers. */
class Writer {
  constructor(checkpoint) {
    this.checkpoint = checkpoint;
    this.model = new GPT(checkpoint);
    this.tokenizer = makeTokenizer(checkpoint.tokenizer);
  }

  start(text, seed) {
    const { ids, unknown } = this.tokenizer.encode(text);
    this.ids = ids.length ? ids : [0];
    this.nPrompt = this.ids.length;
    this.likely = []; // probability of each token, given those before it
    this.next = random(seed);
    return unknown;
  }

  get first() {
    return windowStart(this.ids.length, this.model.contextLength);
  }

  get window() {
    return this.ids.slice(this.first);
  }

  /** Take all steps of the model, with pauses; null if something newer began meanwhile. */
  async finish(steps, isCurrent) {
    for (;;) {
      const { done, value } = steps.next();
      if (done) return value;
      await breathe();
      if (!isCurrent()) return null;
    }
  }

  /** Compute the logits of the next token; false if something newer began meanwhile. */
  async read(isCurrent) {
    const logits = await this.finish(this.model.read(this.window), isCurrent);
    if (logits) this.logits = logits;
    return logits !== null;
  }

  /** Compute how likely each token of the window was, from one pass over it. */
  async look(isCurrent) {
    const ids = this.window, V = this.model.config.vocab_size;
    const logits = await this.finish(this.model.read(ids, true), isCurrent);
    if (!logits) return false;
    for (let t = 0; t + 1 < ids.length; t++) {
      const { before } = distribution(logits.subarray(t * V, (t + 1) * V));
      this.likely[this.first + t + 1] = before[ids[t + 1]];
    }
    return true;
  }

  /** Mean surprise of the window's tokens, in nats. */
  get loss() {
    const known = this.likely.slice(this.first + 1).filter((p) => p !== undefined);
    return known.reduce((sum, p) => sum - Math.log(p), 0) / known.length;
  }

  write(settings) {
    const { after } = distribution(this.logits, settings);
    const id = draw(after, this.next());
    this.likely.push(distribution(this.logits).before[id]);
    this.ids.push(id);
    return id;
  }

  get title() {
    const { d_model: D, n_layers: n, n_heads: H, context_length: T } = this.model.config;
    const loss = this.checkpoint.notes.validation_loss;
    const count = Object.values(this.checkpoint.weights).reduce((sum, w) => sum + w.length, 0);
    const parts = [`${count.toLocaleString("en")} parameters`, `${n} blocks`, `${H} heads`];
    parts.push(`vectors of ${D} numbers`, `sees the last ${T} tokens`);
    if (loss) parts.push(`validation loss ${loss.toFixed(2)} nats`);
    return parts.join(", ");
  }
}

class Panel extends View {
  constructor(host, sources, options) {
    super(host, sources, options);
    this.job = 0; // the newest computation; an older one gives up
    this.head = 0;
    this.asked = null; // the position whose attention is shown; null for the last
    this.build();
  }

  // Elements

  build() {
    const columns = make("div", { className: "columns" }, this.textColumn(), this.attentionColumn());
    const panel = this.show(this.modelBar(), ...this.promptField(), this.controls(), columns);
    panel.classList.toggle("compact", Boolean(this.options.compact));
    this.observer = new MutationObserver(() => this.repaint());
    const attributeFilter = ["data-theme", "data-mode", "data-jp-theme-light"];
    for (const element of [document.documentElement, document.body]) {
      this.observer.observe(element, { attributes: true, attributeFilter });
    }
  }

  modelBar() {
    this.modelChoice = make("select", { name: "model" });
    this.besideChoice = make("select", { name: "beside" });
    this.file = make("input", { type: "file", accept: ".safetensors", "aria-label": "Use my checkpoint" });
    this.modelChoice.onchange = () => this.take(this.modelChoice.value);
    this.besideChoice.onchange = () => this.setBeside(this.besideChoice.value);
    this.file.onchange = () => this.upload(this.file.files[0]);
    this.about = make("p", { className: "note" });
    const bar = make("div", { className: "bar" },
      this.labelled("Model", this.modelChoice), this.modelChoice,
      this.labelled("Compare with", this.besideChoice), this.besideChoice,
      make("span", { className: "file" }, "Use my checkpoint", this.file));
    return make("div", { className: "models" }, bar, this.about);
  }

  promptField() {
    this.prompt = make("textarea", { name: "prompt", rows: 2, spellcheck: false, value: this.options.prompt ?? "ROMEO:" });
    this.seed = make("input", { name: "seed", type: "number", value: this.options.seed ?? 1, style: "width: 5.5em" });
    this.go = make("button", { type: "button", className: "main", textContent: "Write" });
    const one = make("button", { type: "button", textContent: "One token" });
    const again = make("button", { type: "button", textContent: "Start over" });
    this.status = make("p", { className: "note", role: "status" });
    this.go.onclick = () => (this.running ? this.stop() : this.run());
    one.onclick = () => { this.stop(); this.step(); };
    again.onclick = () => this.restart();
    this.prompt.oninput = this.seed.onchange = () => this.restart();
    const bar = make("div", { className: "bar" }, this.go, one, again, this.labelled("Seed", this.seed), this.seed);
    return [this.labelled("Prompt", this.prompt), this.prompt, bar, this.status];
  }

  slider(name, text, [least, most, step], value, show) {
    const input = make("input", { type: "range", name, min: least, max: most, step, value });
    const shown = make("span", { className: "value", "aria-hidden": "true" });
    const label = this.labelled(text, input);
    const update = () => {
      shown.textContent = show(Number(input.value));
      input.setAttribute("aria-valuetext", shown.textContent);
    };
    input.oninput = () => { update(); this.showNext(); };
    update();
    this[name] = input;
    return make("div", {}, label, shown, input);
  }

  controls() {
    const { temperature = 0.8, top_k: topK = 0, top_p: topP = 1, speed = 20 } = this.options;
    return make("div", { className: "controls" },
      this.slider("temperature", "Temperature", [0, 2, 0.05], temperature, (v) => (v ? v.toFixed(2) : "0: the likeliest")),
      this.slider("topK", "Top-k", [0, 65, 1], topK, (v) => v || "off"),
      this.slider("topP", "Top-p", [0.05, 1, 0.01], topP, (v) => (v < 1 ? v.toFixed(2) : "off")),
      this.slider("speed", "Tokens a second", [1, 60, 1], speed, (v) => v));
  }

  textColumn() {
    [this.text, this.otherText] = [make("span"), make("span")];
    this.otherPlace = this.region("pre", "The other model's text", "text hidden");
    this.otherPlace.append(this.otherText);
    const place = this.region("pre", "The text", "text");
    place.append(this.text);
    this.otherTitle = make("p", { className: "heading hidden" });
    this.colour = make("select", { name: "colour" },
      ...["attention", "probability"].map((value) => make("option", { value, textContent: value })));
    this.colour.onchange = () => this.colourText();
    this.rows = Array.from({ length: N_ROWS }, () => this.nextRow());
    const table = this.table(["token", "probability", "after cuts", "both"], this.rows.map(({ row }) => row));
    const next = make("div", { className: "next" }, this.heading("The next token"), table);
    return make("div", {}, this.heading("Text"), place,
      make("div", { className: "bar colours" }, this.labelled("Colour shows", this.colour), this.colour),
      this.otherTitle, this.otherPlace, next);
  }

  nextRow() {
    const [token, before, after] = [make("th", { scope: "row" }), make("td", { className: "number" }), make("td", { className: "number" })];
    const bars = [make("i", { className: "after" }), make("i", { className: "before" })];
    const chart = make("td", { className: "chart" }, make("div", { "aria-hidden": "true" }, ...bars));
    return { row: make("tr", {}, token, before, after, chart), token, before, after, bars };
  }

  attentionColumn() {
    this.heads = make("fieldset", { className: "heads" });
    this.map = make("canvas", { className: "map", role: "img" });
    this.map.onclick = (event) => this.pick(event);
    this.position = make("input", { type: "range", className: "range", name: "position", min: 0, max: 0, value: 0 });
    this.position.oninput = () => this.ask(Number(this.position.value));
    this.sentence = make("p", { className: "note" });
    this.switch = make("input", { type: "checkbox", name: "off" });
    this.switch.onchange = () => this.setOff(this.switch.checked);
    this.effect = make("p", { className: "note", role: "status" });
    this.switchLabel = this.labelled("Switch this head off", this.switch);
    return make("div", { className: "attention" }, this.heading("Attention"), this.heads, this.map,
      this.labelled("Position that reads", this.position), this.position, this.sentence,
      make("div", { className: "bar" }, this.switch, this.switchLabel), this.effect);
  }

  // Models

  async begin() {
    const names = Object.keys(this.sources);
    await this.take(names[0]);
  }

  async load(name) {
    if (name === UNTRAINED) return new Writer(untrained(this.writer.checkpoint));
    return new Writer(readCheckpoint(await this.sources[name]()));
  }

  async take(name) {
    this.stop();
    this.writer = await this.load(name);
    this.name = name;
    this.listModels();
    this.about.textContent = `${this.writer.title}.`;
    this.makeHeads();
    await this.setBeside("");
  }

  listModels() {
    const names = Object.keys(this.sources);
    const fill = (choice, values) => choice.replaceChildren(
      ...values.map(([value, text]) => make("option", { value, textContent: text })));
    fill(this.modelChoice, names.map((name) => [name, name]));
    this.modelChoice.value = this.name;
    const others = [...names.filter((name) => name !== this.name), UNTRAINED];
    fill(this.besideChoice, [["", "no other model"], ...others.map((name) => [name, name])]);
  }

  async setBeside(name) {
    this.other = name ? await this.load(name) : null;
    this.otherTitle.textContent = name ? `Text of the other: ${name}` : "";
    for (const element of [this.otherTitle, this.otherPlace]) element.classList.toggle("hidden", !name);
    await this.restart();
  }

  async upload(file) {
    if (!file) return;
    try {
      const bytes = await file.arrayBuffer();
      new Writer(readCheckpoint(bytes));
      this.sources = { ...this.sources, [file.name]: async () => bytes };
      await this.take(file.name);
    } catch (error) {
      this.status.textContent = `${file.name} cannot be used: ${error.message}.`;
    }
    this.file.value = "";
  }

  makeHeads() {
    const { n_layers: L, n_heads: H, context_length: C } = this.writer.model.config;
    this.head = 0;
    this.heads.style.gridTemplateColumns = `repeat(${H}, minmax(0, 1fr))`;
    const legend = make("legend", { textContent: "A row for each block, a picture for each head" });
    this.pictures = Array.from({ length: L * H }, (_, i) => {
      const name = `${Math.floor(i / H) + 1}.${(i % H) + 1}`;
      const input = make("input", { type: "radio", name: `${this.id}-head`, checked: i === 0, "aria-label": `Block ${name.replace(".", ", head ")}` });
      const shown = make("canvas", { width: 96, height: 96, "aria-hidden": "true" });
      const whole = make("canvas", { width: C, height: C });
      input.onchange = () => { this.head = i; this.showHead(); };
      return { label: make("label", {}, shown, input, make("span", { textContent: name, "aria-hidden": "true" })), shown, whole };
    });
    this.heads.replaceChildren(legend, ...this.pictures.map(({ label }) => label));
  }

  // Writing

  get settings() {
    const topK = Number(this.topK.value) || null;
    return { temperature: Number(this.temperature.value), topK, topP: Number(this.topP.value) };
  }

  async restart() {
    this.stop();
    this.asked = null;
    const unknown = this.writer.start(this.prompt.value, Number(this.seed.value));
    this.other?.start(this.prompt.value, Number(this.seed.value));
    this.status.textContent = unknown.length
      ? `Left out, since the model does not know them: ${unknown.map(visible).join(" ")}` : "";
    this.effect.textContent = "";
    this.painted = 0;
    this.text.replaceChildren();
    const isCurrent = this.newJob();
    if (await this.writer.look(isCurrent)) await this.refresh(isCurrent);
  }

  /** Begin a computation: whatever was under way gives up. */
  newJob() {
    const job = ++this.job;
    this.isBusy = true;
    return () => job === this.job;
  }

  /** Read what is new, and show everything. */
  async refresh(isCurrent = this.newJob()) {
    for (const writer of [this.writer, this.other]) {
      if (writer && !(await writer.read(isCurrent))) return false;
    }
    this.isBusy = false;
    this.host.dataset.tokens = this.writer.ids.length - this.writer.nPrompt;
    this.paint();
    return true;
  }

  async step() {
    if (this.isBusy) return; // what comes next is not known yet
    this.asked = null;
    for (const writer of [this.writer, this.other]) writer?.write(this.settings);
    return this.refresh();
  }

  run() {
    this.go.textContent = "Stop";
    const run = (this.running = {});
    const tick = async () => {
      const start = performance.now();
      await this.step();
      if (this.running !== run) return;
      const pause = 1000 / Number(this.speed.value) - (performance.now() - start);
      this.timer = setTimeout(tick, Math.max(0, pause));
    };
    this.timer = setTimeout(tick, 0);
  }

  stop() {
    const { running } = this;
    clearTimeout(this.timer);
    this.running = null;
    if (running) {
      this.status.textContent = `Stopped after ${this.writer.ids.length - this.writer.nPrompt} tokens.`;
      if (!this.isBusy) this.paint();
    }
    this.go.textContent = "Write";
  }

  // Showing

  showNext() {
    if (!this.writer?.logits) return;
    const { before, after, order } = distribution(this.writer.logits, this.settings);
    this.rows.forEach((row, i) => {
      const id = order[i];
      row.row.hidden = id === undefined;
      if (id === undefined) return;
      row.token.textContent = visible(this.writer.tokenizer.tokens[id]);
      row.before.textContent = percent(before[id], 1);
      row.after.textContent = percent(after[id], 1);
      row.bars[0].style.width = `${100 * after[id]}%`;
      row.bars[1].style.width = `${100 * before[id]}%`;
      row.bars[1].hidden = before[id] < 0.001;
    });
  }

  get accent() {
    const context = make("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    context.fillStyle = getComputedStyle(this.go).backgroundColor;
    context.fillRect(0, 0, 1, 1);
    return context.getImageData(0, 0, 1, 1).data.slice(0, 3);
  }

  /** Show the text; and all else, less often where that is slow. The map comes last: to
   * write on it, the page must be laid out. */
  paint() {
    this.tint ??= this.accent;
    this.ink ??= getComputedStyle(this.go.parentElement).color;
    this.paintText();
    const begun = performance.now();
    if (this.running && begun < this.due) return;
    this.colourText();
    this.showNext();
    this.describe();
    this.paintHeads();
    const end = performance.now();
    this.due = end + (SHARE - 1) * (end - begun);
  }

  repaint() {
    this.tint = this.ink = null;
    this.painted = 0;
    if (this.writer?.model.ids.length) this.paint();
  }

  /** The part of the attention that is shown: its weights, and where it reads from. */
  get row() {
    const { model } = this.writer, C = model.contextLength, { n_heads: H } = model.config;
    const last = model.ids.length - 1, t = Math.min(this.asked ?? last, last);
    const map = model.blocks[Math.floor(this.head / H)].maps[this.head % H];
    return { t, last, weights: map.subarray(t * C, t * C + t + 1) };
  }

  paintText() {
    const { writer, text } = this, { ids, nPrompt } = writer;
    for (let i = text.childElementCount; i < ids.length; i++) {
      const token = make("span", { textContent: writer.tokenizer.decode([ids[i]]), className: i < nPrompt ? "prompt" : "" });
      text.append(token);
    }
    if (this.other) this.otherText.textContent = this.other.tokenizer.decode(this.other.ids);
  }

  colourText() {
    const { t, weights } = this.row, { first, likely, ids } = this.writer;
    const byAttention = this.colour.value === "attention";
    for (let i = Math.max(0, first - 40); i < ids.length; i++) {
      const token = this.text.children[i], share = byAttention ? weights[i - first] : 1 - likely[i];
      token.style.backgroundColor = share > 0.004 ? `rgba(${this.tint.join()}, ${0.55 * Math.sqrt(share)})` : "";
      token.classList.toggle("asked", byAttention && i === first + t);
    }
    this.text.title = byAttention ? "" : "The darker, the less likely the model found it";
  }

  /** Add new rows to the pictures of all heads; all rows when the window has moved. */
  paintHeads() {
    const { model, first } = this.writer, T = model.ids.length, C = model.contextLength;
    if (first !== this.paintedFirst || T < this.painted) this.painted = 0;
    this.paintedFirst = first;
    const from = Math.max(0, Math.min(this.painted, T - 1));
    this.pictures.forEach(({ whole, shown }, i) => {
      const { n_heads: H } = model.config, map = model.blocks[Math.floor(i / H)].maps[i % H];
      const pixels = new ImageData(C, T - from);
      for (let t = from, place = 0; t < T; t++, place += 4 * (C - t)) {
        for (let j = 0; j <= t; j++, place += 4) {
          pixels.data.set(this.tint, place);
          pixels.data[place + 3] = 255 * Math.sqrt(map[t * C + j]);
        }
      }
      whole.getContext("2d").putImageData(pixels, 0, from);
      const small = shown.getContext("2d");
      small.imageSmoothingEnabled = false;
      small.clearRect(0, 0, 96, 96);
      small.drawImage(whole, 0, 0, T, T, 0, 0, 96, 96);
    });
    this.painted = T;
    this.drawMap();
  }

  showHead() {
    this.describe();
    this.drawMap();
  }

  /** The large picture: the chosen head, tokens along its sides, the row that is asked. */
  drawMap() {
    const { model, tokenizer } = this.writer, { t, last } = this.row, T = last + 1;
    const ratio = window.devicePixelRatio || 1, side = Math.round(352 * ratio), edge = 18 * ratio;
    const cell = (side - edge) / T, context = this.map.getContext("2d");
    if (this.map.width !== side) {
      this.map.width = this.map.height = side; // forgets what the context was told
      context.font = `${11 * ratio}px ui-monospace, monospace`;
      context.textAlign = "center";
      context.textBaseline = "middle";
    }
    context.clearRect(0, 0, side, side);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.pictures[this.head].whole, 0, 0, T, T, edge, edge, side - edge, side - edge);
    context.fillStyle = context.strokeStyle = this.ink;
    const every = Math.ceil(T / 24);
    for (let i = 0; i < T; i += every) {
      const label = every === 1 ? visible(tokenizer.tokens[model.ids[i]]).slice(0, 2) : i % (4 * every) ? "" : String(i);
      context.fillText(label, edge + (i + 0.5) * cell, edge / 2);
      context.fillText(label, edge / 2, edge + (i + 0.5) * cell);
    }
    context.strokeRect(edge, edge + t * cell, side - edge - 1, Math.max(cell, 2));
  }

  describe() {
    const { model, tokenizer } = this.writer, { n_heads: H } = model.config;
    const { t, last, weights } = this.row;
    const name = (i) => `“${visible(tokenizer.tokens[model.ids[i]])}” at ${i}`;
    const most = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 4);
    const reads = most.map((i) => `${name(i)} (${Math.round(100 * weights[i])} %)`).join(", ");
    const place = `Block ${Math.floor(this.head / H) + 1}, head ${(this.head % H) + 1}`;
    this.sentence.textContent = `${place}: ${name(t)} reads ${reads}.`;
    this.map.setAttribute("aria-label", this.sentence.textContent);
    this.position.max = last;
    this.position.value = t;
    this.switch.checked = model.off.has(this.offName);
  }

  // Asking

  ask(position) {
    this.asked = position;
    this.showHead();
    this.colourText();
  }

  pick(event) {
    const { height, top } = this.map.getBoundingClientRect(), T = this.writer.model.ids.length;
    const edge = (18 / 352) * height;
    const row = Math.floor(((event.clientY - top - edge) / (height - edge)) * T);
    this.ask(Math.max(0, Math.min(T - 1, row)));
  }

  get offName() {
    const { n_heads: H } = this.writer.model.config;
    return `${Math.floor(this.head / H)}.${this.head % H}`;
  }

  /** Switch the chosen head off or on, and say what that does to the text so far. */
  async setOff(isOff) {
    this.stop();
    const { writer } = this, { off } = writer.model, isCurrent = this.newJob();
    const chosen = new Set(off);
    if (isOff) chosen.add(this.offName);
    else chosen.delete(this.offName);
    const losses = [];
    for (const names of [[], chosen]) { // with all heads, then without those
      off.clear();
      names.forEach((name) => off.add(name));
      writer.model.forget();
      if (!(await writer.look(isCurrent))) return;
      losses.push(writer.loss);
    }
    this.markHeads();
    this.effect.textContent = this.effectOf(off.size, losses);
    this.painted = 0;
    await this.refresh(isCurrent);
  }

  markHeads() {
    const { config: { n_heads: H }, off } = this.writer.model;
    this.pictures.forEach(({ label }, i) => {
      label.classList.toggle("is-off", off.has(`${Math.floor(i / H)}.${i % H}`));
    });
  }

  effectOf(n, [whole, without]) {
    if (n === 0) return "All heads are on.";
    const what = n === 1 ? "this head" : `${n} heads`;
    const how = without >= whole ? "less" : "more";
    return `Without ${what} the model finds the text ${how} likely: ${without.toFixed(2)} nats a token, ${whole.toFixed(2)} with all.`;
  }

  close() {
    this.stop();
    this.job++;
    this.observer.disconnect();
  }
}

/** Put a panel into an element; returns it when its first model has been read. */
export const mount = (host, sources, options) => fill(Panel, host, sources, options);
