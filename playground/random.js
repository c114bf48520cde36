// Random numbers of PyTorch and of the library. The same seed gives the same numbers there and here.

/** PyTorch's generator on the CPU after `torch.manual_seed(seed)`: a Mersenne Twister of 32 bits. */
export class Generator {
  constructor(seed) {
    this.words = new Uint32Array(624);
    this.words[0] = seed;
    for (let i = 1; i < 624; i++) {
      const before = this.words[i - 1] ^ (this.words[i - 1] >>> 30);
      this.words[i] = Math.imul(1812433253, before) + i;
    }
    this.next = 624;
  }

  word() {
    if (this.next === 624) this.#twist();
    let word = this.words[this.next++];
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> 0;
  }

  #twist() {
    const { words } = this;
    for (let i = 0; i < 624; i++) {
      const both = (words[i] & 0x80000000) | (words[(i + 1) % 624] & 0x7fffffff);
      words[i] = words[(i + 397) % 624] ^ (both >>> 1) ^ (both & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  /** Key of one call of an activation, as the library draws it: 64 bits, in two words. */
  key() {
    const high = this.word();
    return { high, low: this.word() };
  }

  /** Number on [0, 1) of 53 bits: an element of `torch.rand(..., dtype=torch.float64)`. */
  uniform() {
    const { high, low } = this.key();
    return ((high & 0x1fffff) * 2 ** 32 + low) * 2 ** -53;
  }
}

const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57];
const KEY_STEPS = [0x9e3779b9, 0xbb67ae85];

/** Upper 32 bits of the product of two words: by halves, for a double holds 53 bits and the product has 64. */
function upper(a, b) {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const middle = aHigh * bLow + Math.floor((aLow * bLow) / 65536);
  const other = aLow * bHigh + (middle % 65536);
  return aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(other / 65536);
}

/** Philox 4x32-10: four words for a counter of four, under a key of two. */
export function philox(counter, key) {
  const [multiplier0, multiplier1] = MULTIPLIERS;
  const [step0, step1] = KEY_STEPS;
  let [a, b, c, d] = counter;
  let [key0, key1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = upper(a, multiplier0);
    const high1 = upper(c, multiplier1);
    const low0 = Math.imul(a, multiplier0) >>> 0;
    a = (high1 ^ b ^ key0) >>> 0;
    b = Math.imul(c, multiplier1) >>> 0;
    c = (high0 ^ d ^ key1) >>> 0;
    d = low0;
    key0 = (key0 + step0) >>> 0;
    key1 = (key1 + step1) >>> 0;
  }
  return [a, b, c, d];
}

/**
 * Uniform numbers on [0, 1) of one call. Element i is word i % 4 of Philox at counter (i / 4, stream, draw), its upper
 * 24 bits times 2^-24; `stream` is the rule's place in its chain.
 */
export function uniforms(count, key, stream, draw = 0) {
  const numbers = new Float64Array(count);
  for (let block = 0; 4 * block < count; block++) {
    const words = philox([block, 0, stream, draw], [key.low, key.high]);
    for (let i = 0; i < 4 && 4 * block + i < count; i++) numbers[4 * block + i] = (words[i] >>> 8) * 2 ** -24;
  }
  return numbers;
}
