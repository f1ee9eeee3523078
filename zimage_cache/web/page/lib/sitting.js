// The pictures of this sitting, in the order in which they were last shown; they survive a reload of the tab.
import { seedsOf } from "./seeds.js";
import { keepSitting, keptSitting } from "./session.js";

/** @import { Ask, Kept, Picture } from "./types.d.ts" */

const MOST = 200;
/** @type {Kept[]} */
let kept = Array.isArray(keptSitting) ? keptSitting : [];
/** Keys of deleted pictures, which an undo may bring back. @type {Set<string>} */
const hidden = new Set();
/** @type {(() => void)[]} */
const listeners = [];

/** @param {Kept[]} next */
function keep(next) {
  kept = next.slice(-MOST);
  tell();
}

function tell() {
  keepSitting(sitting.all);
  for (const listener of listeners) listener();
}

export const sitting = {
  /** The pictures, the newest last. */
  get all() {
    return kept.filter(({ image }) => !hidden.has(image.key));
  },

  /**
   * Adds the pictures of *ask*; one that is there already becomes the newest.
   * @param {Ask} ask
   * @param {(Picture | null)[]} images
   */
  add(ask, images) {
    const seeds = seedsOf(ask.seed, images.length);
    const batch = `${Date.now().toString(36)}-${ask.seed}`;
    const added = images.flatMap((image, i) =>
      image ? [{ ask: { ...ask, seed: seeds[i] ?? ask.seed, n: 1 }, image, batch }] : [],
    );
    const urls = new Set(added.map(({ image }) => image.image_url));
    for (const { image } of added) hidden.delete(image.key); // drawn again after it was deleted
    keep([...kept.filter(({ image }) => !urls.has(image.image_url)), ...added]);
  },

  /**
   * Removes a picture that cannot be shown any more.
   * @param {Picture} image
   */
  remove({ image_url: url }) {
    keep(kept.filter(({ image }) => image.image_url !== url));
  },

  /**
   * Whether a picture was deleted.
   * @param {Picture} image
   */
  isHidden: ({ key }) => hidden.has(key),

  /**
   * Hides the pictures of a key that is being deleted, or shows them again.
   * @param {string} key
   * @param {boolean} gone
   */
  hide(key, gone) {
    if (gone) hidden.add(key);
    else hidden.delete(key);
    tell();
  },

  /**
   * Calls *listener* after each change.
   * @param {() => void} listener
   */
  changed(listener) {
    listeners.push(listener);
  },
};
