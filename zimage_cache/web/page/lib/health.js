// What the server says of itself. Requests /health often while its state changes or it does not answer, else seldom, at
// once when another request was not answered, and never while the page is hidden.
import { onUnreachable, server } from "./server.js";

/** @import { Health } from "./api.d.ts" */

/**
 * The answer of /health; nothing but its status where no server answers.
 * @typedef {Partial<Omit<Health, "status">> & { status: string }} Known
 */

const OFTEN = 1000; // ms
const SELDOM = 3000;
const PATIENCE = 10_000; // a server that takes longer does not answer
const AT_REST = ["healthy", "sleeping"];

/** @type {((health: Known) => void)[]} */
const listeners = [];
/** @type {Known | null} */
let known = null;
let device = ""; // the last one that was told of
let timer = 0;
let isAsking = false;

/** @returns {Promise<Known>} */
async function answer() {
  try {
    return await server.get("/health", { signal: AbortSignal.timeout(PATIENCE) });
  } catch {
    return { status: "unreachable" };
  }
}

/** Asks now, instead of at the next turn. */
export async function askHealth() {
  if (document.hidden || isAsking) return;
  clearTimeout(timer);
  isAsking = true;
  const health = await answer();
  isAsking = false;
  known = health;
  device = health.device ?? device;
  timer = setTimeout(askHealth, AT_REST.includes(health.status) ? SELDOM : OFTEN);
  for (const listener of listeners) listener(health);
}

function begin() {
  // Where this is known already, there is nothing to ask: it is asked often.
  onUnreachable(() => void (known?.status === "unreachable" || askHealth()));
  document.addEventListener("visibilitychange", askHealth);
  for (const change of ["online", "offline"]) addEventListener(change, askHealth);
  void askHealth();
}

/**
 * Calls *listener* with each answer, and at once with the last one.
 * @param {(health: Known) => void} listener
 */
export function onHealth(listener) {
  if (listeners.push(listener) === 1) begin();
  if (known) listener(known);
}

/** What pictures are drawn on: "cpu" or "gpu". */
export const deviceKind = () => (device === "cpu" ? "cpu" : "gpu");
