// Where the continuations of a search stand, and which of them hang together.
//
// `beamgen/explain/layout.py` lays out the same for a picture; a test holds the two together.

import { FATES, SIZE } from './constants.js';

/** The continuation of a step that became a given beam. */
const byBeam = (step, beam) => step.continuations.find((each) => each.beam === beam);

/** What a continuation continued, as `[step, rank]`; null in the first step. */
export function parentOf(steps, step, rank) {
  if (step === 1) return null;
  const { parent } = at(steps, step, rank);
  return [step - 1, byBeam(steps[step - 2], parent).rank];
}

/** A continuation. */
export const at = (steps, step, rank) =>
  steps[step - 1].continuations.find((each) => each.rank === rank);

/** The best continuation of a continuation, as `[step, rank]`; null where there is none. */
export function childOf(steps, step, rank) {
  const { beam } = at(steps, step, rank);
  if (beam === null || step === steps.length) return null;
  const child = steps[step].continuations.find((each) => each.parent === beam);
  return child ? [step + 1, child.rank] : null;
}

/** All of `[step, rank]` from the first step to a continuation. */
export function pathTo(steps, step, rank) {
  const parent = parentOf(steps, step, rank);
  return [...(parent ? pathTo(steps, ...parent) : []), [step, rank]];
}

/** The generated text up to a continuation, without it. */
export const textBefore = (steps, step, rank) =>
  pathTo(steps, step, rank)
    .slice(0, -1)
    .map(([s, r]) => at(steps, s, r).text)
    .join('');

/**
 * Columns of nodes and the lines between them.
 *
 * @param steps of the search.
 * @param widthOf how wide a continuation's node is.
 * @param showDropped whether those that were dropped are shown.
 */
export function layOut(steps, widthOf, showDropped) {
  const [, , DROPPED] = FATES;
  let x = SIZE.root + SIZE.gap;
  const columns = steps.map(({ step, continuations }) => {
    const shown = continuations.filter(({ fate }) => showDropped || fate !== DROPPED);
    const width = Math.max(0, ...shown.map(widthOf));
    const column = { step, x, width, nodes: shown.map((each, row) => ({ ...each, row })) };
    x += width + SIZE.gap;
    return column;
  });
  const rowOf = new Map(
    columns.flatMap(({ step, nodes }) => nodes.map(({ rank, row }) => [`${step}:${rank}`, row])),
  );
  const lines = columns.flatMap(({ step, x: to, nodes }) =>
    nodes.map(({ rank, row, fate }) => {
      const parent = parentOf(steps, step, rank);
      const before = parent && columns[step - 2];
      return {
        step,
        rank,
        fate,
        from: [before ? before.x + before.width : SIZE.root, parent ? rowOf.get(parent.join(':')) : 0],
        to: [to, row],
      };
    }),
  );
  const rows = Math.max(1, ...columns.map(({ nodes }) => nodes.length));
  return { columns, lines, width: x - SIZE.gap, rows };
}
