// Choice of sizes: aspect ratio, size class, orientation, or sides typed as numbers, which "Custom" shows. The present
// choice is derived from the form's values, and from what was chosen by hand before.
import { find, make } from "../lib/dom.js";
import { facts, offerOf } from "../lib/facts.js";
import { form } from "../lib/form.js";
import { inputOf } from "../lib/gradio.js";
import { say } from "../lib/i18n.js";
import { keepForm, keptForm } from "../lib/session.js";
import { followed, isRight, placed, sized } from "./geometry.js";

/** @import { Fields, Size, SizeChoice, Sizes } from "../lib/types.d.ts" */

/** @type {("width" | "height")[]} */
const SIDES = ["width", "height"];
const DRAWN = 17; // px: side of the square's icon; icons of other shapes have the same area

/**
 * @param {string} group
 * @param {string} value
 * @param {(Node | string)[]} inside
 */
function radio(group, value, ...inside) {
  return make("label", {}, make("input", { type: "radio", name: group, value }), ...inside);
}

/** @param {number} place */
function tile(place) {
  const part = (/** @type {string} */ className) => make("span", { className });
  return radio("zi-aspect", String(place), part("zi-shape"), part("zi-ratio"), " ", part("zi-other"));
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

/** @param {Fields} values */
const wrongSide = (values) => SIDES.find((name) => !isRight(values[name], offerOf(values)));

/** @param {HTMLElement} root */
export function sizes(root) {
  const classes = find(root, ".zi-classes");
  const aspects = find(root, ".zi-aspects");
  const turn = find(root, ".zi-turn", HTMLButtonElement);
  const custom = find(root, ".zi-custom", HTMLButtonElement);
  const shown = find(root, ".zi-size");
  let upright = false;
  /** @type {string | null} */
  let model = null;
  /** @type {SizeChoice | null} */
  let choice = keptForm?.size ?? null;
  let isPlain = true; // whether the size was an offered one, and right

  /** @param {Size} size */
  const turned = ([long, short]) => (upright ? [short, long] : [long, short]);

  /** @param {boolean} wanted */
  function openSides(wanted) {
    document.body.classList.toggle("zi-custom-open", wanted);
    custom.setAttribute("aria-expanded", String(wanted));
  }

  /** @param {Partial<SizeChoice> & Pick<SizeChoice, "keep">} part */
  function pick(part) {
    const table = offerOf(form.values).sizes;
    choice = { ...followed(table, choice, form.values), ...part };
    const size = sized(table, choice);
    if (!size) return;
    keepForm({ size: choice });
    const [width = 0, height = 0] = turned(size);
    openSides(false);
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
   * Draws the tile of a ratio; one whose size is of another class, because the chosen class has none, says its size.
   * @param {HTMLElement} label
   * @param {number} place
   * @param {Size | null} size
   * @param {boolean} isOther
   */
  function drawAspect(label, place, size, isOther) {
    const [long, short] = facts.aspects[place] ?? [1, 1];
    const [width, height] = turned([long / short, short / long]);
    const side = (/** @type {number | undefined} */ of) => `${(DRAWN * Math.sqrt(of ?? 1)).toFixed(1)}px`;
    Object.assign(find(label, ".zi-shape").style, { width: side(width), height: side(height) });
    find(label, ".zi-ratio").textContent = turned([long, short]).join(":");
    const [wide, high] = turned(size ?? [0, 0]);
    find(label, ".zi-other").textContent = isOther ? `${wide}×${high}` : "";
    label.hidden = !size;
    label.title = `${wide} × ${high}`;
  }

  /** @param {Fields} values */
  function draw(values) {
    const table = offerOf(values).sizes;
    const at = placed(table, values);
    const { side } = followed(table, choice, values);
    for (const [place, label] of [...aspects.children].entries()) {
      const size = sized(table, { side, place, keep: "place" });
      drawAspect(/** @type {HTMLElement} */ (label), place, size, !table[side]?.[place]);
    }
    check(aspects, at.exact ? String(at.place) : "");
    check(classes, at.exact ? side : "");
    shown.textContent = `${values.width ?? "?"} × ${values.height ?? "?"}`;
    unfold(at.exact && !wrongSide(values));
  }

  /**
   * Shows the sides as numbers once the size is none of those offered, or wrong.
   * @param {boolean} plain
   */
  function unfold(plain) {
    if (isPlain && !plain) openSides(true);
    isPlain = plain;
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

  // A wrong side stays visible, with what is wrong with it.
  function toggle() {
    const wrong = wrongSide(form.values);
    if (wrong) inputOf(wrong)?.focus();
    else openSides(custom.getAttribute("aria-expanded") === "false");
  }

  classes.setAttribute("aria-label", say("size_class"));
  aspects.setAttribute("aria-label", say("size_shape"));
  turn.title = say("size_turn");
  turn.setAttribute("aria-label", say("size_turn"));
  aspects.append(...facts.aspects.map((_, place) => tile(place)));
  aspects.addEventListener("change", (event) => pick({ place: Number(chosen(event)), keep: "place" }));
  classes.addEventListener("change", (event) => pick({ side: chosen(event), keep: "side" }));
  turn.addEventListener("click", turnAround);
  custom.addEventListener("click", toggle);
  form.marked((field) => void (SIDES.some((side) => side === field) && openSides(true)));
  form.changed(show);
}
