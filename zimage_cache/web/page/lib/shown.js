// A picture of a request, as the viewer and the comparison show it.
import { say } from "./i18n.js";
import { lately } from "./star.js";

/** @import { Ask, Picture, Shown } from "./types.d.ts" */

/**
 * Whether the server has stored a picture under its key: only such a picture can be starred or deleted, and is there in
 * other formats.
 * @param {Picture} image
 */
export const isStored = ({ key, image_url: url }) => key !== "" && url.includes(key);

/**
 * A small copy of a picture, where there is one.
 * @param {Picture} image
 */
export const thumbnailOf = (image) =>
  isStored(image) ? image.image_url.replace(/\.png(?=$|\?)/u, "/thumbnail.webp") : image.image_url;

/**
 * @param {Ask} ask
 * @param {Picture} image
 * @returns {Shown}
 */
export function shownOf(ask, image) {
  const { image_url, seed, width, height, key } = image;
  const pinned = lately(key) ?? image.pinned;
  const { cache, n, ...parameters } = { ...ask, seed };
  const alt = say("picture_alt", { prompt: ask.prompt });
  const extra = pinned === undefined ? {} : { pinned };
  return {
    ...{ image_url, alt, seed, width, height, key, ...extra },
    ...{ thumbnail_url: thumbnailOf(image), cached: isStored(image), parameters },
  };
}
