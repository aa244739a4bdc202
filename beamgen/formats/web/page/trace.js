// A search, read from the graph's traced outputs: what each step kept, finished and dropped.
//
// `beamgen/explain/from_trace.py` reads the same in Python; a test holds the two together.

import { DEAD, FATES, FINISH_REASONS } from './constants.js';

const [KEPT, FINISHED, DROPPED] = FATES;

/**
 * The record of a search: its steps and the hypotheses it ended with.
 *
 * @param outputs the graph's, by name; a batch of one prompt.
 * @param prompt `{text, ids}`.
 * @param settings of the search, under HF's names, `eos_token_id` included.
 * @param text decodes ids.
 */
export function readSearch(outputs, prompt, settings, text) {
  const { num_beams, length_penalty, max_new_tokens, eos_token_id } = settings;
  const ends = (token, step) => eos_token_id.includes(token) || step === max_new_tokens;
  const beams = num_beams === 1 ? new Chains() : new Beams(length_penalty, ends);
  const steps = tracedSteps(outputs).map((values, i) => ({
    step: i + 1,
    continuations: beams.step(i + 1, values),
  }));
  addTexts(steps, prompt.ids, text);
  const hypotheses = readHypotheses(outputs, prompt.ids, settings, beams.held, text);
  return { prompt, settings, steps, hypotheses };
}

/** Beam search: the best continuations of all beams together, some kept, some finished. */
class Beams {
  constructor(lengthPenalty, ends) {
    this.lengthPenalty = lengthPenalty;
    this.ends = ends;
  }

  step(step, values) {
    const { top_scores, top_tokens, top_beams, running_index, running_scores } = values;
    const { finished_index, finished_scores, is_sent_finished } = values;
    const numBeams = running_index.length;
    this.running ??= Array.from({ length: numBeams }, () => ({ score: 0, path: [] }));
    this.held ??= Array.from({ length: numBeams }, () => []);
    const all = top_tokens.map((token, rank) => ({
      rank,
      parent: step === 1 ? 0 : top_beams[rank],
      token,
      text: null,
      log_prob: top_scores[rank] - this.running[top_beams[rank]].score,
      score: top_scores[rank],
      fate: DROPPED,
      beam: null,
      hypothesis_score: this.ends(token, step)
        ? top_scores[rank] / step ** this.lengthPenalty
        : null,
    }));
    running_index.forEach((rank, beam) => {
      if (running_scores[beam] > DEAD) Object.assign(all[rank], { fate: KEPT, beam });
    });
    finished_index.forEach((index, place) => {
      const rank = index - numBeams;
      if (rank < 0 || !is_sent_finished[place]) return;
      // a search that has ended marks what comes after
      if (finished_scores[place] - all[rank].hypothesis_score <= DEAD) return;
      all[rank].fate = FINISHED;
    });
    const paths = all.map(({ rank }) => [...this.running[top_beams[rank]].path, [step, rank]]);
    const merged = [...this.held, ...paths];
    this.held = finished_index.map((index) => merged[index]);
    this.running = running_index.map((rank) => ({ score: all[rank].score, path: paths[rank] }));
    return all.filter(({ score }) => score > DEAD);
  }
}

/** One beam: chains that go on side by side, each by itself. */
class Chains {
  step(step, { top_scores, top_tokens, running_scores, is_sent_finished }) {
    this.held ??= top_tokens.map(() => []);
    this.scores ??= top_tokens.map(() => 0);
    this.done ??= top_tokens.map(() => false);
    const alive = top_tokens.map((_, chain) => chain).filter((chain) => !this.done[chain]);
    const continuations = alive.map((chain) => ({
      rank: chain,
      parent: step === 1 ? 0 : chain,
      token: top_tokens[chain],
      text: null,
      log_prob: top_scores[chain] - this.scores[chain],
      score: top_scores[chain],
      fate: is_sent_finished[chain] ? FINISHED : KEPT,
      beam: is_sent_finished[chain] ? null : chain,
      hypothesis_score: is_sent_finished[chain] ? top_scores[chain] : null,
    }));
    for (const chain of alive) this.held[chain] = [...this.held[chain], [step, chain]];
    this.scores = running_scores;
    this.done = is_sent_finished.map(Boolean);
    return continuations;
  }
}

/** The traced values of each step, as arrays of numbers by name; the batch is one row. */
function tracedSteps(outputs) {
  const traced = Object.entries(outputs)
    .filter(([name]) => name.startsWith('trace/'))
    .map(([name, tensor]) => [name.slice('trace/'.length), tensor]);
  const [steps] = traced[0][1].dims;
  return Array.from({ length: steps }, (_, step) =>
    Object.fromEntries(
      traced.map(([name, tensor]) => {
        const size = tensor.data.length / steps;
        return [name, numbers(tensor, step * size, size)];
      }),
    ),
  );
}

const numbers = ({ data }, start = 0, size = data.length) =>
  Array.from(data.subarray(start, start + size), Number);

/** Give every continuation its text, which depends on what it continues. */
function addTexts(steps, promptIds, text) {
  let beams = [promptIds];
  for (const { step, continuations } of steps) {
    const next = [];
    for (const continuation of continuations) {
      const before = beams[step === 1 ? 0 : continuation.parent];
      continuation.text = text.ofToken(before, continuation.token);
      if (continuation.beam !== null) next[continuation.beam] = [...before, continuation.token];
    }
    beams = next;
  }
}

function readHypotheses(outputs, promptIds, { max_new_tokens, eos_token_id }, paths, text) {
  const { data, dims } = outputs.sequences;
  const [, returned, length] = dims;
  const scores = numbers(outputs.sequences_scores);
  const found = [];
  for (let place = 0; place < returned; place++) {
    const reason = FINISH_REASONS[Number(outputs.finish_reasons.data[place])];
    if (reason === 'none') continue;
    const sequence = numbers({ data }, place * length, length).slice(promptIds.length);
    let ids = sequence.slice(0, max_new_tokens);
    if (reason === 'eos') ids = ids.slice(0, 1 + ids.findIndex((id) => eos_token_id.includes(id)));
    found.push({
      rank: found.length,
      score: scores[place],
      ids,
      text: text.after(promptIds, ids),
      finish_reason: reason,
      path: paths[place],
    });
  }
  return found;
}
