// Choosing the next token, as in lib/generate/sampling.py.

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
