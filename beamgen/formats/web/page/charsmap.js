// SentencePiece's table of what is written for what, which `precompiled_charsmap` holds in base64.

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const leaf = (unit) => (unit >>> 8) & 1;
const value = (unit) => unit & 0x7fffffff;
const label = (unit) => unit & 0x800000ff;
const offset = (unit) => (unit >>> 10) << ((unit & 0x200) >>> 6);

export class Charsmap {
  /** A size, a double array of that many bytes, and texts with a NUL behind each. */
  constructor(base64) {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    const size = bytes.length ? new DataView(bytes.buffer).getUint32(0, true) : 0;
    this.units = new Uint32Array(bytes.slice(4, 4 + size).buffer);
    this.texts = bytes.subarray(4 + size);
  }

  /** What stands for beginnings of bytes, as `[bytes, text]`, the shortest first. */
  *beginnings(bytes, from = 0) {
    if (!this.units.length) return;
    let node = offset(this.units[0]);
    for (let i = from; i < bytes.length && bytes[i]; i++) {
      node ^= bytes[i];
      const unit = this.units[node];
      if (label(unit) !== bytes[i]) return;
      node ^= offset(unit);
      if (leaf(unit)) {
        const begin = value(this.units[node]);
        yield [i + 1 - from, decoder.decode(this.texts.subarray(begin, this.texts.indexOf(0, begin)))];
      }
    }
  }

  /** As `tokenizers` applies it: to each short grapheme, or else to each of its characters. */
  ofGraphemes(text) {
    this.segmenter ??= new Intl.Segmenter('en', { granularity: 'grapheme' });
    const first = (part) => this.beginnings(encoder.encode(part)).next().value?.[1];
    return Array.from(this.segmenter.segment(text), ({ segment }) => {
      const whole = encoder.encode(segment).length < 6 ? first(segment) : undefined;
      return whole ?? Array.from(segment, (char) => first(char) ?? char).join('');
    }).join('');
  }
}
