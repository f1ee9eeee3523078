// The statistics of the cache, `GET /cache/stats`; asked for only where this account may see them.
import { me } from "./account.js";
import { refusal, server } from "./server.js";

/** @import { Span, Stats } from "./api.d.ts" */
/** @import { Trouble } from "./types.d.ts" */

/** @type {((stats: Stats | null, error: Trouble | null) => void)[]} */
const listeners = [];
/** @type {Stats | null} */
let known = null;
let turn = 0; // of the latest request; answers of older ones are ignored

/** Asks for the present numbers; all listeners are told. */
export async function askStatistics() {
  turn += 1;
  const mine = turn;
  if (!(await me()).administrator) return;
  const error = await server.get("/cache/stats").then(
    (stats) => {
      if (mine === turn) known = stats;
      return null;
    },
    (failure) => refusal(failure),
  );
  if (mine !== turn) return;
  for (const listener of listeners) listener(known, error);
}

/**
 * Calls *listener* with the last numbers after each request for them, and with the error of one that failed.
 * @param {(stats: Stats | null, error: Trouble | null) => void} listener
 */
export const onStatistics = (listener) => void listeners.push(listener);

/**
 * The tiers that answered pictures, the fastest first: the counters `hits_*` name them.
 * @param {Span} span
 * @returns {[string, number][]}
 */
export const tiers = (span) =>
  Object.entries(span).flatMap(([name, value]) => (name.startsWith("hits_") ? [[name.slice(5), Number(value)]] : []));

/**
 * Pictures from the cache, and all that were looked up there and delivered: the two parts of the hit rate.
 * @param {Span} span
 */
export function hits(span) {
  const found = tiers(span).reduce((sum, [, value]) => sum + value, 0);
  return { found, asked: found + span.misses + span.shared };
}
