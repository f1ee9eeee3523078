// Links with a whole request, in the fragment, which browsers do not send: prompts appear in no log.
import { facts } from "./facts.js";
import { say } from "./i18n.js";

/** @import { Ask, Parameters, Trouble } from "./types.d.ts" */

/**
 * What a link says: *error* is about the first text that should be a number; that parameter is NaN.
 * @typedef {{ parameters: Parameters, error: Trouble | null }} Opened
 */

/**
 * The fragment of a link with *ask* and the seed of one of its pictures.
 * @param {Ask} ask
 * @param {number} seed
 */
export function fragment(ask, seed) {
  const { cache, ...fields } = { ...ask, seed, n: 1 };
  const said = Object.entries(fields).filter(([, value]) => value != null && value !== "");
  return String(new URLSearchParams(said.map(([name, value]) => [name, String(value)])));
}

/**
 * Reads the fragment of a link; null where it has no request.
 * @param {string} hash
 * @returns {Opened | null}
 */
export function parsed(hash) {
  const text = new URLSearchParams(hash);
  if (!text.has("prompt")) return null;
  /** @type {Parameters} */
  const parameters = Object.fromEntries(text);
  /** @type {Trouble | null} */
  let error = null;
  for (const field of facts.numbers) {
    const given = text.get(field);
    if (given === null) continue;
    const number = given.trim() === "" ? Number.NaN : Number(given);
    parameters[field] = Number.isFinite(number) ? number : Number.NaN;
    if (Number.isFinite(number)) continue;
    error ??= { code: "invalid_request", field, message: say("link_number", { got: given.slice(0, 80) }) };
  }
  return { parameters, error };
}

export const link = {
  /**
   * The URL of this page with *ask* and the seed of one of its pictures.
   * @param {Ask} ask
   * @param {number} seed
   */
  of: (ask, seed) => `${location.origin}${location.pathname}#${fragment(ask, seed)}`,
  /** What the page's URL says. */
  read: () => parsed(location.hash.slice(1)),
  // The link's values are in the form now; if they stayed in the URL, a reload would overwrite later input with them.
  clear: () => history.replaceState(history.state, "", location.pathname + location.search),
};
