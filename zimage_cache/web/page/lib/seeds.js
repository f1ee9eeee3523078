// Seeds of pictures. The form always holds a concrete one, so that a repeated request is the same; unless the user wants
// a new one for each press.
import { facts } from "./facts.js";

const SEEDS = facts.limits.max_seed + 1; // after the last one comes 0

export const drawSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;

/**
 * Whether a seed must be drawn before the request: it is missing, or the API's value for a random one.
 * @param {number | null | undefined} seed
 */
export const isRandom = (seed) => seed == null || seed === facts.limits.random_seed;

/**
 * The seeds of *n* pictures, in order.
 * @param {number} first
 * @param {number} n
 */
export const seedsOf = (first, n) => Array.from({ length: n }, (_, i) => (first + i) % SEEDS);

let isRolled = false;
/** @type {(() => void)[]} */
const listeners = [];

/** Whether the seed is rolled anew at each press. */
export const rolls = () => isRolled;

/** @param {boolean} wanted */
export function setRolls(wanted) {
  if (wanted === isRolled) return;
  isRolled = wanted;
  for (const listener of listeners) listener();
}

/**
 * Calls *listener* after each change of `rolls`.
 * @param {() => void} listener
 */
export function onRolls(listener) {
  listeners.push(listener);
}
