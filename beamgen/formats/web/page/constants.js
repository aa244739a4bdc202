// What more than one program has to know. Each line is JSON, for Python reads this file, too.

/** A summed log-probability below carries the -1e9 with which the search marks what may not come. */
export const DEAD = -5e8;

/** What the graph's `finish_reasons` mean. */
export const FINISH_REASONS = ["none", "eos", "length", "stop"];

/** What the graph's `early_stopping` means. */
export const EARLY_STOPPING = [false, true, "never"];

/** New tokens where neither the package nor the reader says how many. */
export const DEFAULT_MAX_NEW_TOKENS = 64;

/** Why an answer ended, in words. */
export const ENDINGS = {"eos": "ended by itself", "length": "cut off at the limit of tokens", "stop": "ended by a stop string"};

/** What became of a continuation: it runs on as a beam, it is a hypothesis, or neither. */
export const FATES = ["kept", "finished", "dropped"];

/** Pixels of a drawn tree: rows and boxes, columns and the space between them. */
export const SIZE = {"row": 34, "gap": 34, "root": 58, "top": 30, "box": 27, "padding": 34, "widest": 210};

/** How characters are drawn that the eye would miss. */
export const VISIBLE = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"};

/** How tokens are drawn that add no text, and those that end it. */
export const NO_TEXT = "∅";
export const END = "■ end";
