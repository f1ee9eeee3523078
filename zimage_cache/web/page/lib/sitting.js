// The pictures of this sitting, in the order in which they were last shown; they survive a reload of the tab.
import { seedsOf } from "./seeds.js";
import { keepSitting, keptSitting } from "./session.js";

/** @import { Ask, Kept, Picture } from "./types.d.ts" */

const MOST = 200;
/** @type {Kept[]} */
let kept = Array.isArray(keptSitting) ? keptSitting : [];
/** Keys and files of deleted pictures, which an undo may bring back. @type {Set<string>} */
const hidden = new Set();
/** @type {(() => void)[]} */
const listeners = [];

/** @param {number | undefined} file */
const nameOf = (file) => (file === undefined ? "" : `file ${file}`);

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
   * All pictures of a request, also those that were deleted and may come back.
   * @param {string} batch
   */
  of: (batch) => kept.filter((one) => one.batch === batch),

  /**
   * Adds the pictures of *ask*; one that is there already becomes the newest.
   * @param {Ask} ask
   * @param {(Picture | null)[]} images
   */
  add(ask, images) {
    const all = { seed: ask.seed, n: images.length };
    const name = `${Date.now().toString(36)}-${ask.seed}`;
    const added = seedsOf(ask.seed, images.length).flatMap((seed, i) => {
      const image = images[i];
      if (!image) return [];
      // One of several that is asked for alone stays one of them.
      const before = images.length === 1 ? kept.find((one) => one.image.image_url === image.image_url) : undefined;
      const { batch, whole } = before ?? { batch: name, whole: all };
      return [{ ask: { ...ask, seed, n: 1 }, image, batch, whole }];
    });
    const urls = new Set(added.map(({ image }) => image.image_url));
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
   * Whether a picture was deleted: under its key, or the file of the history that it is a copy of.
   * @param {Pick<Picture, "key" | "file">} image
   */
  isHidden: ({ key, file }) => hidden.has(key) || hidden.has(nameOf(file)),

  /**
   * Hides deleted pictures, or shows them again.
   * @param {{ key: string, ids: number[] }} deleted
   * @param {boolean} gone
   */
  hide({ key, ids }, gone) {
    for (const name of [key, ...ids.map(nameOf)].filter(Boolean)) {
      if (gone) hidden.add(name);
      else hidden.delete(name);
    }
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
