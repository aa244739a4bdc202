// One search: a prompt and settings in, the record of what it did and found out.

import { forbiddenTokens } from './automaton.js';
import { feeds, problems, resolve, sourceProblems } from './settings.js';
import { readSearch } from './trace.js';

/** What the reader can put right: which field it is, and one sentence. */
export class InputError extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** Token ids of a prompt, which is text, or ids where there is no tokenizer; of an
 *  encoder-decoder, of the text that it reads. */
export function promptIds(page, text, prompt) {
  languageToken(page, 'src_lang', prompt.src_lang);
  const what = page.encoder ? 'text' : 'prompt';
  if (prompt.ids || page.text.kind !== 'tokenizer') {
    const ids = checkedIds(page, prompt.ids ?? readIds(prompt.text, 'prompt'), 'prompt');
    if (ids.length) return ids;
    throw new InputError('prompt', `The ${what} is empty. Give at least one token id.`);
  }
  if (prompt.text.trim() === '') {
    const end = page.encoder ? 'read' : 'continue';
    throw new InputError('prompt', `The ${what} is empty. Write something for the model to ${end}.`);
  }
  return text.encode(prompt.text, prompt);
}

/** Whether what the decoder begins with is the token of a language, not a start. */
const beginsWithLanguage = ({ encoder, text }) =>
  Object.values(text.languages?.ids ?? {}).includes(encoder?.decoder_start_token_id);

/**
 * What the decoder behind an encoder begins with: its start, and what answers are to begin with,
 * before which their language goes. Where nothing is given that is a setting, as in HF; and some
 * begin with the language itself.
 */
function decoderIds(page, text, { decoder_ids, decoder_text, tgt_lang }) {
  const language = languageToken(page, 'tgt_lang', tgt_lang);
  const isStart = language !== null && beginsWithLanguage(page);
  const start = isStart ? language : page.encoder.decoder_start_token_id;
  let ids = decoder_ids;
  if (!ids && page.text.kind === 'tokenizer') ids = text.encodeTarget(decoder_text ?? '');
  ids = checkedIds(page, ids ?? readIds(decoder_text ?? '', 'decoder_prompt'), 'decoder_prompt');
  const rest = ids[0] === start ? ids.slice(1) : ids;
  const isSaid = language === null || isStart || rest[0] === language;
  if (!rest.length || isSaid) return [start, ...rest];
  return [start, language, ...rest];
}

function readIds(written, field) {
  const words = written.split(/[\s,;]+/).filter(Boolean);
  const wrong = words.find((word) => !/^\d+$/.test(word));
  if (wrong !== undefined) {
    throw new InputError(
      field,
      `“${wrong}” is no token id. This page takes whole numbers, with spaces between them.`,
    );
  }
  return words.map(Number);
}

function checkedIds(page, ids, field) {
  const outside = ids.find((id) => id >= page.vocab_size);
  if (outside !== undefined) {
    throw new InputError(
      field,
      `There is no token ${outside}: the ids go from 0 to ${page.vocab_size - 1}.`,
    );
  }
  return ids;
}

/**
 * Search; returns the record of what was found and how.
 *
 * @param parts `{page, text, session, Tensor}`.
 * @param prompt `{text, chat}` or `{ids}`; of an encoder-decoder besides `decoder_text` or
 *   `decoder_ids`, with which the answer begins, `src_lang` and `tgt_lang`.
 * @param given settings that are not the package's own; null where one is.
 * @param constraint what may be written, see `automaton.js`; null for anything.
 */
export async function search({ page, text, session, Tensor }, prompt, given, constraint = null) {
  const read = promptIds(page, text, prompt);
  const ids = page.encoder ? decoderIds(page, text, prompt) : read;
  const forced_bos_token_id = beginsWithLanguage(page)
    ? null
    : languageToken(page, 'tgt_lang', prompt.tgt_lang);
  const settings = resolve(page, ids.length, { ...given, forced_bos_token_id });
  const [problem] = [...sourceProblems(page, read.length), ...problems(page, ids.length, settings)];
  if (problem) throw new InputError(problem.field, problem.message);
  const outputs = await session.run(feeds(page, { ids, read }, settings, Tensor, constraint));
  const shown = (some) => ({ text: page.text.kind === 'ids' ? null : text.decode(some), ids: some });
  // fixed in the file, and part of how it searched
  const { eos_token_id } = page.search;
  const record = readSearch(outputs, shown(ids), { ...settings, eos_token_id }, text);
  if (constraint) {
    const { vocab_size } = page;
    const forbidden = forbiddenTokens(record.steps, constraint, eos_token_id, vocab_size);
    Object.assign(record, { forbidden, vocab_size });
  }
  return page.encoder ? { source: shown(read), ...record } : record;
}

/** The token of a language; null where none is given. */
function languageToken({ text }, field, code) {
  if (!code) return null;
  if (!text.languages) {
    throw new InputError(field, `This model’s tokenizer is told of no languages. Leave out ${code}.`);
  }
  const token = text.languages.ids[code];
  if (token !== undefined) return token;
  const known = Object.keys(text.languages.ids).join(', ');
  throw new InputError(field, `This model knows no language ${code}. It has ${known}.`);
}
