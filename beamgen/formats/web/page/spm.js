// SentencePiece models with a vocabulary beside them, which no `tokenizer.json` can hold.
//
// `beamgen/tokenizer/slow.py` and `spm.py` do the same around SentencePiece itself; packaging holds
// the two together.

import { Charsmap } from './charsmap.js';

const SPACE = '▁';
const utf8 = new TextEncoder();

/** One model: text becomes pieces, as they are spelled. */
export class Model {
  constructor({ kind, pieces, charsmap, add_dummy_prefix, remove_extra_whitespaces }) {
    Object.assign(this, { kind, add_dummy_prefix, remove_extra_whitespaces });
    this.scores = new Map(pieces);
    this.longest = 1;
    let least = 0;
    for (const [piece, score] of pieces) {
      this.longest = Math.max(this.longest, Array.from(piece).length);
      least = Math.min(least, score);
    }
    this.unknown = Math.fround(least - 10);
    this.map = new Charsmap(charsmap);
  }

  pieces(text) {
    const chars = Array.from(this.normalized(text));
    const found = this.kind === 'bpe' ? this.merged(chars) : this.likeliest(chars);
    // what is unknown is one piece, however long
    return found.reduce((all, piece) => {
      const isKnown = this.scores.has(piece);
      const last = all.at(-1);
      if (last && !isKnown && !last.isKnown) last.piece += piece;
      else all.push({ piece, isKnown });
      return all;
    }, []).map(({ piece }) => piece);
  }

  /** `Normalizer::Normalize` of SentencePiece, with marks for spaces. */
  normalized(text) {
    const parts = [...this.rewritten(utf8.encode(text))];
    if (this.remove_extra_whitespaces) {
      while (parts.length && parts[0].replace(/^ +/, '') === '') parts.shift();
      if (parts.length) parts[0] = parts[0].replace(/^ +/, '');
    }
    if (!parts.length) return '';
    let out = this.add_dummy_prefix ? SPACE : '';
    let isAfterSpace = this.remove_extra_whitespaces;
    for (const part of parts) {
      const rest = isAfterSpace ? part.replace(/^ +/, '') : part;
      out += rest.replaceAll(' ', SPACE);
      if (rest) isAfterSpace = this.remove_extra_whitespaces && rest.endsWith(' ');
    }
    return this.remove_extra_whitespaces ? out.replace(/▁+$/, '') : out;
  }

  /** What is written for each of the longest beginnings that the table has, or else each character. */
  *rewritten(bytes) {
    const decoder = new TextDecoder();
    for (let at = 0; at < bytes.length; ) {
      const [length, text] = [...this.map.beginnings(bytes, at)].at(-1) ?? [0, ''];
      const first = bytes[at];
      const size = length || (first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4);
      yield length ? text : decoder.decode(bytes.subarray(at, at + size));
      at += size;
    }
  }

  /** The likeliest pieces, `unigram::Model::EncodeOptimized`. */
  likeliest(chars) {
    const ends = chars.map(() => null);
    const reach = (from, to, score) => {
      const total = Math.fround((from ? ends[from - 1].total : 0) + Math.fround(score));
      if (!ends[to - 1] || total > ends[to - 1].total) ends[to - 1] = { total, from };
    };
    for (let from = 0; from < chars.length; from++) {
      let piece = '';
      for (let to = from + 1; to <= Math.min(chars.length, from + this.longest); to++) {
        piece += chars[to - 1];
        if (this.scores.has(piece)) reach(from, to, this.scores.get(piece));
      }
      if (!this.scores.has(chars[from])) reach(from, from + 1, this.unknown);
    }
    const found = [];
    for (let to = chars.length; to > 0; to = ends[to - 1].from) {
      found.unshift(chars.slice(ends[to - 1].from, to).join(''));
    }
    return found;
  }

  /** Pairs merge, the best first, `bpe::Model::Encode`. */
  merged(chars) {
    const symbols = [...chars];
    for (;;) {
      let best = -1;
      let score = -Infinity;
      for (let i = 0; i + 1 < symbols.length; i++) {
        const found = this.scores.get(symbols[i] + symbols[i + 1]);
        if (found !== undefined && found > score) [best, score] = [i, found];
      }
      if (best < 0) return symbols;
      symbols.splice(best, 2, symbols[best] + symbols[best + 1]);
    }
  }
}

/** A tokenizer of such models: added tokens around pieces. */
export class Spm {
  constructor(about) {
    Object.assign(this, about);
    this.source = new Model(about.source);
    this.target = about.target ? new Model(about.target) : this.source;
    this.added = new Map(about.added_tokens.map((token) => [token.content, token]));
    const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&');
    const longest = [...this.added.keys()].sort((a, b) => b.length - a.length);
    this.splitter = new RegExp(longest.map(escaped).join('|'), 'gu');
    this.ids = new Map(about.vocab);
    this.targetIds = about.target_vocab ? new Map(about.target_vocab) : this.ids;
    this.spelled = new Map([...this.targetIds].map(([piece, id]) => [id, piece]));
    for (const { id, content } of about.added_tokens) this.spelled.set(id, content);
    this.special = new Set(about.special);
  }

  encode(text) {
    return this.idsOf(text, this.source, this.ids);
  }

  encodeTarget(text) {
    return this.idsOf(text, this.target, this.targetIds);
  }

  idsOf(text, model, vocab) {
    return this.parts(text).flatMap((part) => {
      if (this.added.has(part)) return [this.added.get(part).id];
      const [code] = this.codes ? (part.match(/^>>.*?<</su) ?? ['']) : [''];
      const pieces = [...(code ? [code] : []), ...model.pieces(part.slice(code.length))];
      return pieces.map((piece) => this.added.get(piece)?.id ?? vocab.get(piece) ?? this.unk);
    });
  }

  /** A text, cut at the added tokens, which take the spaces beside them as they say. */
  parts(text) {
    const parts = [];
    let begin = 0;
    for (const { 0: found, index } of text.matchAll(this.splitter)) {
      if (!found) continue;
      parts.push(text.slice(begin, index), found);
      begin = index + found.length;
    }
    parts.push(text.slice(begin));
    const all = parts.filter(Boolean);
    all.forEach((part, i) => {
      const token = this.added.get(part);
      if (!token) return;
      if (token.rstrip && i + 1 < all.length) all[i + 1] = all[i + 1].trimStart();
      if (token.lstrip && i) all[i - 1] = all[i - 1].trimEnd();
    });
    return all.filter(Boolean);
  }

  /** The text of ids, special ones left out. */
  decode(ids) {
    const texts = [];
    let pieces = [];
    const joined = () => pieces.join('').replaceAll(SPACE, ' ').trim();
    for (const token of ids.map((id) => this.spelled.get(id) ?? this.unk_token)) {
      if (this.special.has(token)) continue;
      if (this.added.has(token)) {
        texts.push(...[joined(), token].filter(Boolean));
        pieces = [];
      } else {
        pieces.push(token);
      }
    }
    return [...texts, ...(pieces.length ? [joined()] : [])].join(' ');
  }
}
