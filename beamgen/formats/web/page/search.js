// One search: a prompt and settings in, the record of what it did and found out.

import { feeds, problems, resolve } from './settings.js';
import { readSearch } from './trace.js';

/** What the reader can put right: which field it is, and one sentence. */
export class InputError extends Error {
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** Token ids of a prompt, which is text, or ids where there is no tokenizer. */
export function promptIds(page, text, prompt) {
  if (prompt.ids) return checkedIds(page, prompt.ids);
  if (page.text.kind !== 'tokenizer') return checkedIds(page, readIds(prompt.text));
  if (prompt.text.trim() === '') {
    throw new InputError('prompt', 'The prompt is empty. Write something for the model to continue.');
  }
  return text.encode(prompt.text, prompt.chat);
}

function readIds(written) {
  const words = written.split(/[\s,;]+/).filter(Boolean);
  const wrong = words.find((word) => !/^\d+$/.test(word));
  if (wrong !== undefined) {
    throw new InputError(
      'prompt',
      `“${wrong}” is no token id. This page takes whole numbers, with spaces between them.`,
    );
  }
  return words.map(Number);
}

function checkedIds(page, ids) {
  if (!ids.length) {
    throw new InputError('prompt', 'The prompt is empty. Give at least one token id.');
  }
  const outside = ids.find((id) => id >= page.vocab_size);
  if (outside !== undefined) {
    throw new InputError(
      'prompt',
      `There is no token ${outside}: the ids go from 0 to ${page.vocab_size - 1}.`,
    );
  }
  return ids;
}

/**
 * Search; returns the record of what was found and how.
 *
 * @param parts `{page, text, session, Tensor}`.
 * @param prompt `{text, chat}` or `{ids}`.
 * @param given settings that are not the package's own; null where one is.
 */
export async function search({ page, text, session, Tensor }, prompt, given) {
  const ids = promptIds(page, text, prompt);
  const settings = resolve(page, ids.length, given);
  const [problem] = problems(page, ids.length, settings);
  if (problem) throw new InputError(problem.field, problem.message);
  const outputs = await session.run(feeds(page, ids, settings, Tensor));
  const shown = page.text.kind === 'ids' ? null : text.decode(ids);
  // fixed in the file, and part of how it searched
  const { eos_token_id } = page.search;
  return readSearch(outputs, { text: shown, ids }, { ...settings, eos_token_id }, text);
}
