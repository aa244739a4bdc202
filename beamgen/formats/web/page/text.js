// Text and token ids: with the model's own tokenizer, or what can be said without one.

import { idsAsText } from './format.js';

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

/**
 * What turns text into ids and back.
 *
 * @param page the page description.
 * @param readJson reads a file of the page's folder, by its path.
 * @param importModule imports a module of the page's folder, by its path.
 */
export async function openText(page, readJson, importModule) {
  const { kind } = page.text;
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

class TokenizerText extends Text {
  constructor(page, readJson, importModule) {
    super();
    Object.assign(this, { about: page.text, readJson, importModule });
  }

  async open() {
    const { Tokenizer } = await this.importModule(this.about.module);
    const config = { clean_up_tokenization_spaces: this.about.clean_up_tokenization_spaces };
    this.tokenizer = new Tokenizer(await this.readJson(this.about.file), config);
    const { decoder } = this.tokenizer;
    for (const part of [decoder, ...(decoder?.decoders ?? [])]) {
      if (part?.config?.type === 'ByteFallback') part.text_decoder = byteRuns;
    }
    if (this.about.chat) {
      const { Template } = await this.importModule(this.about.chat.module);
      this.template = new Template(this.about.chat.template);
    }
    return this;
  }

  encode(text, chat = false) {
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
