// The course's GPT in plain JavaScript: the forward pass of lib/models/gpt.py for one
// text, out of the parts of parts.js.

import { Model, add, feedForward, linear, mixHead, normalise, rotaryTables, sinusoids } from "./parts.js";
import { random } from "./sampling.js";

const REFUSED = { kv_rank: null, n_experts: null, rotary_scaling: null,
  smear: false, bigrams: false };
const DEFAULTS = {
  n_kv_heads: null, d_head: null, qk_norm: false, norm_eps: 1e-5, rotary_base: 1e4,
  window: null, full_every: null, ...REFUSED,
};

/** Where reading starts when there are `length` tokens, as in lib/generate. */
export function windowStart(length, contextLength) {
  const step = Math.max(1, Math.floor(contextLength / 4));
  return Math.ceil(Math.max(0, length - contextLength) / step) * step;
}

export class GPT extends Model {
  constructor({ config, weights }) {
    if (config.model !== "gpt") throw new Error(`a ${config.model} cannot be shown here, only a gpt`);
    super({ ...DEFAULTS, ...config }, weights);
    const c = this.config;
    for (const [name, value] of Object.entries(REFUSED)) {
      if (c[name] !== value) throw new Error(`a model with ${name} cannot be shown here`);
    }
    c.d_head ??= c.d_model / c.n_heads;
    c.n_kv_heads ??= c.n_heads;
    this.contextLength = c.context_length;
    this.blocks = Array.from({ length: c.n_layers }, (_, i) => this.block(i));
    this.finalNorm = c.final_norm ? this.norm("final_norm") : null;
    this.tokens = this.weight("tokens.weight", c.vocab_size * c.d_model);
    this.head = c.tie_weights ? this.tokens : this.weight("head.weight", c.vocab_size * c.d_model);
    this.headBias = c.head_bias ? this.weight("head.bias", c.vocab_size) : null;
    this.setPositions();
    this.off = new Set(); // heads that are switched off, as "block.head"
    this.ids = []; // what the caches hold
    this.makeRoom();
  }

  block(number) {
    const c = this.config, D = c.d_model, name = `blocks.${number}`;
    const wide = c.n_heads * c.d_head, narrow = c.n_kv_heads * c.d_head;
    const isFull = c.full_every && (number + 1) % c.full_every === 0;
    const part = (end, nIn, nOut) => this.linear(`${name}.attention.${end}`, nIn, nOut, c.attention_bias);
    const block = {
      norm: this.norm(`${name}.attention_norm`),
      q: part("q_proj", D, wide),
      k: part("k_proj", D, narrow),
      v: part("v_proj", D, narrow),
      out: part("out_proj", wide, D),
      qNorm: c.qk_norm ? this.norm(`${name}.attention.q_norm`, c.d_head) : null,
      kNorm: c.qk_norm ? this.norm(`${name}.attention.k_norm`, c.d_head) : null,
      window: c.window === null || isFull ? Infinity : c.window,
    };
    if (c.ffn === "none") return block;
    block.ffnNorm = this.norm(`${name}.ffn_norm`);
    block.ffn = this.ffn(`${name}.ffn`, c.ffn);
    return block;
  }

  setPositions() {
    const { position, context_length: T, d_model: D, d_head, rotary_base } = this.config;
    if (position === "learned") this.positions = this.weight("positions.table.weight", T * D);
    if (position === "sinusoidal") this.positions = sinusoids(T, D);
    if (position === "rotary") this.rotary = rotaryTables(d_head, T, rotary_base);
  }

  makeRoom() {
    const c = this.config, T = c.context_length, H = c.n_heads;
    const room = (size) => new Float32Array(T * size);
    this.room = {
      x: room(c.d_model), y: room(c.d_model), q: room(H * c.d_head), mixed: room(H * c.d_head),
      up: room(c.d_ff), gate: room(c.d_ff), logits: room(c.vocab_size),
    };
    for (const block of this.blocks) {
      block.keys = room(c.n_kv_heads * c.d_head);
      block.values = room(c.n_kv_heads * c.d_head);
      block.maps = Array.from({ length: H }, () => room(T)); // row of position t at t * T
    }
  }

  /** Forget what was read, for example after a head was switched on or off. */
  forget() {
    this.ids = [];
  }

  /**
   * Read ids, at most as many as the context has, and return the logits of the last
   * position; with `everywhere` those of all positions that are not in the cache, none
   * of which is used then. It stops twice in each block, so that the page can breathe.
   */
  *read(ids, everywhere = false) {
    const { x, y, logits } = this.room, { d_model: D, vocab_size: V } = this.config;
    let start = 0;
    if (!everywhere) {
      while (start < Math.min(this.ids.length, ids.length - 1) && this.ids[start] === ids[start]) start++;
    }
    this.ids = []; // whoever is stopped half-way leaves no half cache
    let T = ids.length - start;
    this.embed(ids, start, T);
    for (const [number, block] of this.blocks.entries()) {
      const isLast = number === this.blocks.length - 1 && !everywhere;
      this.attend(block, number, start, T);
      if (isLast && T > 1) T = this.keepLast(T);
      this.addAttention(block, T);
      yield number;
      if (block.ffn) this.feedForward(block, T);
      yield number;
    }
    const last = everywhere ? x : x.subarray((T - 1) * D, T * D);
    const rows = everywhere ? T : 1;
    if (this.finalNorm) normalise(last, rows, D, this.finalNorm, y);
    linear(this.finalNorm ? y : last, rows, this.head, this.headBias, V, logits);
    this.ids = [...ids];
    return logits.slice(0, rows * V);
  }

  /** `read` in one go. */
  forward(ids, everywhere = false) {
    const steps = this.read(ids, everywhere);
    for (;;) {
      const { done, value } = steps.next();
      if (done) return value;
    }
  }

  embed(ids, start, T) {
    const D = this.config.d_model, { x } = this.room;
    for (let t = 0; t < T; t++) {
      const token = ids[start + t] * D, place = (start + t) * D;
      for (let i = 0; i < D; i++) {
        x[t * D + i] = this.tokens[token + i] + (this.positions ? this.positions[place + i] : 0);
      }
    }
  }

  /** Queries of T new positions, keys and values behind the old ones, and the mixtures. */
  attend(block, number, start, T) {
    const { n_heads: H, n_kv_heads: K, d_head: Dh, d_model: D } = this.config;
    const { x, y, q } = this.room;
    normalise(x, T, D, block.norm, y);
    block.q(y, T, q);
    const keys = block.keys.subarray(start * K * Dh), values = block.values.subarray(start * K * Dh);
    block.k(y, T, keys);
    block.v(y, T, values);
    if (block.qNorm) normalise(q, T * H, Dh, block.qNorm, q);
    if (block.kNorm) normalise(keys, T * K, Dh, block.kNorm, keys);
    if (this.rotary) {
      this.turn(q, H, start, T);
      this.turn(keys, K, start, T);
    }
    for (let head = 0; head < H; head++) this.mix(block, head, this.off.has(`${number}.${head}`), start, T);
  }

  /** Turn the numbers i and i + Dh / 2 of each head by the angle of its position. */
  turn(x, heads, start, T) {
    const Dh = this.config.d_head, half = Dh / 2, { cos, sin } = this.rotary;
    for (let t = 0; t < T; t++) {
      for (let head = 0; head < heads; head++) {
        const at = (t * heads + head) * Dh, row = (start + t) * half;
        for (let i = 0; i < half; i++) {
          const a = x[at + i], b = x[at + half + i];
          x[at + i] = a * cos[row + i] - b * sin[row + i];
          x[at + half + i] = b * cos[row + i] + a * sin[row + i];
        }
      }
    }
  }

  mix(block, head, isOff, start, T) {
    const { n_heads: H, n_kv_heads: K, d_head: Dh, context_length: width } = this.config;
    const { q, mixed } = this.room, { keys, values } = block, map = block.maps[head];
    const sees = (place) => [Math.max(0, place - block.window + 1), place];
    mixHead(head, { q, keys, values, map, mixed, H, K, Dh, T, start, width, sees, isOff });
  }

  /** Nobody reads the last block's other positions: go on with the last one alone. */
  keepLast(T) {
    const { d_model: D, n_heads: H, d_head: Dh } = this.config, { x, mixed } = this.room;
    x.copyWithin(0, (T - 1) * D, T * D);
    mixed.copyWithin(0, (T - 1) * H * Dh, T * H * Dh);
    return 1;
  }

  addAttention(block, T) {
    const { x, y, mixed } = this.room;
    block.out(mixed, T, y);
    add(x, y, T * this.config.d_model);
  }

  feedForward(block, T) {
    const { x, y } = this.room, D = this.config.d_model;
    normalise(x, T, D, block.ffnNorm, y);
    feedForward(y, T, block.ffn, this.room);
    add(x, y, T * D);
  }
}

/** Weights as before training: the rule `fan_in` of lib/models/gpt.py, norms at 1. */
export function untrained({ config, tokenizer, notes, weights }, seed = 0) {
  const next = random(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  const fresh = {};
  for (const [name, values] of Object.entries(weights)) {
    const isTable = /^(tokens|positions)/.test(name);
    const fanIn = /ffn\.down/.test(name) ? config.d_ff : config.d_model;
    const writes = /(out_proj|ffn\.down)/.test(name) ? Math.sqrt(2 * config.n_layers) : 1;
    const std = isTable ? 0.5 : 0.7 / Math.sqrt(fanIn) / writes;
    if (name.endsWith("gain")) fresh[name] = new Float32Array(values.length).fill(1);
    else if (name.endsWith("bias")) fresh[name] = new Float32Array(values.length);
    else fresh[name] = Float32Array.from(values, () => std * normal());
  }
  return { config, tokenizer, notes: { ...notes, validation_loss: null }, weights: fresh };
}
