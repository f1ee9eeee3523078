// The place of a size in the table of offered sizes: classes by the side of their square, in each one size for every
// aspect ratio; and the rule for sides of any size.
import { facts } from "../lib/facts.js";

/** @import { Fields, Offer, Size, SizeChoice, Sizes } from "../lib/types.d.ts" */
/** @typedef {Pick<Fields, "width" | "height">} Sides */

const GRID = facts.limits.grid;

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
 * The longer side and the shorter one.
 * @param {Sides} values
 * @returns {Size}
 */
const lying = ({ width, height }) => [Math.max(width ?? 0, height ?? 0), Math.min(width ?? 0, height ?? 0)];

/**
 * The class and the place of the form's size. `exact` is false for other sizes, which get the nearest place.
 * @param {Sizes} sizes
 * @param {Sides} values
 */
export function placed(sizes, values) {
  const [long, short] = lying(values);
  for (const [side, places] of Object.entries(sizes)) {
    const place = places.findIndex((size) => size?.[0] === long && size[1] === short);
    if (place >= 0) return { side, place, exact: true };
  }
  const area = long * short;
  return {
    side: nearest(Object.keys(sizes), (side) => distance(Number(side) ** 2, area || Number(side) ** 2)),
    place: nearest([...facts.aspects.keys()], (place) => distance(ratio(place), long / short || 1)),
    exact: false,
  };
}

/**
 * The size at *place* in the class *side*. If there is none: the size of that class with the nearest aspect ratio, where
 * *keep* is "side"; or that of the nearest class that has the place, null where none has.
 * @param {Sizes} sizes
 * @param {SizeChoice} choice
 * @returns {Size | null}
 */
export function sized(sizes, { side, place, keep }) {
  const there = sizes[side]?.[place];
  if (there) return there;
  const own = /** @type {Size[]} */ ((sizes[side] ?? []).filter(Boolean));
  if (keep === "side" && own.length) return nearest(own, ([long, short]) => distance(long / short, ratio(place)));
  const having = Object.keys(sizes).filter((one) => sizes[one]?.[place]);
  if (!having.length) return null;
  return sizes[nearest(having, (one) => distance(Number(one), Number(side)))]?.[place] ?? null;
}

/**
 * What is chosen by hand, while the form's size is still the one that it gave: then trying a ratio, or a class that lacks
 * the ratio, and going back gives the size of before. Otherwise what the form's size says.
 * @param {Sizes} sizes
 * @param {SizeChoice | null} choice
 * @param {Sides} values
 * @returns {SizeChoice}
 */
export function followed(sizes, choice, values) {
  const given = choice && sizes[choice.side] && sized(sizes, choice);
  const now = lying(values);
  if (choice && given && given[0] === now[0] && given[1] === now[1]) return choice;
  const { side, place } = placed(sizes, values);
  return { side, place, keep: "place" };
}

/**
 * Whether the model draws a side of this length.
 * @param {number | null} side
 * @param {Offer} offer
 */
export const isRight = (side, { min_side: least, max_side: most }) =>
  side !== null && Number.isInteger(side) && side % GRID === 0 && side >= least && side <= most;

/**
 * The nearest length that it draws.
 * @param {number} side
 * @param {Offer} offer
 */
export const mended = (side, { min_side: least, max_side: most }) =>
  Math.min(Math.max(Math.round(side / GRID) * GRID, least), most);
