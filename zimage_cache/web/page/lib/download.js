// Files of a picture to download: the PNG as it was stored, with its settings; of cached pictures also other formats.
import { addressOf } from "./address.js";
import { say } from "./i18n.js";

/** @import { MenuItem } from "./menu.js" */

/** @typedef {{ image_url: string, seed: number | string, key?: string | null | undefined }} Source */

const FORMATS = { jpg: "download_jpg", webp: "download_webp" };

/**
 * The name of the downloaded file: the beginning of the key, or of the name in the picture's address, and the seed.
 * @param {Source} source
 */
export function fileName({ image_url: url, seed, key }, suffix = "png") {
  const name = key || (url.split("?")[0]?.split("/").at(-1)?.split(".")[0] ?? "");
  return `zimage_${name.slice(0, 8) || "picture"}_${seed}.${suffix}`;
}

/**
 * @param {Source} source
 * @param {boolean} cached whether the cache has the picture, under its key
 * @returns {MenuItem[]}
 */
export function downloads(source, cached) {
  const png = { word: say("download_png"), href: source.image_url, download: fileName(source) };
  if (!(cached && source.key)) return [png];
  const others = Object.entries(FORMATS).map(([suffix, word]) => ({
    word: say(word),
    href: addressOf(`/images/${source.key}.${suffix}`),
    download: fileName(source, suffix),
  }));
  return [png, ...others];
}
