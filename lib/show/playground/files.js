// Files: safetensors, as lib/train/checkpoint.py writes them.

export const LARGEST_FILE = 4 * 1024 * 1024; // bytes

function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let halves = null; // the number that each pair of bytes stands for: quicker than to work it out

function readHalves(bytes) {
  halves ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => fromHalf(bits));
  const packed = new Uint16Array(bytes), numbers = new Float32Array(packed.length);
  for (let i = 0; i < packed.length; i++) numbers[i] = halves[packed[i]];
  return numbers;
}

const READERS = {
  F32: [4, (bytes) => new Float32Array(bytes)],
  F16: [2, readHalves],
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
