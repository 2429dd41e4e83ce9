// The course's GPT in plain JavaScript: the forward pass of lib/models/gpt.py for one
// text, part by part and name by name. Vectors lie in Float32Arrays, row after row.

export const LARGEST_FILE = 4 * 1024 * 1024; // bytes

// Files: safetensors, as lib/train/checkpoint.py writes them

function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const READERS = {
  F32: [4, (bytes) => new Float32Array(bytes)],
  F16: [2, (bytes) => Float32Array.from(new Uint16Array(bytes), fromHalf)],
  BF16: [
    2,
    (bytes) => {
      const wide = Uint32Array.from(new Uint16Array(bytes), (bits) => bits << 16);
      return new Float32Array(wide.buffer);
    },
  ],
};

function readHeader(buffer) {
  const size = buffer.byteLength < 8 ? NaN : Number(new DataView(buffer).getBigUint64(0, true));
  if (!(size <= buffer.byteLength - 8)) throw new Error("this is no safetensors file");
  try {
    const text = new TextDecoder().decode(new Uint8Array(buffer, 8, size));
    return { header: JSON.parse(text), start: 8 + size };
  } catch {
    throw new Error("this is no safetensors file");
  }
}

/** Read a checkpoint: its configuration, tokenizer, notes and weights by name. */
export function readCheckpoint(buffer) {
  if (buffer.byteLength > LARGEST_FILE) {
    const size = (buffer.byteLength / 2 ** 20).toFixed(1);
    throw new Error(`the file has ${size} MB; 4 MB is the most`);
  }
  const { header, start } = readHeader(buffer);
  const words = header.__metadata__ ?? {};
  if (!words.model) throw new Error("the file is no checkpoint of the course");
  const weights = {};
  for (const [name, entry] of Object.entries(header)) {
    if (!name.startsWith("model.")) continue;
    const [width, read] = READERS[entry.dtype] ?? [];
    if (!read) throw new Error(`${name} has the type ${entry.dtype}; F32, F16 or BF16 can be read`);
    const [from, to] = entry.data_offsets;
    const count = entry.shape.reduce((product, n) => product * n, 1);
    if (to - from !== count * width || start + to > buffer.byteLength) {
      throw new Error(`${name} does not fill its place: the file is damaged`);
    }
    weights[name.slice(6)] = read(buffer.slice(start + from, start + to));
  }
  return {
    config: JSON.parse(words.model),
    tokenizer: words.tokenizer ? JSON.parse(words.tokenizer) : null,
    notes: words.notes ? JSON.parse(words.notes) : {},
    weights,
  };
}

// Text to ids and back

export class CharTokenizer {
  constructor({ characters }) {
    this.tokens = characters;
    this.ids = new Map(characters.map((character, id) => [character, id]));
  }

  /** Return ids, and the characters that have none. */
  encode(text) {
    const all = [...text];
    return {
      ids: all.filter((c) => this.ids.has(c)).map((c) => this.ids.get(c)),
      unknown: [...new Set(all.filter((c) => !this.ids.has(c)))],
    };
  }

  decode(ids) {
    return ids.map((id) => this.tokens[id]).join("");
  }
}

export class BPETokenizer {
  static SPLIT = /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

  constructor({ merges, alphabet, special_tokens: marks = [] }) {
    this.bytes = alphabet.map((byte) => [byte]);
    for (const [first, second] of merges) {
      this.bytes.push([...this.bytes[first], ...this.bytes[second]]);
    }
    this.ofByte = new Map(alphabet.map((byte, id) => [byte, id]));
    this.ranks = new Map(merges.map((pair, rank) => [pair.join(), 256 + rank]));
    for (const mark of marks) this.bytes.push([...new TextEncoder().encode(mark)]);
    this.tokens = this.bytes.map((bytes) => this.text(bytes));
  }

  text(bytes) {
    return new TextDecoder().decode(Uint8Array.from(bytes));
  }

  /** Merge one word; `seen` hears the ids before the first merge and after each. */
  mergeWord(word, seen = () => {}) {
    let ids = [...new TextEncoder().encode(word)].map((byte) => this.ofByte.get(byte));
    seen(ids, null);
    for (;;) {
      let best = Infinity;
      for (let i = 0; i + 1 < ids.length; i++) {
        best = Math.min(best, this.ranks.get(`${ids[i]},${ids[i + 1]}`) ?? Infinity);
      }
      if (best === Infinity) return ids;
      const merged = [];
      for (let i = 0; i < ids.length; i++) {
        const joined = this.ranks.get(`${ids[i]},${ids[i + 1]}`) === best;
        merged.push(joined ? best : ids[i]);
        if (joined) i++;
      }
      ids = merged;
      seen(ids, best);
    }
  }

  encode(text) {
    const words = text.match(BPETokenizer.SPLIT) ?? [];
    return { ids: words.flatMap((word) => this.mergeWord(word)), unknown: [] };
  }

  decode(ids) {
    return this.text(ids.flatMap((id) => this.bytes[id]));
  }
}

export function makeTokenizer(values) {
  if (values?.characters) return new CharTokenizer(values);
  if (values?.merges) return new BPETokenizer(values);
  throw new Error("the checkpoint has no tokenizer of characters or byte pairs");
}

// Parts

function dot(a, aStart, b, bStart, n) {
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0, i = 0;
  for (; i + 4 <= n; i += 4) {
    s0 += a[aStart + i] * b[bStart + i];
    s1 += a[aStart + i + 1] * b[bStart + i + 1];
    s2 += a[aStart + i + 2] * b[bStart + i + 2];
    s3 += a[aStart + i + 3] * b[bStart + i + 3];
  }
  for (; i < n; i++) s0 += a[aStart + i] * b[bStart + i];
  return s0 + s1 + s2 + s3;
}

/** x (T, I) -> (T, O), with a weight (O, I) as nn.Linear keeps it; four rows at a time. */
export function linear(x, T, weight, bias, O, out) {
  const I = weight.length / O;
  let t = 0;
  for (; t + 4 <= T; t += 4) {
    const r0 = t * I, r1 = r0 + I, r2 = r1 + I, r3 = r2 + I;
    for (let o = 0; o < O; o++) {
      const row = o * I;
      let a = 0, b = 0, c = 0, d = 0;
      for (let i = 0; i < I; i++) {
        const w = weight[row + i];
        a += x[r0 + i] * w;
        b += x[r1 + i] * w;
        c += x[r2 + i] * w;
        d += x[r3 + i] * w;
      }
      const add = bias ? bias[o] : 0, at = t * O + o;
      out[at] = a + add;
      out[at + O] = b + add;
      out[at + 2 * O] = c + add;
      out[at + 3 * O] = d + add;
    }
  }
  for (; t < T; t++) {
    for (let o = 0; o < O; o++) {
      out[t * O + o] = dot(x, t * I, weight, o * I, I) + (bias ? bias[o] : 0);
    }
  }
  return out;
}

/** LayerNorm with a bias, RMSNorm without one; rows of n numbers, `out` may be x. */
function normalise(x, rows, n, { gain, bias, isRms, eps }, out) {
  for (let start = 0; start < rows * n; start += n) {
    let mean = 0, square = 0;
    if (!isRms) {
      for (let i = 0; i < n; i++) mean += x[start + i];
      mean /= n;
    }
    for (let i = 0; i < n; i++) square += (x[start + i] - mean) ** 2;
    const scale = 1 / Math.sqrt(square / n + eps);
    for (let i = 0; i < n; i++) {
      out[start + i] = (x[start + i] - mean) * scale * gain[i] + (bias ? bias[i] : 0);
    }
  }
  return out;
}

function erf(x) { // a series near 0, a continued fraction further out
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = a, sum = a;
    for (let n = 1; n < 60; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let k = 60; k >= 1; k--) fraction = k / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (a + fraction) / Math.sqrt(Math.PI));
}

const SPAN = 8, STEPS = 8192; // Phi from -8 to 8, read between the entries
const PHI = Float64Array.from({ length: 2 * STEPS + 2 }, (_, i) => {
  return 0.5 * (1 + erf(((i / STEPS - 1) * SPAN) / Math.SQRT2));
});

function gelu(x) {
  if (x >= SPAN) return x;
  if (x <= -SPAN) return 0;
  const place = (x / SPAN + 1) * STEPS, i = Math.floor(place);
  return x * (PHI[i] + (place - i) * (PHI[i + 1] - PHI[i]));
}

const ACTIVATIONS = {
  gelu,
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  relu: (x) => Math.max(x, 0),
  relu2: (x) => Math.max(x, 0) ** 2,
};
const silu = (x) => x / (1 + Math.exp(-x));

/** Tables of cosines and sines (T, Dh / 2), as in lib/position.py. */
function rotaryTables(dHead, T, base) {
  const pairs = dHead / 2;
  const angle = (i) => Math.floor(i / pairs) * base ** ((-2 * (i % pairs)) / dHead);
  const table = (f) => Float32Array.from({ length: T * pairs }, (_, i) => f(angle(i)));
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

function sinusoids(T, D) {
  return Float32Array.from({ length: T * D }, (_, i) => {
    const t = Math.floor(i / D), pair = Math.floor((i % D) / 2);
    const angle = t * 1e4 ** ((-2 * pair) / D);
    return i % 2 ? Math.cos(angle) : Math.sin(angle);
  });
}

// The model

const REFUSED = { kv_rank: null, n_experts: null, rotary_scaling: null };
const DEFAULTS = {
  n_kv_heads: null, d_head: null, qk_norm: false, norm_eps: 1e-5, rotary_base: 1e4,
  window: null, full_every: null, ...REFUSED,
};

/** Where reading starts when there are `length` tokens, as in lib/generate. */
export function windowStart(length, contextLength) {
  const step = Math.max(1, Math.floor(contextLength / 4));
  return Math.ceil(Math.max(0, length - contextLength) / step) * step;
}

export class GPT {
  constructor({ config, weights }) {
    if (config.model !== "gpt") throw new Error(`a ${config.model} cannot be shown here, only a gpt`);
    const c = (this.config = { ...DEFAULTS, ...config });
    for (const [name, value] of Object.entries(REFUSED)) {
      if (c[name] !== value) throw new Error(`a model with ${name} cannot be shown here`);
    }
    c.d_head ??= c.d_model / c.n_heads;
    c.n_kv_heads ??= c.n_heads;
    this.weights = weights;
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

  weight(name, size) {
    const found = this.weights[name];
    if (!found || found.length !== size) {
      throw new Error(`${name} has ${found?.length ?? "no"} numbers; ${size} are needed`);
    }
    return found;
  }

  norm(name, size = this.config.d_model) {
    const isRms = this.config.norm === "rms";
    const bias = isRms ? null : this.weight(`${name}.bias`, size);
    return { gain: this.weight(`${name}.gain`, size), bias, isRms, eps: this.config.norm_eps };
  }

  linear(name, nIn, nOut, hasBias) {
    const bias = hasBias ? this.weight(`${name}.bias`, nOut) : null;
    const weight = this.weight(`${name}.weight`, nIn * nOut);
    return (x, T, out) => linear(x, T, weight, bias, nOut, out);
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
    const gated = c.ffn === "swiglu";
    block.ffnNorm = this.norm(`${name}.ffn_norm`);
    block.up = this.linear(`${name}.ffn.up`, D, c.d_ff, !gated);
    block.down = this.linear(`${name}.ffn.down`, c.d_ff, D, !gated);
    if (gated) block.gate = this.linear(`${name}.ffn.gate`, D, c.d_ff, false);
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
      if (block.up) this.feedForward(block, T);
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

  /** One head: scores, softmax over the past, and the weighted mean of the values. */
  mix(block, head, isOff, start, T) {
    const { n_heads: H, n_kv_heads: K, d_head: Dh, context_length: C } = this.config;
    const { q, mixed } = this.room, { keys, values } = block, map = block.maps[head];
    const shared = Math.floor(head / (H / K)); // its head of keys and values
    for (let t = 0; t < T; t++) {
      const place = start + t, row = place * C, first = Math.max(0, place - block.window + 1);
      const query = (t * H + head) * Dh;
      let most = -Infinity, sum = 0;
      map.fill(0, row, row + first);
      for (let j = first; j <= place; j++) {
        map[row + j] = dot(q, query, keys, (j * K + shared) * Dh, Dh) / Math.sqrt(Dh);
        most = Math.max(most, map[row + j]);
      }
      for (let j = first; j <= place; j++) sum += map[row + j] = Math.exp(map[row + j] - most);
      mixed.fill(0, query, query + Dh);
      for (let j = first; j <= place; j++) {
        const weight = (map[row + j] /= sum), value = (j * K + shared) * Dh;
        if (isOff) continue;
        for (let i = 0; i < Dh; i++) mixed[query + i] += weight * values[value + i];
      }
    }
  }

  /** Nobody reads the last block's other positions: go on with the last one alone. */
  keepLast(T) {
    const { d_model: D, n_heads: H, d_head: Dh } = this.config, { x, mixed } = this.room;
    x.copyWithin(0, (T - 1) * D, T * D);
    mixed.copyWithin(0, (T - 1) * H * Dh, T * H * Dh);
    return 1;
  }

  addAttention(block, T) {
    const { x, y, mixed } = this.room, n = T * this.config.d_model;
    block.out(mixed, T, y);
    for (let i = 0; i < n; i++) x[i] += y[i];
  }

  feedForward(block, T) {
    const { x, y, up, gate } = this.room, { d_model: D, d_ff: F, ffn } = this.config;
    normalise(x, T, D, block.ffnNorm, y);
    block.up(y, T, up);
    if (block.gate) {
      block.gate(y, T, gate);
      for (let i = 0; i < T * F; i++) up[i] *= silu(gate[i]);
    } else {
      const activation = ACTIVATIONS[ffn];
      for (let i = 0; i < T * F; i++) up[i] = activation(up[i]);
    }
    block.down(up, T, y);
    for (let i = 0; i < T * D; i++) x[i] += y[i];
  }
}

// Choosing the next token, as in lib/generate/sampling.py

/** Temperature, then top-k, then top-p: probabilities before and after what is cut. */
export function distribution(logits, { temperature = 1, topK = null, topP = 1 } = {}) {
  const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a]);
  const best = logits[order[0]];
  const weights = Float64Array.from(logits, (logit) =>
    temperature > 0 ? Math.exp((logit - best) / temperature) : 0,
  );
  if (temperature === 0) weights[order[0]] = 1;
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const before = weights.map((weight) => weight / total);
  let kept = order.slice(0, topK ?? order.length);
  if (topP < 1) kept = reachP(kept, before, topP);
  const mass = kept.reduce((sum, id) => sum + before[id], 0);
  const after = new Float64Array(logits.length);
  for (const id of kept) after[id] = before[id] / mass;
  return { before, after, order };
}

/** The fewest of the ids, most likely first, whose share of their mass reaches p. */
function reachP(ids, probabilities, p) {
  const mass = ids.reduce((sum, id) => sum + probabilities[id], 0);
  let reached = 0;
  const n = ids.findIndex((id) => (reached += probabilities[id] / mass) >= p);
  return n < 0 ? ids : ids.slice(0, n + 1);
}

/** Numbers from 0 to 1 out of a seed (mulberry32): the same text each time. */
export function random(seed) {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function draw(probabilities, number) {
  let sum = 0, last = 0;
  for (let id = 0; id < probabilities.length; id++) {
    if (probabilities[id] === 0) continue;
    last = id;
    sum += probabilities[id];
    if (number < sum) return id;
  }
  return last;
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
