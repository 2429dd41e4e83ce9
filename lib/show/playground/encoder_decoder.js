// The original Transformer in plain JavaScript: lib/models/encoder_decoder.py for one
// sentence, out of the parts of parts.js.

import { Model, add, feedForward, linear, mixHead, normalise, sinusoids } from "./parts.js";

export class Transformer extends Model {
  constructor({ config, weights }) {
    if (config.model !== "transformer") throw new Error(`a ${config.model} cannot translate, only a transformer`);
    super({ norm_eps: 1e-5, ...config }, weights);
    const c = this.config, D = c.d_model;
    this.source = this.weight("source.weight", c.src_vocab_size * D);
    this.target = this.weight("target.weight", c.tgt_vocab_size * D);
    this.head = c.tie_weights ? this.target : this.weight("head.weight", c.tgt_vocab_size * D);
    this.positions = sinusoids(c.context_length, D);
    this.encoder = this.stack("encoder", c.n_encoder_layers, false);
    this.decoder = this.stack("decoder", c.n_decoder_layers, true);
    this.room = {
      x: this.rows(D), y: this.rows(D), q: this.rows(D), mixed: this.rows(D),
      up: this.rows(c.d_ff), logits: this.rows(c.tgt_vocab_size),
    };
  }

  /** Room for a vector of so many numbers at each position. */
  rows(size) {
    return new Float32Array(this.config.context_length * size);
  }

  stack(name, n, hasMemory) {
    const blocks = Array.from({ length: n }, (_, i) => this.block(`${name}.blocks.${i}`, hasMemory));
    return { blocks, finalNorm: this.config.pre_norm ? this.norm(`${name}.final_norm`) : null };
  }

  block(name, hasMemory) {
    const block = { attentionNorm: this.norm(`${name}.attention_norm`), attention: this.attention(`${name}.attention`) };
    if (hasMemory) {
      block.crossNorm = this.norm(`${name}.cross_norm`);
      block.cross = this.attention(`${name}.cross_attention`);
    }
    block.ffnNorm = this.norm(`${name}.ffn_norm`);
    block.ffn = this.ffn(`${name}.ffn`, "relu");
    return block;
  }

  attention(name) {
    const { d_model: D, n_heads: H, context_length: C, attention_bias: hasBias } = this.config;
    const part = (end) => this.linear(`${name}.${end}`, D, D, hasBias);
    return {
      q: part("q_proj"), k: part("k_proj"), v: part("v_proj"), out: part("out_proj"),
      keys: this.rows(D), values: this.rows(D),
      maps: Array.from({ length: H }, () => this.rows(C)), // row of position t at t * C
    };
  }

  /** Read a source; each block of the decoder keeps its keys and values of it. */
  read(ids) {
    const { x } = this.room, S = ids.length;
    this.nSource = S;
    this.nTarget = 0;
    this.embed(this.source, ids, 0);
    for (const { attention, attentionNorm, ffn, ffnNorm } of this.encoder.blocks) {
      this.around(attentionNorm, S, (y) => {
        this.remember(attention, y, 0, S);
        this.look(attention, y, 0, S, () => [0, S - 1]);
      });
      this.around(ffnNorm, S, (y) => feedForward(y, S, ffn, this.room));
    }
    this.finish(this.encoder, S);
    for (const { cross } of this.decoder.blocks) this.remember(cross, x, 0, S);
  }

  /** Read target tokens behind those before, and return the logits after each of them. */
  write(ids) {
    const { x, logits } = this.room, V = this.config.tgt_vocab_size;
    const T = ids.length, start = this.nTarget;
    this.embed(this.target, ids, start);
    for (const { attention, attentionNorm, cross, crossNorm, ffn, ffnNorm } of this.decoder.blocks) {
      this.around(attentionNorm, T, (y) => {
        this.remember(attention, y, start, T);
        this.look(attention, y, start, T, (place) => [0, place]);
      });
      this.around(crossNorm, T, (y) => this.look(cross, y, start, T, () => [0, this.nSource - 1]));
      this.around(ffnNorm, T, (y) => feedForward(y, T, ffn, this.room));
    }
    this.finish(this.decoder, T);
    this.nTarget = start + T;
    return linear(x, T, this.head, null, V, logits).slice(0, T * V);
  }

  embed(table, ids, start) {
    const D = this.config.d_model, { x } = this.room, scale = Math.sqrt(D);
    ids.forEach((id, t) => {
      for (let i = 0; i < D; i++) {
        x[t * D + i] = table[id * D + i] * scale + this.positions[(start + t) * D + i];
      }
    });
  }

  /** Add a part's output to x: pre-norm normalises what goes in, post-norm the sum. */
  around(norm, T, part) {
    const { x, y } = this.room, { d_model: D, pre_norm: isFirst } = this.config;
    if (isFirst) normalise(x, T, D, norm, y);
    else y.set(x.subarray(0, T * D));
    part(y);
    add(x, y, T * D);
    if (!isFirst) normalise(x, T, D, norm, x);
  }

  finish({ finalNorm }, T) {
    if (finalNorm) normalise(this.room.x, T, this.config.d_model, finalNorm, this.room.x);
  }

  /** Keep the keys and values of T vectors, from place `start` on. */
  remember({ k, v, keys, values }, vectors, start, T) {
    const from = start * this.config.d_model;
    k(vectors, T, keys.subarray(from));
    v(vectors, T, values.subarray(from));
  }

  /** Let T vectors y look at what was kept; what they get takes their place. */
  look(attention, y, start, T, sees) {
    const { n_heads: H, d_model: D, context_length: width } = this.config;
    const { q, mixed } = this.room, { keys, values, maps } = attention;
    attention.q(y, T, q);
    maps.forEach((map, head) => {
      mixHead(head, { q, keys, values, map, mixed, H, K: H, Dh: D / H, T, start, width, sees });
    });
    attention.out(mixed, T, y);
  }
}
