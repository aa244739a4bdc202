// Loads the model and searches, apart from the page, so that the page stays responsive.

import { Constraint } from './automaton.js';
import { LoadError, readBytes, readJson } from './load.js';
import { InputError, promptIds, search } from './search.js';
import { openText } from './text.js';

const root = new URL('../', import.meta.url);
const at = (path) => new URL(path, root).href;
let parts = null;

/** More threads need shared memory, which browsers give to cross-origin isolated pages only. */
const threads = () =>
  globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;

const ask = {
  async load({ page }) {
    const text = await openText(page, (path) => readJson(at(path)), (path) => import(at(path)));
    parts = { page, text };
    postMessage({ type: 'text' });
    const { model, runtime } = page;
    const total = model.bytes + runtime.wasm.bytes;
    let done = 0;
    const progress = (bytes) => postMessage({ type: 'progress', done: (done += bytes), total });
    const wasm = await readBytes(at(runtime.wasm.file), runtime.wasm, progress);
    const bytes = await readBytes(at(model.file), model, progress);
    postMessage({ type: 'preparing' });
    const ort = await import(at(runtime.module));
    ort.env.wasm.numThreads = threads();
    ort.env.wasm.wasmPaths = { mjs: at(runtime.glue) };
    ort.env.wasm.wasmBinary = wasm;
    try {
      parts.session = await ort.InferenceSession.create(bytes, page.session_options);
    } catch (error) {
      throw new LoadError(`ONNX Runtime could not load the model: ${firstLine(error)}`, cure(error));
    }
    parts.Tensor = ort.Tensor;
    postMessage({ type: 'ready', threads: ort.env.wasm.numThreads });
  },

  /** How long a prompt, or what is read, is, for who is still writing it. */
  async count({ prompt, id }) {
    let count = null;
    try {
      count = promptIds(parts.page, parts.text, prompt).length;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
    }
    postMessage({ type: 'count', id, count });
  },

  async search({ prompt, settings, constraint }) {
    const began = performance.now();
    const record = await search(parts, prompt, settings, opened(constraint));
    postMessage({ type: 'result', record, seconds: (performance.now() - began) / 1000 });
  },
};

/** The constraint of a file's bytes; null where none was chosen. */
function opened(bytes) {
  if (!bytes) return null;
  try {
    return new Constraint(new Uint8Array(bytes));
  } catch (error) {
    const message = `This file holds no constraint: ${firstLine(error)}. Choose one that beamgen constrain wrote.`;
    throw new InputError('constraint', message);
  }
}

const firstLine = (error) => String(error?.message ?? error).split('\n')[0].slice(0, 300);

function cure(error) {
  const memory = /memory|alloc|out of bounds|abort/i.test(String(error));
  return memory
    ? 'It needs more memory than this browser gives a page. Close other pages, or use another device.'
    : 'Use a current Chrome, Edge, Firefox or Safari, then load this page again.';
}

onmessage = async ({ data }) => {
  try {
    await ask[data.type](data);
  } catch (error) {
    if (error instanceof InputError) {
      postMessage({ type: 'input-error', field: error.field, message: error.message });
    } else {
      const failed = data.type === 'load' ? 'load-error' : 'search-error';
      postMessage({ type: failed, message: firstLine(error), cure: error?.cure ?? cure(error) });
    }
  }
};
