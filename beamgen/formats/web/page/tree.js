// The tree of beams: a button for each continuation, a line to what it continued.

import { FATES, SIZE } from './constants.js';
import { counted, decimal, element, percent, spelled } from './format.js';
import { at, childOf, layOut, parentOf, pathTo, textBefore } from './layout.js';

const SVG = 'http://www.w3.org/2000/svg';

/** What became of a continuation, in words; why it was dropped, where the record says so. */
export function became({ fate, beam, hypothesis_score, reason }) {
  const [KEPT, FINISHED] = FATES;
  if (fate === KEPT) return `kept as beam ${beam + 1}`;
  if (fate === FINISHED) return `finished, score ${decimal(hypothesis_score)}`;
  return reason ? `${fate}: ${reason}` : fate;
}

/** Draws into `box`; calls `onSelect(step, rank)` when a continuation is chosen. */
export class Tree {
  constructor(box, onSelect) {
    this.box = box;
    this.onSelect = onSelect;
    this.measure = document.createElement('canvas').getContext('2d');
    box.addEventListener('keydown', (event) => this.key(event));
  }

  draw({ steps, settings, source }, showDropped) {
    this.steps = steps;
    this.eosTokenIds = settings.eos_token_id;
    const { fontFamily } = getComputedStyle(this.box);
    this.measure.font = `600 13px ${fontFamily}`; // as on a path
    const { columns, lines, width, rows } = layOut(
      steps,
      (each) => this.widthOf(each),
      showDropped,
    );
    const height = SIZE.top + rows * SIZE.row;
    this.nodes = new Map();
    const canvas = element('div', { class: 'canvas' });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    canvas.style.setProperty('--box', `${SIZE.box}px`);
    canvas.append(this.lines(lines, width, height), this.root(source ? 'start' : 'prompt'));
    for (const column of columns) {
      const step = element('span', { class: 'step', 'aria-hidden': 'true' }, String(column.step));
      Object.assign(step.style, { left: `${column.x}px`, width: `${column.width}px` });
      canvas.append(step, ...column.nodes.map((node) => this.node(column, node)));
    }
    this.columns = columns;
    this.box.replaceChildren(canvas);
  }

  widthOf(continuation) {
    const shown = [spelled(continuation, this.eosTokenIds), percent(continuation.log_prob)]
      .map((text) => this.measure.measureText(text).width)
      .reduce((a, b) => a + b);
    return Math.min(Math.ceil(shown) + SIZE.padding, SIZE.widest);
  }

  lines(lines, width, height) {
    const svg = document.createElementNS(SVG, 'svg');
    for (const [name, value] of Object.entries({ width, height, 'aria-hidden': 'true' })) {
      svg.setAttribute(name, value);
    }
    const middle = (row) => SIZE.top + row * SIZE.row + SIZE.box / 2;
    this.paths = new Map();
    for (const { step, rank, fate, from, to } of lines) {
      const [x0, y0, x1, y1] = [from[0], middle(from[1]), to[0], middle(to[1])];
      const bend = (x1 - x0) / 2;
      const path = document.createElementNS(SVG, 'path');
      path.setAttribute('d', `M${x0} ${y0}C${x0 + bend} ${y0} ${x1 - bend} ${y1} ${x1} ${y1}`);
      path.setAttribute('class', fate);
      this.paths.set(`${step}:${rank}`, path);
      svg.append(path);
    }
    return svg;
  }

  root(name) {
    const root = element('span', { class: 'root' }, name);
    Object.assign(root.style, { top: `${SIZE.top}px`, width: `${SIZE.root}px` });
    return root;
  }

  node({ step, x, width }, node) {
    const { rank, row, text, log_prob, score, fate } = node;
    const before = textBefore(this.steps, step, rank);
    const facts = `probability ${percent(log_prob)}, sum of logs ${decimal(score)}`;
    const button = element(
      'button',
      {
        type: 'button',
        class: `node ${fate}`,
        tabindex: '-1',
        'data-step': step,
        'data-rank': rank,
        title: `${before}${text}\n${facts}\n${became(node)}`,
        'aria-label':
          `Step ${step}, rank ${rank + 1}: “${text}”${before ? ` after “${before}”` : ''}, ` +
          `probability ${percent(log_prob)}, ${became(node)}`,
      },
      element('span', { class: 'token' }, spelled(node, this.eosTokenIds)),
      element('span', { class: 'share' }, percent(log_prob)),
    );
    Object.assign(button.style, {
      left: `${x}px`,
      top: `${SIZE.top + row * SIZE.row}px`,
      width: `${width}px`,
    });
    button.addEventListener('click', () => this.onSelect(step, rank));
    this.nodes.set(`${step}:${rank}`, button);
    return button;
  }

  /** Colour a path of `[step, rank]`, and mark one continuation. */
  mark(path, selected) {
    for (const each of this.box.querySelectorAll('.on-path, .selected')) {
      each.classList.remove('on-path', 'selected');
    }
    for (const place of path) {
      const key = place.join(':');
      this.nodes.get(key)?.classList.add('on-path');
      const line = this.paths.get(key);
      line?.classList.add('on-path');
      line?.parentNode.append(line); // above the others
    }
    const reachable = this.nodes.get(selected?.join(':')) ?? this.nodes.values().next().value;
    for (const node of this.nodes.values()) node.tabIndex = -1;
    if (reachable) reachable.tabIndex = 0;
    if (selected) this.nodes.get(selected.join(':'))?.classList.add('selected');
  }

  /** Bring a step into view, within the tree alone. */
  reveal(step) {
    const { x, width } = this.columns[step - 1];
    const { scrollLeft, clientWidth } = this.box;
    if (x < scrollLeft + 20 || x + width > scrollLeft + clientWidth - 20) {
      this.box.scrollTo({ left: x - clientWidth / 3, behavior: 'smooth' });
    }
  }

  key(event) {
    const button = event.target.closest('.node');
    if (!button || event.altKey || event.ctrlKey || event.metaKey) return;
    const [step, rank] = [Number(button.dataset.step), Number(button.dataset.rank)];
    const to = this.neighbour(event.key, step, rank);
    if (to === undefined) return;
    event.preventDefault();
    if (to === null) return;
    this.onSelect(...to);
    this.nodes.get(to.join(':'))?.focus({ preventScroll: true });
  }

  /** Where a key leads; null at an end, undefined for other keys. */
  neighbour(key, step, rank) {
    const { nodes } = this.columns[step - 1];
    const row = nodes.findIndex((each) => each.rank === rank);
    const inStep = (index) => (nodes[index] ? [step, nodes[index].rank] : null);
    const shown = (place) => (place && this.nodes.has(place.join(':')) ? place : null);
    switch (key) {
      case 'ArrowUp':
        return inStep(row - 1);
      case 'ArrowDown':
        return inStep(row + 1);
      case 'ArrowLeft':
        return shown(parentOf(this.steps, step, rank));
      case 'ArrowRight':
        return shown(childOf(this.steps, step, rank));
      case 'Home':
        return pathTo(this.steps, step, rank)[0];
      default:
        return undefined;
    }
  }
}

/** One step in a sentence, and the answers that better ones pushed out, where those are known. */
export function summary(steps, { continuations, displaced = [] }) {
  const many = (fate) => continuations.filter((each) => each.fate === fate).length;
  const parts = FATES.map((fate) => `${many(fate)} ${fate}`);
  const pushedOut = displaced.map(
    ([step, rank]) => ` “${textBefore(steps, step, rank)}${at(steps, step, rank).text}” was pushed out.`,
  );
  return `${counted(continuations.length, 'continuation')}: ${parts.join(', ')}.${pushedOut.join('')}`;
}
