// The page: loads the model in a worker, hands it prompts, shows what it found.

import { Form } from './form.js';
import { counted, decimal, megabytes } from './format.js';
import { readJson } from './load.js';
import { Results } from './results.js';

const $ = (id) => document.getElementById(id);

/** Above this the reader is asked before a model is fetched. */
const ASK_ABOVE_BYTES = 100e6;

let page;
let form;
let worker;
let results;
let isReady = false;
let isSearching = false;
let counting = 0;

async function begin() {
  $('load').classList.add('begun');
  try {
    page = await readJson(new URL('../page.json', import.meta.url));
  } catch (error) {
    return fail(error.message, error.cure);
  }
  document.title = `${page.title}: beam search in your browser`;
  $('title').textContent = page.title;
  $('about').textContent = `Made with beamgen ${page.beamgen}. Runs on ${page.runtime.name}.`;
  form = new Form(page, count);
  results = new Results();
  $('form').hidden = false;
  $('form').addEventListener('submit', submit);
  $('stop').addEventListener('click', stop);
  $('load-start').addEventListener('click', load);
  const size = page.model.bytes + page.runtime.wasm.bytes;
  ready(false);
  if (size <= ASK_ABOVE_BYTES) return load();
  $('load-text').textContent = 'The model has to be fetched once.';
  $('load-start').textContent = `Load the model (${megabytes(size)} MB)`;
  $('load-start').hidden = false;
}

function load() {
  $('load').hidden = false;
  $('load-start').hidden = true;
  $('failure').hidden = true;
  $('load-bar').hidden = false;
  $('load-bar').value = 0;
  $('load-text').textContent = 'Loading the model …';
  worker?.terminate();
  worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  worker.onmessage = ({ data }) => hear[data.type](data);
  worker.onerror = () =>
    fail(
      'The page’s program could not be started.',
      'Use a current Chrome, Edge, Firefox or Safari; or the folder on the server is incomplete.',
    );
  worker.postMessage({ type: 'load', page });
}

const hear = {
  text: () => count(form.prompt()),
  progress({ done, total }) {
    $('load-bar').value = done / total;
    // a screen reader hears of every tenth, not of every packet
    const tenth = Math.floor((10 * done) / total);
    $('load-bar').setAttribute('aria-valuetext', `${tenth * 10} %`);
    const text = `Loading the model: ${megabytes(done)} of ${megabytes(total)} MB`;
    if (tenth !== hear.tenth) $('load-text').textContent = text;
    hear.tenth = tenth;
  },
  preparing() {
    $('load-bar').removeAttribute('value');
    $('load-text').textContent = 'Preparing the model: some seconds …';
  },
  ready({ threads }) {
    $('load').hidden = true;
    $('about').textContent =
      `Made with beamgen ${page.beamgen}. Runs on ${page.runtime.name}, in ` +
      `${counted(threads, 'thread')}.`;
    ready(true);
    $('status').textContent = 'The model is ready.';
  },
  count({ id, count: tokens }) {
    if (id === counting) $('prompt-count').textContent = tokens ? counted(tokens, 'token') : '';
  },
  result({ record, seconds }) {
    searching(false);
    results.show(record);
    const { hypotheses, steps, settings } = record;
    const { seed, do_sample } = settings;
    $('status').textContent =
      `${counted(hypotheses.length, 'answer')} after ${counted(steps.length, 'step')}, ` +
      `in ${decimal(seconds, 2)} s${do_sample ? `, with seed ${seed}` : ''}.`;
  },
  'input-error'({ field, message }) {
    searching(false);
    $('status').textContent = '';
    form.refuse(field, message);
  },
  'search-error'({ message, cure }) {
    fail(`The search failed: ${message}`, cure);
  },
  'load-error'({ message, cure }) {
    fail(message, cure);
  },
};

async function submit(event) {
  event.preventDefault();
  if (!isReady || isSearching) return;
  form.acceptAll();
  searching(true);
  const [file] = $('constraint').files;
  const constraint = file ? await file.arrayBuffer() : null;
  const [prompt, settings] = [form.prompt(), form.settings()];
  worker.postMessage({ type: 'search', prompt, settings, constraint });
}

/** A search cannot be interrupted, but its worker can. */
function stop() {
  searching(false);
  ready(false);
  load();
  $('status').textContent = 'Stopped.';
}

function count(prompt) {
  worker?.postMessage({ type: 'count', id: ++counting, prompt });
}

function fail(cause, cure) {
  worker?.terminate();
  worker = null;
  searching(false);
  ready(false);
  $('load').hidden = true;
  $('failure').hidden = false;
  $('failure-cause').textContent = cause;
  $('failure-cure').textContent = cure ?? '';
}

function ready(is) {
  isReady = is;
  $('submit').disabled = !is;
}

function searching(is) {
  isSearching = is;
  $('stop').hidden = !is;
  $('submit').setAttribute('aria-disabled', String(is));
  $('results').classList.toggle('stale', is);
  $('results').setAttribute('aria-busy', String(is));
  if (is) $('status').textContent = 'Searching …';
}

$('retry').addEventListener('click', () => {
  $('failure').hidden = true;
  if (page) load();
  else begin();
});
begin();
