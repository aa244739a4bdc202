// Text and token ids: with the model's own tokenizer, or what can be said without one.

import { Charsmap } from './charsmap.js';
import { idsAsText } from './format.js';
import { Spm } from './spm.js';

/** Rust's reading of byte tokens: a run that is no UTF-8 becomes one mark for each byte. */
const byteRuns = {
  strict: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }),
  decode(bytes) {
    try {
      return this.strict.decode(bytes);
    } catch {
      return '\ufffd'.repeat(bytes.length);
    }
  },
};

/** What the library reads by JavaScript's own rules, as Hugging Face's, in Rust, reads it. */
function readAsRust({ normalizer, pre_tokenizer, decoder, tokenizer: file }) {
  for (const [part, { type, ...about }] of steps(normalizer, file.normalizer)) {
    if (type === 'Precompiled') {
      const map = new Charsmap(about.precompiled_charsmap);
      part.normalize = (text) => map.ofGraphemes(text);
    } else if (type === 'Strip') {
      const [left, right] = [/^\p{White_Space}+/u, /\p{White_Space}+$/u];
      const sides = [...(about.strip_left ? [left] : []), ...(about.strip_right ? [right] : [])];
      part.normalize = (text) => sides.reduce((rest, side) => rest.replace(side, ''), text);
    }
  }
  for (const [part, { type }] of steps(pre_tokenizer, file.pre_tokenizer)) {
    if (type === 'WhitespaceSplit') {
      part.pre_tokenize_text = (text) => text.match(/\P{White_Space}+/gu) ?? [];
    } else if (part.pattern?.unicode) {
      const { source, flags } = part.pattern;
      const space = (sign) => (sign === '\\s' ? '\\p{White_Space}' : '\\P{White_Space}');
      part.pattern = new RegExp(source.replace(/\\[sS]/g, space), flags);
    }
  }
  for (const [part, { type, replacement = '\u2581', prepend_scheme }] of steps(decoder, file.decoder)) {
    if (type === 'ByteFallback') {
      part.text_decoder = byteRuns;
    } else if (type === 'Metaspace') {
      // what was put before a text goes again, a space that the text begins with does not
      const atFirst = prepend_scheme === 'never' ? ' ' : '';
      part.decode_chain = (tokens) =>
        tokens.map((token, i) => token.replaceAll(replacement, i === 0 ? atFirst : ' '));
    }
  }
}

/** Parts of the library with what the file says of each. */
function steps(part, about) {
  if (!part) return [];
  const list = part.normalizers ?? part.tokenizers ?? part.decoders;
  const said = about.normalizers ?? about.pretokenizers ?? about.decoders;
  return list ? list.map((each, i) => [each, said[i]]) : [[part, about]];
}

/**
 * What turns text into ids and back.
 *
 * @param page the page description.
 * @param readJson reads a file of the page's folder, by its path.
 * @param importModule imports a module of the page's folder, by its path.
 */
export async function openText(page, readJson, importModule) {
  const { kind } = page.text;
  if (kind === 'tokenizer' && !page.text.module) {
    return new SpmText(new Spm(await readJson(page.text.file)), page.text.languages);
  }
  if (kind === 'tokenizer') return new TokenizerText(page, readJson, importModule).open();
  return new WithoutTokenizer(kind === 'pieces' ? await readJson(page.text.file) : null);
}

/** What ids add to the text before them; `beamgen/tokenizer/added_text.py` does the same. */
class Text {
  /** What ids add to the text of those before them. */
  after(before, ids) {
    const shown = this.decode(before);
    const all = this.decode([...before, ...ids]);
    // a character's first bytes show as marks until its last one has come
    const begun = [shown, shown.replace(/\ufffd+$/, '')].find((each) => all.startsWith(each));
    return begun === undefined ? this.decode(ids) : all.slice(begun.length);
  }

  /** What one token adds, be it a special one. */
  ofToken(before, token) {
    return this.special(token) ?? this.after(before, [token]);
  }
}

/** Ids with what goes around a text in a language, the tokenizer's own where none is given. */
function inLanguage(ids, code, { ids: tokens, src_lang, eos_token_id, before }) {
  const language = tokens[code ?? src_lang];
  return before ? [language, ...ids, eos_token_id] : [...ids, eos_token_id, language];
}

class TokenizerText extends Text {
  constructor(page, readJson, importModule) {
    super();
    Object.assign(this, { about: page.text, readJson, importModule });
  }

  async open() {
    const { Tokenizer } = await this.importModule(this.about.module);
    const config = { clean_up_tokenization_spaces: this.about.clean_up_tokenization_spaces };
    this.tokenizer = new Tokenizer(await this.readJson(this.about.file), config);
    readAsRust(this.tokenizer);
    if (this.about.chat) {
      const { Template } = await this.importModule(this.about.chat.module);
      this.template = new Template(this.about.chat.template);
    }
    return this;
  }

  /** The ids of a text, as a chat's message, or in one of the languages that there are. */
  encode(text, { chat = false, src_lang } = {}) {
    if (src_lang) return inLanguage(this.encodeTarget(text), src_lang, this.about.languages);
    if (!chat) return text === '' ? this.ofNothing() : this.tokenizer.encode(text).ids;
    const messages = [{ role: 'user', content: text }];
    const { special_tokens } = this.about.chat;
    const rendered = this.template.render({
      messages,
      add_generation_prompt: true,
      ...special_tokens,
    });
    return this.tokenizer.encode(rendered, { add_special_tokens: false }).ids;
  }

  /** The ids of a text in the language that is translated into, and nothing around them. */
  encodeTarget(text) {
    return text === '' ? [] : this.tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  /** A prompt of nothing is still its special tokens, for tokenizers that add some. */
  ofNothing() {
    return this.tokenizer.encode('').ids;
  }

  decode(ids) {
    return ids.length ? this.tokenizer.decode(ids, { skip_special_tokens: true }) : '';
  }

  special(token) {
    const text = this.tokenizer.id_to_token(token);
    return this.tokenizer.special_tokens.includes(text) ? text : null;
  }
}

/** SentencePiece models with a vocabulary beside them. */
class SpmText extends Text {
  constructor(spm, languages) {
    super();
    Object.assign(this, { spm, languages });
  }

  encode(text, { src_lang } = {}) {
    const ids = this.spm.encode(text);
    if (this.languages) return inLanguage(ids, src_lang || undefined, this.languages);
    return [...ids, this.spm.eos_token_id];
  }

  encodeTarget(text) {
    return this.spm.encodeTarget(text);
  }

  decode(ids) {
    return this.spm.decode(ids);
  }

  special(token) {
    const text = this.spm.spelled.get(token);
    return this.spm.special.has(text) ? text : null;
  }
}

/** Ids only, spelled as the vocabulary spells them where that is known. */
class WithoutTokenizer extends Text {
  constructor(pieces) {
    super();
    this.pieces = pieces;
  }

  encode() {
    throw new Error('this page has no tokenizer');
  }

  decode(ids) {
    if (this.pieces === null) return idsAsText(ids);
    return ids.map((id) => (this.special(id) === null ? this.pieces.text[id] : '')).join('');
  }

  special(token) {
    return this.pieces?.special.includes(token) ? this.pieces.text[token] : null;
  }
}
