// Text to ids and back, as in lib/text/tokenizer.py and lib/text/bpe.py.

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
  // White space is what Unicode calls so, as in Python; JavaScript's \s is another set.
  static SPLIT = new RegExp(
    String.raw`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
      .replaceAll(String.raw`\s`, String.raw`\p{White_Space}`)
      .replaceAll(String.raw`\S`, String.raw`\P{White_Space}`),
    "gu",
  );

  constructor({ merges, alphabet, special_tokens: marks = [] }) {
    this.merges = merges;
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
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
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

  /** The merges that change a text, in their order, and its ids after the first k of all. */
  steps(text) {
    const words = text.match(BPETokenizer.SPLIT) ?? [], states = new Map();
    for (const word of new Set(words)) {
      const seen = [];
      this.mergeWord(word, (ids, merge) => seen.push({ ids, merge: merge ?? 0 }));
      states.set(word, seen);
    }
    const all = [...states.values()].flat().map(({ merge }) => merge);
    const merges = [...new Set(all)].filter((merge) => merge).sort((a, b) => a - b);
    const of = (word, k) => states.get(word).findLast(({ merge }) => merge < 256 + k).ids;
    return { merges, after: (k) => words.flatMap((word) => of(word, k)) };
  }

  decode(ids) {
    return this.text(ids.flatMap((id) => this.bytes[id]));
  }
}

export class WordTokenizer {
  static SPECIAL = ["<pad>", "<bos>", "<eos>"];

  constructor({ words }) {
    this.tokens = words;
    this.ids = new Map(words.map((word, id) => [word, id]));
  }

  /** Return ids of words with spaces between, and the words that have none. */
  encode(sentence) {
    const all = sentence.split(/\p{White_Space}+/u).filter(Boolean);
    const isKnown = (word) => this.ids.has(word) && !WordTokenizer.SPECIAL.includes(word);
    return {
      ids: all.filter(isKnown).map((word) => this.ids.get(word)),
      unknown: [...new Set(all.filter((word) => !isKnown(word)))],
    };
  }

  decode(ids) {
    const words = ids.map((id) => this.tokens[id]);
    return words.filter((word) => !WordTokenizer.SPECIAL.includes(word)).join(" ");
  }
}

export function makeTokenizer(values) {
  if (values?.characters) return new CharTokenizer(values);
  if (values?.merges) return new BPETokenizer(values);
  if (values?.words) return new WordTokenizer(values);
  throw new Error("the checkpoint has no tokenizer that is known here");
}
