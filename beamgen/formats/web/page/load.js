// Files of the page, with the bytes that have come so far, and held against what was packaged.

/** What keeps the page from working: one sentence of cause, one of cure. */
export class LoadError extends Error {
  constructor(cause, cure) {
    super(cause);
    this.cure = cure;
  }
}

/** A small JSON file. */
export async function readJson(url) {
  const response = await answer(url);
  try {
    return await response.json();
  } catch {
    throw damaged(url);
  }
}

/**
 * A large file's bytes.
 *
 * @param url where it lies.
 * @param about its `bytes` and `sha256`.
 * @param progress called with the number of bytes of each piece.
 */
export async function readBytes(url, { bytes, sha256 }, progress) {
  const response = await answer(`${url}?${sha256.slice(0, 16)}`);
  const whole = allocate(bytes);
  let have = 0;
  try {
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      if (have + value.length > bytes) throw damaged(url);
      whole.set(value, have);
      have += value.length;
      progress(value.length);
    }
  } catch (error) {
    throw error instanceof LoadError ? error : unreachable(url);
  }
  if (have !== bytes || !(await isWhole(whole, sha256))) throw damaged(url);
  return whole;
}

async function answer(url) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw unreachable(url);
  }
  if (!response.ok) {
    throw new LoadError(
      `The server has no ${name(url)} (it answered ${response.status}).`,
      'Upload the whole folder that beamgen wrote, then load this page again.',
    );
  }
  return response;
}

function allocate(bytes) {
  try {
    return new Uint8Array(bytes);
  } catch {
    throw new LoadError(
      `This browser cannot set aside ${Math.ceil(bytes / 1e6)} MB for the model.`,
      'Close other pages, or use a computer with more memory.',
    );
  }
}

/** Browsers compute hashes only on https and localhost; elsewhere the length has to do. */
async function isWhole(bytes, sha256) {
  if (!globalThis.crypto?.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('') === sha256;
}

const name = (url) => decodeURIComponent(String(url).split('?')[0].split('/').pop());

function unreachable(url) {
  return new LoadError(
    `${name(url)} could not be fetched: the connection broke off, or the server is gone.`,
    'Check the connection, then load this page again.',
  );
}

function damaged(url) {
  return new LoadError(
    `${name(url)} is damaged: it is not the file that was packaged.`,
    'Upload the folder that beamgen wrote again, unchanged, then load this page again.',
  );
}
