// A constraint: what may be written, as arrays that `beamgen constrain` wrote into an .npz file.

const PARTS = ['states', 'rows', 'edges', 'next'];

/** Arrays of an .npz file as NumPy's savez writes it: a zip of .npy files, none compressed. */
function readNpz(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error('it is no .npz file');
  const arrays = {};
  let at = view.getUint32(end + 16, true);
  for (let count = view.getUint16(end + 10, true); count > 0; count--) {
    if (view.getUint16(at + 10, true) !== 0) throw new Error('its arrays are compressed');
    const [nameLength, extra, comment] = [28, 30, 32].map((o) => view.getUint16(at + o, true));
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    const local = view.getUint32(at + 42, true);
    const begin = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const size = view.getUint32(at + 24, true);
    arrays[name.replace(/\.npy$/, '')] = readNpy(bytes.slice(begin, begin + size));
    at += 46 + nameLength + extra + comment;
  }
  return arrays;
}

function readNpy(bytes) {
  const view = new DataView(bytes.buffer);
  const wide = bytes[6] > 1;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const begin = (wide ? 12 : 10) + length;
  const header = new TextDecoder().decode(bytes.subarray(wide ? 12 : 10, begin));
  const dims = header.match(/'shape': \(([^)]*)\)/)[1].split(',').filter((d) => d.trim()).map(Number);
  const data = bytes.slice(begin);
  return { dims, data: header.includes("'<i4'") ? new Int32Array(data.buffer) : data };
}

export class Constraint {
  /** Read the bytes of a file; throws an Error that says what is wrong with it. */
  constructor(bytes) {
    const stored = readNpz(bytes);
    if (stored.format?.data[0] !== 1) throw new Error('it holds no constraint that is known here');
    this.vocabSize = stored.vocab_size.data[0];
    for (const part of PARTS) this[part] = stored[`constraint_${part}`];
  }

  /** Tensors for the graph, by input name. */
  feeds(Tensor) {
    const tensors = PARTS.map((part) => [
      `constraint_${part}`,
      new Tensor('int32', this[part].data, this[part].dims),
    ]);
    return Object.fromEntries(tensors);
  }

  /** Where a token leads from a state, -1 where it may not come. */
  step(state, token) {
    if (state < 0) return state;
    const { first, begin, count, rest } = this.at(state);
    let place = rest;
    for (let edge = begin; edge < begin + count; edge++) {
      if (this.edges.data[2 * edge] === token) place = this.edges.data[2 * edge + 1];
    }
    return place < 0 ? -1 : this.next.data[first + place];
  }

  at(state) {
    const [row, first, mark] = this.states.data.subarray(3 * state, 3 * state + 3);
    const [begin, count, rest] = this.rows.data.subarray(3 * row, 3 * row + 3);
    return { first, mark, begin, count, rest };
  }

  /** How many of a model's tokens may not come in a state; an EOS may where a text may end. */
  forbidden(state, ends, vocabSize) {
    if (state < 0) return vocabSize;
    const { mark, begin, count, rest } = this.at(state);
    const all = rest < 0 ? 0 : this.vocabSize;
    const may = new Set();
    const not = new Set(ends);
    for (let edge = begin; edge < begin + count; edge++) {
      const [token, place] = this.edges.data.subarray(2 * edge, 2 * edge + 2);
      if (place < 0) not.add(token);
      else if (!not.has(token)) may.add(token);
    }
    const come = rest < 0 ? may.size : all - [...not].filter((token) => token < all).length;
    return vocabSize - come - (mark ? new Set(ends).size : 0);
  }
}

/** How many tokens each running beam could not go on with, for each step of a search. */
export function forbiddenTokens(steps, constraint, ends, vocabSize) {
  let states = [0];
  return steps.map(({ step, continuations }) => {
    const counts = states.map((state) => constraint.forbidden(state, ends, vocabSize));
    const next = [];
    for (const { parent, token, beam } of continuations) {
      if (beam !== null) next[beam] = constraint.step(states[step === 1 ? 0 : parent], token);
    }
    states = next.filter((state) => state !== undefined);
    return counts;
  });
}

/** One step's counts, for people. */
export function inWords(counts, vocabSize) {
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  const span = least === most ? `${least}` : `${least} to ${most}`;
  return ` The constraint forbade ${span} of ${vocabSize} tokens.`;
}
