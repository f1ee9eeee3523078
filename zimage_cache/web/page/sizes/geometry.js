// The place of a size in the table of offered sizes: classes by the side of their square, in each one size for every
// aspect ratio.
import { facts } from "../lib/facts.js";

/** @import { Fields, Size, Sizes } from "../lib/types.d.ts" */

/**
 * @param {number} a
 * @param {number} b
 */
const distance = (a, b) => Math.abs(Math.log(a / b));

/**
 * @template Candidate
 * @param {Candidate[]} candidates
 * @param {(candidate: Candidate) => number} to
 */
const nearest = (candidates, to) => candidates.reduce((best, one) => (to(one) < to(best) ? one : best));

/** @param {number} place */
function ratio(place) {
  const [long, short] = facts.aspects[place] ?? [1, 1];
  return long / short;
}

/**
 * The class and the place of the form's size. `exact` is false for other sizes, which get the nearest place.
 * @param {Sizes} sizes
 * @param {Pick<Fields, "width" | "height">} values
 */
export function placed(sizes, values) {
  const [width, height] = [values.width ?? 0, values.height ?? 0];
  const [long, short] = [Math.max(width, height), Math.min(width, height)];
  for (const [side, places] of Object.entries(sizes)) {
    const place = places.findIndex((size) => size?.[0] === long && size[1] === short);
    if (place >= 0) return { side, place, exact: true };
  }
  const area = width * height;
  return {
    side: nearest(Object.keys(sizes), (side) => distance(Number(side) ** 2, area || Number(side) ** 2)),
    place: nearest([...facts.aspects.keys()], (place) => distance(ratio(place), long / short || 1)),
    exact: false,
  };
}

/**
 * The size at *place* in the class *side*. If there is none: the nearest class that has that place (*keep* "place"), or
 * the size of that class with the nearest aspect ratio.
 * @param {Sizes} sizes
 * @param {string} side
 * @param {number} place
 * @param {"place" | "side"} keep
 * @returns {Size}
 */
export function sized(sizes, side, place, keep) {
  const there = sizes[side]?.[place];
  if (there) return there;
  if (keep === "side") {
    const own = /** @type {Size[]} */ ((sizes[side] ?? []).filter(Boolean));
    return nearest(own, ([width, height]) => distance(width / height, ratio(place)));
  }
  const having = Object.keys(sizes).filter((one) => sizes[one]?.[place]);
  const other = nearest(having, (one) => distance(Number(one), Number(side)));
  return /** @type {Size} */ (sizes[other]?.[place]);
}
