// What keys mean, apart from the elements they act on.

/** @typedef {Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey" | "shiftKey">} Key */

/**
 * Whether a key belongs to an input method, such as one for Chinese. WebKit reports the key that ends a composition after
 * its end, with the code of keys that input methods have processed.
 * @param {Pick<KeyboardEvent, "isComposing" | "keyCode">} event
 */
export const isComposing = ({ isComposing: now, keyCode }) => now || keyCode === 229;

/**
 * What a key does on the page as a whole: Esc stops a run, Ctrl+Enter starts one.
 * @param {Pick<Key, "key" | "ctrlKey" | "metaKey">} key
 * @returns {"stop" | "generate" | null}
 */
export function pageAct({ key, ctrlKey, metaKey }) {
  if (key === "Escape") return "stop";
  return key === "Enter" && (ctrlKey || metaKey) ? "generate" : null;
}

const TEXT = `textarea, select, [contenteditable]:not([contenteditable="false"]),
  input:not([type="radio"], [type="checkbox"], [type="range"], [type="button"])`;

/**
 * Whether a key pressed there is typed.
 * @param {EventTarget | null} target
 */
export const isTyping = (target) => target instanceof Element && target.closest(TEXT) !== null;

/**
 * Keeps the page's own keys from acting on a run that is not visible.
 * @param {KeyboardEvent} event
 */
export function keepKeys(event) {
  if (pageAct(event)) event.stopPropagation();
}

/**
 * Where a key moves in a row of *n* places that is endless in both directions; null: it does not move.
 * @param {string} key
 * @param {number} at
 * @param {number} n
 */
export function step(key, at, n) {
  const places = { ArrowRight: (at + 1) % n, ArrowLeft: (at + n - 1) % n, Home: 0, End: n - 1 };
  return places[/** @type {keyof typeof places} */ (key)] ?? null;
}

/** Pixels that a key moves an enlarged picture by. @type {Record<string, [number, number]>} */
const PANS = { ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };

/**
 * The movement of an enlarged picture by a key: left and right with Shift, because without it they show another picture.
 * @param {Key} key
 */
export const panOf = ({ key, shiftKey }) => ((shiftKey || /Up|Down/u.test(key)) && PANS[key]) || null;
