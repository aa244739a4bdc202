// Numbers and tokens as the page shows them.

import { END, NO_TEXT, VISIBLE } from './constants.js';

/** A score or logarithm, with a true minus sign. */
export const decimal = (value, digits = 3) =>
  value.toFixed(digits).replace(/^-(?=0\.0*$)/, '').replace('-', '−');

/** A probability given as its logarithm. */
export function percent(logProb) {
  const value = 100 * Math.exp(logProb);
  if (value < 0.1) return '<0.1%';
  if (value > 99.9 && value < 100) return '>99.9%';
  return `${value < 9.95 || value > 99 ? value.toFixed(1) : Math.round(value)}%`;
}

export const megabytes = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);

export const counted = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** A token with what the eye would miss made visible. */
const visible = (text) =>
  text === '' ? NO_TEXT : Array.from(text, (char) => VISIBLE[char] ?? char).join('');

/** A continuation's own token: an end is a sign, whatever the vocabulary calls it. */
export const spelled = ({ token, text }, eosTokenIds) =>
  eosTokenIds.includes(token) ? END : visible(text);

/** Token ids where there is no text: a thin space keeps them apart, and is no token's own. */
export const idsAsText = (ids) => ids.map((id) => `${id}\u2009`).join('');

/** An element, its attributes, what is in it. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value == null) continue;
    made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}
