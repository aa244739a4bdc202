// What a search found: its answers, the tree, and each step in words.

import { counted, decimal, element, percent, spelled } from './format.js';
import { at, pathTo, textBefore } from './layout.js';
import { Tree, became, summary } from './tree.js';

const $ = (id) => document.getElementById(id);

const ENDINGS = {
  eos: 'ended by itself',
  length: 'cut off at the limit of tokens',
};

export class Results {
  constructor(eosTokenIds) {
    this.eosTokenIds = eosTokenIds;
    this.tree = new Tree($('tree'), eosTokenIds, (step, rank) => this.select(step, rank));
    $('show-dropped').addEventListener('change', () => this.redraw());
    $('step-back').addEventListener('click', () => this.go(this.step - 1));
    $('step-on').addEventListener('click', () => this.go(this.step + 1));
    $('save').addEventListener('click', () => this.save());
  }

  show(told) {
    this.told = told;
    this.selected = null;
    $('results').hidden = false;
    $('score-hint').textContent = explainScore(told.settings);
    $('answers').replaceChildren(...told.hypotheses.map((each) => this.answer(each)));
    if (!told.hypotheses.length) {
      $('answers').append(element('li', { class: 'none' }, 'The search found no answer.'));
    }
    this.step = 1;
    this.path = told.hypotheses[0]?.path ?? [];
    this.tree.box.scrollLeft = 0;
    this.redraw();
    this.choose(0);
  }

  answer({ rank, score, ids, text, finish_reason }) {
    const { text: written, ids: given } = this.told.prompt;
    const prompt = written ?? given.map((id) => `${id}\u2009`).join('');
    const button = element(
      'button',
      { type: 'button', class: 'answer', 'aria-pressed': 'false' },
      element('span', { class: 'place', 'aria-hidden': 'true' }, String(rank + 1)),
      element('span', { class: 'text' }, element('span', { class: 'given' }, prompt), text),
      element(
        'span',
        { class: 'facts' },
        element('span', { class: 'score' }, element('small', {}, 'score '), decimal(score)),
        element('span', {}, `${counted(ids.length, 'token')}, ${ENDINGS[finish_reason]}`),
      ),
    );
    button.addEventListener('click', () => this.choose(rank));
    return element('li', {}, button);
  }

  /** Colour the way to an answer. */
  choose(rank) {
    [...$('answers').querySelectorAll('.answer')].forEach((button, i) =>
      button.setAttribute('aria-pressed', String(i === rank)),
    );
    this.path = this.told.hypotheses[rank]?.path ?? [];
    this.selected = null;
    this.mark();
  }

  /** Colour the way to a continuation, and tell of its step. */
  select(step, rank) {
    for (const button of $('answers').querySelectorAll('.answer')) {
      button.setAttribute('aria-pressed', 'false');
    }
    this.selected = [step, rank];
    this.path = pathTo(this.told.steps, step, rank);
    this.go(step);
  }

  go(step) {
    this.step = Math.min(Math.max(step, 1), this.told.steps.length);
    this.mark();
    this.tree.reveal(this.step);
  }

  redraw() {
    this.tree.draw(this.told, $('show-dropped').checked);
    this.mark();
  }

  mark() {
    this.tree.mark(this.path, this.selected);
    this.tell();
  }

  /** The table of the step. */
  tell() {
    const { steps } = this.told;
    const step = steps[this.step - 1];
    $('step-title').textContent = `Step ${this.step} of ${steps.length}`;
    $('step-summary').textContent = summary(step);
    $('step-back').disabled = this.step === 1;
    $('step-on').disabled = this.step === steps.length;
    const [, onPath] = this.path.find(([s]) => s === this.step) ?? [];
    $('step-rows').replaceChildren(
      ...step.continuations.map(({ rank }) => this.row(rank, rank === onPath)),
    );
  }

  row(rank, isOnPath) {
    const { steps } = this.told;
    const continuation = at(steps, this.step, rank);
    const { log_prob, score, fate } = continuation;
    const before = textBefore(steps, this.step, rank);
    const cell = (shown, ...classes) =>
      element('td', { role: 'cell', class: classes.join(' ') }, ...[shown].flat());
    return element(
      'tr',
      { role: 'row', class: [fate, ...(isOnPath ? ['on-path'] : [])].join(' ') },
      cell(String(rank + 1), 'number'),
      cell(
        [
          element('span', { class: 'given' }, before),
          element('strong', {}, spelled(continuation, this.eosTokenIds)),
        ],
        'continuation',
      ),
      cell(percent(log_prob), 'number'),
      cell(decimal(score), 'number'),
      cell(became(continuation)),
    );
  }

  save() {
    const file = new Blob([`${JSON.stringify(this.told, null, 2)}\n`], { type: 'application/json' });
    const link = element('a', { href: URL.createObjectURL(file), download: 'search.json' });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

function explainScore({ num_beams, length_penalty }) {
  const sum = 'the sum of the logarithms of its tokens’ probabilities';
  const nearer = 'Nearer to 0 is likelier.';
  if (num_beams === 1 || length_penalty === 0) return `An answer’s score is ${sum}. ${nearer}`;
  const power = length_penalty === 1 ? '' : ` to the power of ${length_penalty}`;
  return `An answer’s score is ${sum}, divided by their number${power}. ${nearer}`;
}
