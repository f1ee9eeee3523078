// The styles as tiles: one row, in which the chosen one always is; "All" shows the others over what is below. The tiles
// are Gradio's radio buttons, see styles.css.
import { find, inside } from "../lib/dom.js";
import { offerOf } from "../lib/facts.js";
import { form } from "../lib/form.js";
import { always, STYLE_TILES } from "../lib/gradio.js";
import { say, styleTitle } from "../lib/i18n.js";

/** @import { Fields } from "../lib/types.d.ts" */

/** @param {HTMLElement} tile */
const radioOf = (tile) => find(tile, "input", HTMLInputElement);

/**
 * The tiles that fit a row of *columns*: the first ones, and the chosen one in the place of the last.
 * @param {HTMLElement[]} able
 * @param {number} columns
 */
function inRow(able, columns) {
  const row = able.slice(0, columns);
  const chosen = able.find((tile) => radioOf(tile).checked);
  return !chosen || row.includes(chosen) ? row : [...row.slice(0, -1), chosen];
}

/** @param {HTMLElement} root */
export function styles(root) {
  const all = find(root, ".zi-styles-all");
  const chosen = find(root, ".zi-style-chosen");
  const resized = new ResizeObserver(measure);
  let open = false;
  let columns = 0;
  /** @type {HTMLElement | null} */
  let tiles = null;
  /** @type {Pick<Fields, "style" | "model">} */
  let last = { style: "", model: "" };

  // Only after the browser has laid out the page; at other times the question would make it do so at once.
  function measure() {
    if (tiles && !open) columns = getComputedStyle(tiles).gridTemplateColumns.split(" ").length;
    fold();
  }

  /** The tiles to show: of styles that the model in the form can draw, and a chosen one. */
  function shownTiles() {
    const able = offerOf(form.values).styles;
    const every = /** @type {HTMLElement[]} */ ([...(tiles?.children ?? [])]);
    const possible = every.filter((tile) => {
      const { value, checked } = radioOf(tile);
      return value === "" || checked || able.includes(value);
    });
    return { every, possible, shown: open ? possible : inRow(possible, columns) };
  }

  function fold() {
    if (!(tiles && columns)) return;
    const { every, possible, shown } = shownTiles();
    all.hidden = possible.length <= columns;
    all.textContent = open ? say("styles_fewer") : say("styles_all", { n: possible.length - 1 });
    all.setAttribute("aria-expanded", String(open));
    tiles.classList.toggle("zi-open", open);
    for (const tile of every) tile.hidden = !shown.includes(tile);
  }

  /** @param {boolean} wanted */
  function turn(wanted) {
    if (wanted === open) return;
    // What is below stays where it is.
    const { height } = find(document, STYLE_TILES).getBoundingClientRect();
    find(document, "#zi-style").style.minHeight = wanted ? `${height}px` : "";
    open = wanted;
    fold();
  }

  /** @param {HTMLElement} element */
  function found(element) {
    if (tiles !== element) {
      resized.disconnect();
      resized.observe(element);
      tiles = element;
    }
    fold();
  }

  /** @param {Event} event */
  const isOutside = (event) => !(inside(event, "#zi-style") || inside(event, ".zi-styles-all"));

  /** @param {KeyboardEvent} event */
  function key(event) {
    if (!open || event.key !== "Escape" || isOutside(event)) return;
    event.preventDefault(); // it stops no run
    turn(false);
    all.focus();
  }

  /** @param {MouseEvent} event */
  function clicked(event) {
    // Not by an arrow key, which looks at the next tile, or by a script: such clicks are no press of a button.
    if (event.detail > 0 && (isOutside(event) || inside(event, "#zi-style label"))) turn(false);
  }

  form.changed(({ style, model }) => {
    chosen.textContent = styleTitle(style) ?? "";
    if (style !== last.style || model !== last.model) requestAnimationFrame(fold);
    last = { style, model };
  });
  all.addEventListener("click", () => turn(!open));
  document.addEventListener("keydown", key, { capture: true });
  document.addEventListener("click", clicked);
  document.addEventListener("focusin", (event) => void (isOutside(event) && turn(false)));
  always(STYLE_TILES, found);
}
