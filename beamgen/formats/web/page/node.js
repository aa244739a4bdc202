// The same search in Node: node page/node.js "PROMPT" [name=value ...] prints its record.
//
// constraint=FILE.npz says what may be written: beamgen constrain makes such files.
// Of an encoder-decoder decoder_prompt=, src_lang= and tgt_lang= are names, too.
// With no prompt, requests are read from stdin; beamgen holds their answers against its own.

import { readFileSync } from 'node:fs';
import { Constraint } from './automaton.js';
import { openText } from './text.js';
import { InputError, search } from './search.js';

const root = new URL('../', import.meta.url);
const read = (path) => readFileSync(new URL(path, root));
const readJson = async (path) => JSON.parse(read(path));
const importModule = (path) => import(new URL(path, root));

async function open() {
  const page = await readJson('page.json');
  const ort = await importModule(page.runtime.module);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { mjs: new URL(page.runtime.glue, root).href };
  ort.env.wasm.wasmBinary = read(page.runtime.wasm.file);
  const text = await openText(page, readJson, importModule);
  const session = await ort.InferenceSession.create(read(page.model.file), page.session_options);
  return { page, text, session, Tensor: ort.Tensor };
}

function readSetting(pair) {
  const [name, value] = pair.split('=');
  if (value === undefined) throw new Error(`${pair} is no name=value`);
  try {
    return [name, JSON.parse(value)];
  } catch {
    return [name, value];
  }
}

const readConstraint = (path) => (path ? new Constraint(new Uint8Array(readFileSync(path))) : null);

async function answer(parts, asked) {
  const { searches = [], texts = [], targets = [], languages = [], chats = [] } = asked;
  const { ids = [], tokens = [] } = asked;
  const found = { searches: [], node: process.version };
  for (const { prompt, settings, constraint } of searches) {
    found.searches.push(await search(parts, prompt, settings, readConstraint(constraint)));
  }
  const { text } = parts;
  found.texts = texts.map((each) => text.encode(each));
  found.targets = targets.map((each) => text.encodeTarget(each));
  found.languages = languages.map(([each, src_lang]) => text.encode(each, { src_lang }));
  found.chats = chats.map((each) => text.encode(each, { chat: true }));
  found.ids = ids.map((each) => text.decode(each));
  found.tokens = tokens.map(([before, token]) => text.ofToken(before, token));
  return found;
}

const [prompt, ...pairs] = process.argv.slice(2);
const { decoder_prompt: decoder_text, src_lang, tgt_lang, constraint, ...settings } = Object.fromEntries(
  pairs.map(readSetting),
);
const parts = await open();
try {
  const found =
    prompt === undefined
      ? await answer(parts, JSON.parse(readFileSync(0, 'utf8')))
      : await search(
          parts,
          { text: prompt, decoder_text, src_lang, tgt_lang },
          settings,
          readConstraint(constraint),
        );
  console.log(JSON.stringify(found));
} catch (error) {
  if (!(error instanceof InputError)) throw error;
  console.error(`${error.name}: ${error.message}`);
  process.exitCode = 1;
}
