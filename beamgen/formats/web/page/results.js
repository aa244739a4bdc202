// What a search found: its answers, the tree, and each step in words.

import { inWords } from './automaton.js';
import { ENDINGS } from './constants.js';
import { counted, decimal, element, idsAsText, percent, spelled } from './format.js';
import { at, pathTo, textBefore } from './layout.js';
import { Tree, became, summary } from './tree.js';

const $ = (id) => document.getElementById(id);

export class Results {
  constructor() {
    this.tree = new Tree($('tree'), (step, rank) => this.select(step, rank));
    $('show-dropped').addEventListener('change', () => this.redraw());
    $('step-back').addEventListener('click', () => this.go(this.step - 1));
    $('step-on').addEventListener('click', () => this.go(this.step + 1));
    $('save').addEventListener('click', () => this.save());
  }

  /** Show the record of a search, which `trace.js` or `beamgen explain` made. */
  show(record) {
    this.record = record;
    this.selected = null;
    $('results').hidden = false;
    $('score-hint').textContent = explainScore(record.settings);
    $('answers').replaceChildren(...record.hypotheses.map((each) => this.answer(each)));
    if (!record.hypotheses.length) {
      $('answers').append(element('li', { class: 'none' }, 'The search found no answer.'));
    }
    this.step = 1;
    this.path = record.hypotheses[0]?.path ?? [];
    this.tree.box.scrollLeft = 0;
    this.redraw();
    this.choose(0);
  }

  answer({ rank, score, ids, text, finish_reason }) {
    const { prompt } = this.record;
    const button = element(
      'button',
      { type: 'button', class: 'answer', 'aria-pressed': 'false' },
      element('span', { class: 'place', 'aria-hidden': 'true' }, String(rank + 1)),
      element(
        'span',
        { class: 'text' },
        element('span', { class: 'given' }, prompt.text ?? idsAsText(prompt.ids)),
        text ?? idsAsText(ids),
      ),
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
    this.path = this.record.hypotheses[rank]?.path ?? [];
    this.selected = null;
    this.mark();
  }

  /** Colour the way to a continuation, and show its step. */
  select(step, rank) {
    for (const button of $('answers').querySelectorAll('.answer')) {
      button.setAttribute('aria-pressed', 'false');
    }
    this.selected = [step, rank];
    this.path = pathTo(this.record.steps, step, rank);
    this.go(step);
  }

  go(step) {
    this.step = Math.min(Math.max(step, 1), this.record.steps.length);
    this.mark();
    this.tree.reveal(this.step);
  }

  redraw() {
    this.tree.draw(this.record, $('show-dropped').checked);
    this.mark();
  }

  mark() {
    this.tree.mark(this.path, this.selected);
    this.showStep();
  }

  /** The table of the step. */
  showStep() {
    const { steps } = this.record;
    const step = steps[this.step - 1];
    $('step-title').textContent = `Step ${this.step} of ${steps.length}`;
    const { forbidden, vocab_size } = this.record;
    const told = forbidden ? inWords(forbidden[this.step - 1], vocab_size) : '';
    $('step-summary').textContent = summary(steps, step) + told;
    $('step-back').disabled = this.step === 1;
    $('step-on').disabled = this.step === steps.length;
    const [, onPath] = this.path.find(([s]) => s === this.step) ?? [];
    $('step-rows').replaceChildren(
      ...step.continuations.map(({ rank }) => this.row(rank, rank === onPath)),
    );
  }

  row(rank, isOnPath) {
    const { steps, settings } = this.record;
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
          element('strong', {}, spelled(continuation, settings.eos_token_id)),
        ],
        'continuation',
      ),
      cell(percent(log_prob), 'number'),
      cell(decimal(score), 'number'),
      cell(became(continuation)),
    );
  }

  save() {
    const written = `${JSON.stringify(this.record, null, 2)}\n`;
    const file = new Blob([written], { type: 'application/json' });
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
