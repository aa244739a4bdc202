// The search's settings under Hugging Face's names: defaults, limits, and the graph's inputs.

import { DEFAULT_MAX_NEW_TOKENS, EARLY_STOPPING } from './constants.js';

/** Heeded only where tokens are drawn. */
export const SAMPLING = ['seed', 'temperature', 'top_k', 'top_p'];

/** How many tokens may follow a prompt; 0 or less where it is too long. */
export function room({ limits }, promptLength) {
  const boundary = limits.recompute_boundary;
  if (boundary !== null && promptLength <= boundary) return boundary - promptLength;
  return limits.max_positions - promptLength;
}

/** The package's own settings for a prompt, as HF's generate would resolve them. */
export function defaults(page, promptLength) {
  const { search, inputs } = page;
  let longest = search.max_new_tokens;
  if (longest === null && search.max_length !== null) longest = search.max_length - promptLength;
  if (longest === null) {
    longest = Math.max(1, Math.min(DEFAULT_MAX_NEW_TOKENS, room(page, promptLength)));
  }
  const shortest = search.min_new_tokens ?? Math.max(search.min_length - promptLength, 0);
  const plain = Object.entries(inputs).map(([name, { value }]) => [name, value]);
  return {
    ...Object.fromEntries(plain),
    max_new_tokens: longest,
    min_new_tokens: shortest,
    early_stopping: search.early_stopping,
    do_sample: search.do_sample,
    seed: search.seed,
  };
}

/** The settings of one search: the package's with those of the reader that are not null. */
export function resolve(page, promptLength, given) {
  const chosen = Object.entries(given).filter(([, value]) => value !== null);
  const settings = { ...defaults(page, promptLength), ...Object.fromEntries(chosen) };
  settings.min_new_tokens = Math.min(settings.min_new_tokens, settings.max_new_tokens);
  if (settings.do_sample && settings.seed === null) {
    settings.seed = crypto.getRandomValues(new Uint32Array(1))[0];
  }
  return settings;
}

const isCount = (value, low = 1) => Number.isInteger(value) && value >= low && value < 2 ** 31;

/** What is impossible about settings: `{field, message}` each, none where all is well. */
export function problems(page, promptLength, settings) {
  const found = [];
  const wrong = (field, message) => found.push({ field, message });
  const { num_beams, num_return_sequences, max_new_tokens, do_sample } = settings;
  if (!isCount(num_beams)) wrong('num_beams', 'Beams is a whole number from 1.');
  if (!isCount(num_return_sequences)) {
    wrong('num_return_sequences', 'Answers is a whole number from 1.');
  }
  if (num_return_sequences > num_beams && !(num_beams === 1 && do_sample)) {
    wrong(
      'num_return_sequences',
      `A search with ${num_beams} ${num_beams === 1 ? 'beam' : 'beams'} has at most as many ` +
        'answers. Raise Beams, or ask for fewer.',
    );
  }
  if (!isCount(max_new_tokens)) wrong('max_new_tokens', 'New tokens is a whole number from 1.');
  if (!Number.isFinite(settings.length_penalty)) {
    wrong('length_penalty', 'Length penalty is a number; 1 is the usual one, 0 is none.');
  } else if (isCount(max_new_tokens) && isArbitrary(settings)) {
    wrong(
      'length_penalty',
      'So large a penalty carries scores out of the range in which they can be told apart. ' +
        'Choose one nearer to 0.',
    );
  }
  if (do_sample) found.push(...samplingProblems(settings));
  if (!found.length) found.push(...lengthProblems(page, promptLength, settings));
  return found;
}

function samplingProblems({ temperature, top_k, top_p, seed }) {
  const found = [];
  const wrong = (field, message) => found.push({ field, message });
  if (!(Number.isFinite(temperature) && temperature > 0)) {
    wrong('temperature', 'Temperature is a number above 0.');
  }
  if (!isCount(top_k, 0)) wrong('top_k', 'Top k is a whole number from 0; 0 keeps all tokens.');
  if (!(top_p > 0 && top_p <= 1)) wrong('top_p', 'Top p is above 0 and at most 1.');
  if (!isSeed(seed)) wrong('seed', 'Seed is a whole number from 0 to 2⁶³ − 1.');
  return found;
}

function isSeed(seed) {
  if (typeof seed === 'number') return Number.isSafeInteger(seed) && seed >= 0;
  return /^\d{1,19}$/.test(seed) && BigInt(seed) < 2n ** 63n;
}

/** Whether scores reach the -1e9 that marks dead beams, or vanish; -10 a token at most. */
function isArbitrary({ num_beams, length_penalty, max_new_tokens }) {
  const power = -length_penalty * Math.log10(max_new_tokens);
  return num_beams > 1 && (power + Math.log10(10 * max_new_tokens) > 9 || power < -30);
}

/** What is impossible about the length of what an encoder reads. */
export function sourceProblems({ encoder }, length) {
  const most = encoder?.max_positions ?? Infinity;
  if (length <= most) return [];
  const message = `The text has ${length} tokens and this model reads ${most} at most. Shorten the text.`;
  return [{ field: 'prompt', message }];
}

function lengthProblems(page, promptLength, { max_new_tokens }) {
  const left = room(page, promptLength);
  if (max_new_tokens <= left) return [];
  const [field, what] = page.encoder
    ? ['decoder_prompt', 'beginning of the answer']
    : ['prompt', 'prompt'];
  const { max_positions, recompute_boundary } = page.limits;
  const fits = recompute_boundary !== null && promptLength <= recompute_boundary;
  const holds = fits
    ? `this model computes every position anew at ${recompute_boundary} tokens, which no search can cross`
    : `this model holds ${max_positions} tokens in all`;
  if (left < 1) {
    return [
      {
        field,
        message: `The ${what} has ${promptLength} tokens and ${holds}. Shorten it.`,
      },
    ];
  }
  return [
    {
      field: 'max_new_tokens',
      message:
        `The ${what} has ${promptLength} tokens and ${holds}. ` +
        `Ask for ${left} new tokens at most, or shorten it.`,
    },
  ];
}

/** The inputs of a constraint where there is none. */
function unbound(Tensor) {
  const none = { states: [0, 3], rows: [0, 3], edges: [0, 2], next: [0] };
  return Object.fromEntries(
    Object.entries(none).map(([part, dims]) => [
      `constraint_${part}`,
      new Tensor('int32', new Int32Array(0), dims),
    ]),
  );
}

/**
 * Tensors for the graph, by input name.
 *
 * @param ids of the prompt, `read` of what an encoder reads; the same where there is none.
 * @param constraint what may be written, a `Constraint`; null for anything.
 */
export function feeds(page, { ids, read }, settings, Tensor, constraint = null) {
  const row = (values) => new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  const tensors = { input_ids: row(read), attention_mask: row(read.map(() => 1)) };
  if (page.encoder) tensors.decoder_input_ids = row(ids);
  for (const [name, { dtype }] of Object.entries(page.inputs)) {
    let value = settings[name];
    if (name === 'early_stopping') value = EARLY_STOPPING.indexOf(value);
    if (name === 'do_sample') value = value ? 1 : 0;
    if (name === 'seed') value ??= 0;
    const data = dtype === 'int64' ? BigInt64Array.of(BigInt(value)) : Float32Array.of(value);
    tensors[name] = new Tensor(dtype, data, [1]);
  }
  return { ...tensors, ...(constraint?.feeds(Tensor) ?? unbound(Tensor)) };
}
