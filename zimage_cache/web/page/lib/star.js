// Stars: a starred picture is pinned in the cache, where it stays until it is deleted by name.
import { administers } from "./account.js";
import { onDeletion } from "./deletion.js";
import { glyph, make } from "./dom.js";
import { say } from "./i18n.js";
import { tell } from "./notice.js";
import { refusal, server, why } from "./server.js";

/** @typedef {{ key: string, pinned: boolean }} Starred */

/** @type {((starred: Starred) => void)[]} */
const listeners = [];
/** Whether this page has starred a picture last, or taken its star, by key. @type {Map<string, boolean>} */
const changed = new Map();
/** Of the requests, which are sent one after the other. @type {Promise<void>} */
let last = Promise.resolve();

/**
 * Calls *listener* when a picture is starred or not any more; again when the server refuses.
 * @param {(starred: Starred) => void} listener
 */
export function onStar(listener) {
  listeners.push(listener);
}

/** @param {Starred} starred */
function announce(starred) {
  changed.set(starred.key, starred.pinned);
  for (const button of buttonsOf(starred.key)) show(button, starred.pinned);
  for (const listener of listeners) listener(starred);
}

/**
 * Shown at once, before the server has answered.
 * @param {string} key
 * @param {boolean} pinned
 */
function set(key, pinned) {
  announce({ key, pinned });
  last = last.then(() => change(key, pinned));
  return last;
}

/**
 * @param {string} key
 * @param {boolean} pinned
 */
async function change(key, pinned) {
  try {
    await server.post(`/cache/${key}/${pinned ? "pin" : "unpin"}`);
    tell(say(pinned ? "starred" : "unstarred"));
  } catch (error) {
    const refused = refusal(error);
    // A picture that is not in the cache has no star.
    const isGone = refused.code === "not_found";
    announce({ key, pinned: !(pinned || isGone) });
    if (pinned || !isGone) tell(isGone ? say("star_unstored") : why(refused));
  }
}

/**
 * Stars the picture of *key*.
 * @param {string} key
 */
export const star = (key) => set(key, true);

/**
 * Takes its star.
 * @param {string} key
 */
export const unstar = (key) => set(key, false);

/**
 * Whether this page has starred the picture of *key* (true), taken its star (false), or neither.
 * @param {string} key
 */
export const lately = (key) => changed.get(key);

// ---- buttons ----

/**
 * @param {string} key
 * @returns {HTMLButtonElement[]}
 */
const buttonsOf = (key) => [...document.querySelectorAll(`button[data-star="${CSS.escape(key)}"]`)].map(asButton);
/** @param {Element} element */
const asButton = (element) => /** @type {HTMLButtonElement} */ (element);

/**
 * @param {HTMLButtonElement} button
 * @param {boolean} pinned
 */
function show(button, pinned) {
  const word = say(pinned ? "unstar" : "star");
  button.title = pinned ? word : `${word}: ${say("star_hint")}`;
  button.setAttribute("aria-label", word);
  button.classList.toggle("zi-on", pinned);
}

/** Stars the picture that the button stands for, or takes its star. @param {HTMLButtonElement} button */
function toggle(button) {
  const key = button.dataset.star ?? "";
  if (key) void (button.classList.contains("zi-on") ? unstar(key) : star(key));
}

/**
 * Lets *button* stand for another picture; it is hidden where that cannot have a star.
 * @param {HTMLButtonElement} button
 * @param {{ key: string, pinned: boolean } | null} picture
 */
export function putStar(button, picture) {
  button.hidden = true;
  button.dataset.star = picture?.key ?? "";
  show(button, Boolean(picture?.pinned));
  if (!picture?.key) return;
  void administers().then((may) => {
    if (button.dataset.star === picture.key) button.hidden = !may;
  });
}

/**
 * A button for the star of a picture. It changes with every other one of the same picture.
 * @param {{ key: string, pinned: boolean } | null} picture
 * @param {string} className
 * @param {Element} icon
 */
export function starButton(picture, className, icon = glyph("star")) {
  const button = make("button", { type: "button", className }, icon);
  putStar(button, picture);
  button.addEventListener("click", () => toggle(button));
  return button;
}

// What is drawn again after it was deleted has no star.
onDeletion({ gone: ({ key }) => void changed.delete(key), back: () => undefined });
