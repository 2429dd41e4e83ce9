// Translating one sentence, greedily and word by word, as lib/translate does.

import { Transformer } from "./encoder_decoder.js";
import { distribution } from "./sampling.js";
import { makeTokenizer } from "./tokens.js";

const MOST_WORDS = 50;

/** A sentence as the grammar writes it: small letters, no sign at its end. */
export function normal(sentence) {
  const words = sentence.toLowerCase().replace(/[ .!?]+$/, "").split(/\s+/);
  return words.map((word) => (word === "i" ? "I" : word)).join(" ").trim();
}

export class Translation {
  constructor({ config, tokenizer, weights }) {
    if (tokenizer?.length !== 2) throw new Error("the checkpoint has no pair of vocabularies");
    [this.english, this.french] = tokenizer.map(makeTokenizer);
    this.model = new Transformer({ config, weights });
    this.most = Math.min(MOST_WORDS, config.context_length);
  }

  /** Read a sentence; returns the words that are unknown, and how many are too many. */
  start(sentence) {
    const { bos_id: bos, eos_id: eos, context_length: C } = this.model.config;
    const { ids, unknown } = this.english.encode(normal(sentence));
    this.source = [...ids.slice(0, C - 1), eos];
    this.ids = [bos];
    this.model.read(this.source);
    this.logits = this.next(bos);
    return { unknown, nTooMany: Math.max(0, ids.length - (C - 1)) };
  }

  /** The logits after one more token; the filling never follows. */
  next(id) {
    const logits = this.model.write([id]);
    logits[this.model.config.pad_id] = -Infinity;
    return logits;
  }

  /** Write the likeliest token. */
  step() {
    const [id] = distribution(this.logits).order;
    this.ids.push(id);
    if (!this.isDone) this.logits = this.next(id);
  }

  get isDone() {
    return this.ids.at(-1) === this.model.config.eos_id || this.ids.length > this.most;
  }

  /** Tokens as words; the n written ones have no start token. */
  get sourceWords() {
    return this.source.map((id) => this.english.tokens[id]);
  }

  get written() {
    return this.ids.slice(1).map((id) => this.french.tokens[id]);
  }

  get text() {
    return this.french.decode(this.ids).replaceAll("' ", "'");
  }

  /**
   * How much written token t looked at each source token when it was predicted, in one
   * block and head of the decoder; null takes the mean of all of them.
   */
  weights(t, block, head) {
    const { blocks } = this.model.decoder, C = this.model.config.context_length;
    const chosen = block === null ? blocks : [blocks[block]];
    const maps = chosen.flatMap(({ cross }) => (head === null ? cross.maps : [cross.maps[head]]));
    return this.source.map((_, j) => maps.reduce((sum, map) => sum + map[t * C + j], 0) / maps.length);
  }
}
