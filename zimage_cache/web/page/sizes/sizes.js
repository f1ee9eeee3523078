// Choice of sizes: aspect ratio, size class, orientation. The present choice is derived from the form's values.
import { find, make } from "../lib/dom.js";
import { facts, offerOf } from "../lib/facts.js";
import { form } from "../lib/form.js";
import { say } from "../lib/i18n.js";
import { placed, sized } from "./geometry.js";

/** @import { Fields, Size, Sizes } from "../lib/types.d.ts" */

const DRAWN = 17; // px: side of the square's icon; icons of other shapes have the same area

/**
 * @param {string} group
 * @param {string} value
 * @param {Node[]} inside
 */
function radio(group, value, ...inside) {
  return make("label", {}, make("input", { type: "radio", name: group, value }), ...inside);
}

/**
 * @param {HTMLElement} group
 * @param {string} value
 */
function check(group, value) {
  for (const input of group.querySelectorAll("input")) input.checked = input.value === value;
}

/**
 * A class of sizes by the side of its square: "512 px", or "1.6 MP".
 * @param {number} side
 */
const pixels = (side) => (side < 1000 ? `${side} px` : `${Math.round((side * side) / 1e5) / 10} MP`);

/** @param {Event} event */
const chosen = ({ target }) => (target instanceof HTMLInputElement ? target.value : "");

/** @param {HTMLElement} root */
export function sizes(root) {
  const classes = find(root, ".zi-classes");
  const aspects = find(root, ".zi-aspects");
  const turn = find(root, ".zi-turn", HTMLButtonElement);
  let upright = false;
  /** @type {string | null} */
  let model = null;

  /** @param {Size} size */
  const turned = ([long, short]) => (upright ? [short, long] : [long, short]);

  /**
   * @param {{ side?: string, place?: number }} choice
   * @param {"place" | "side"} keep
   */
  function pick({ side, place }, keep) {
    const table = offerOf(form.values).sizes;
    const at = placed(table, form.values);
    const [width = 0, height = 0] = turned(sized(table, side ?? at.side, place ?? at.place, keep));
    form.fill({ width, height });
  }

  /** @param {Sizes} table */
  function offer(table) {
    const offered = Object.keys(table).map((side) => {
      const label = radio("zi-class", side, make("span", {}, pixels(Number(side))));
      label.title = `${side} × ${side}`;
      return label;
    });
    classes.replaceChildren(...offered);
    classes.hidden = offered.length < 2;
  }

  /**
   * @param {HTMLElement} label
   * @param {number} place
   * @param {Size} size
   */
  function drawAspect(label, place, size) {
    const [long, short] = facts.aspects[place] ?? [1, 1];
    const [width, height] = turned([long / short, short / long]);
    const side = (/** @type {number | undefined} */ of) => `${(DRAWN * Math.sqrt(of ?? 1)).toFixed(1)}px`;
    Object.assign(find(label, ".zi-shape").style, { width: side(width), height: side(height) });
    find(label, ".zi-ratio").textContent = turned([long, short]).join(":");
    label.title = turned(size).join(" × ");
  }

  /** @param {Fields} values */
  function draw(values) {
    const table = offerOf(values).sizes;
    const at = placed(table, values);
    for (const [place, label] of [...aspects.children].entries()) {
      drawAspect(/** @type {HTMLElement} */ (label), place, sized(table, at.side, place, "place"));
    }
    check(aspects, at.exact ? String(at.place) : "");
    check(classes, at.exact ? at.side : "");
  }

  /** @param {Fields} values */
  function show(values) {
    const { width, height } = values;
    if (values.model !== model) offer(offerOf(values).sizes);
    ({ model } = values);
    if (width !== height && width && height) upright = height > width;
    draw(values);
  }

  function turnAround() {
    const { width, height } = form.values;
    upright = !upright;
    if (width === height) draw(form.values);
    else form.fill({ width: height, height: width });
  }

  classes.setAttribute("aria-label", say("size_class"));
  aspects.setAttribute("aria-label", say("size_shape"));
  turn.title = say("size_turn");
  turn.setAttribute("aria-label", say("size_turn"));
  aspects.append(
    ...facts.aspects.map((_, place) =>
      radio(
        "zi-aspect",
        String(place),
        make("span", { className: "zi-shape" }),
        make("span", { className: "zi-ratio" }),
      ),
    ),
  );
  aspects.addEventListener("change", (event) => pick({ place: Number(chosen(event)) }, "place"));
  classes.addEventListener("change", (event) => pick({ side: chosen(event) }, "side"));
  turn.addEventListener("click", turnAround);
  form.changed(show);
}
