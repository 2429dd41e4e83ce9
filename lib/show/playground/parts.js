// The parts of a Transformer in plain JavaScript, name by name as in lib/. Vectors lie in
// Float32Arrays, row after row.

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
export function normalise(x, rows, n, { gain, bias, isRms, eps }, out) {
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
export function rotaryTables(dHead, T, base) {
  const pairs = dHead / 2;
  const angle = (i) => Math.floor(i / pairs) * base ** ((-2 * (i % pairs)) / dHead);
  const table = (f) => Float32Array.from({ length: T * pairs }, (_, i) => f(angle(i)));
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

export function sinusoids(T, D) {
  return Float32Array.from({ length: T * D }, (_, i) => {
    const t = Math.floor(i / D), pair = Math.floor((i % D) / 2);
    const angle = t * 1e4 ** ((-2 * pair) / D);
    return i % 2 ? Math.cos(angle) : Math.sin(angle);
  });
}

/**
 * One head of an attention: for each of T queries the scores with the keys that it may
 * see, softmax, and the weighted mean of the values. Query t stands at place start + t,
 * whose row of the map is `width` long; `sees` tells its first and last key. K heads of
 * keys and values serve the H heads of queries.
 */
export function mixHead(head, { q, keys, values, map, mixed, H, K, Dh, T, start, width, sees, isOff }) {
  const shared = Math.floor(head / (H / K)); // its head of keys and values
  for (let t = 0; t < T; t++) {
    const row = (start + t) * width, query = (t * H + head) * Dh, [first, last] = sees(start + t);
    let most = -Infinity, sum = 0;
    map.fill(0, row, row + first);
    for (let j = first; j <= last; j++) {
      map[row + j] = dot(q, query, keys, (j * K + shared) * Dh, Dh) / Math.sqrt(Dh);
      most = Math.max(most, map[row + j]);
    }
    for (let j = first; j <= last; j++) sum += map[row + j] = Math.exp(map[row + j] - most);
    mixed.fill(0, query, query + Dh);
    for (let j = first; j <= last; j++) {
      const weight = (map[row + j] /= sum), value = (j * K + shared) * Dh;
      if (isOff) continue;
      for (let i = 0; i < Dh; i++) mixed[query + i] += weight * values[value + i];
    }
  }
}

/** The feed-forward network of T vectors y, in their place. */
export function feedForward(y, T, { up, down, gate, activation, size }, room) {
  up(y, T, room.up);
  if (gate) {
    gate(y, T, room.gate);
    for (let i = 0; i < T * size; i++) room.up[i] *= silu(room.gate[i]);
  } else {
    for (let i = 0; i < T * size; i++) room.up[i] = activation(room.up[i]);
  }
  down(room.up, T, y);
}

/** x + y, in the place of x. */
export function add(x, y, n) {
  for (let i = 0; i < n; i++) x[i] += y[i];
}

/** What all models share: weights by name, and the parts that are made of them. */
export class Model {
  constructor(config, weights) {
    this.config = config;
    this.weights = weights;
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

  /** A feed-forward network; a gated one has no biases. */
  ffn(name, kind) {
    const { d_model: D, d_ff: F } = this.config, isGated = kind === "swiglu";
    const ffn = { activation: ACTIVATIONS[kind], size: F };
    ffn.up = this.linear(`${name}.up`, D, F, !isGated);
    ffn.down = this.linear(`${name}.down`, F, D, !isGated);
    if (isGated) ffn.gate = this.linear(`${name}.gate`, D, F, false);
    return ffn;
  }
}
