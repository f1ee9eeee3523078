// The styles as tiles: two rows, the others shown by "more". The tiles are Gradio's radio buttons, see styles.css.
import { find } from "../lib/dom.js";
import { offerOf } from "../lib/facts.js";
import { form } from "../lib/form.js";
import { always, STYLE_TILES } from "../lib/gradio.js";
import { say, styleTitle } from "../lib/i18n.js";

/** @import { Fields } from "../lib/types.d.ts" */

const ROWS = 2;

/** @param {HTMLElement} root */
export function styles(root) {
  const more = find(root, ".zi-styles-more");
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
    if (tiles) columns = getComputedStyle(tiles).gridTemplateColumns.split(" ").length;
    fold();
  }

  /** Hides the tiles of styles that the model in the form cannot draw, but for a chosen one; returns the others. */
  function hideUnable() {
    const able = offerOf(form.values).styles;
    const all = /** @type {HTMLElement[]} */ ([...(tiles?.children ?? [])]);
    for (const tile of all) {
      const { value, checked } = find(tile, "input", HTMLInputElement);
      tile.hidden = value !== "" && !checked && !able.includes(value);
    }
    return all.filter((tile) => !tile.hidden);
  }

  function fold() {
    if (!(tiles && columns)) return;
    const seen = ROWS * columns;
    const shown = hideUnable();
    const hidden = shown.length - seen;
    more.hidden = hidden <= 0;
    more.textContent = open ? say("styles_fewer") : say("styles_more", { n: hidden });
    more.setAttribute("aria-expanded", String(open));
    tiles.classList.toggle("zi-open", open);
    for (const [i, tile] of shown.entries()) {
      tile.dataset.folded = String(!open && i >= seen);
    }
  }

  /** @param {boolean} wanted */
  function turn(wanted) {
    open = wanted;
    fold();
  }

  /**
   * When a hidden tile is chosen, by an arrow key or because the form was filled, all tiles are shown.
   * @param {Element | null | undefined} radio
   */
  function reveal(radio) {
    if (radio?.closest("label")?.dataset.folded === "true") turn(true);
  }

  const chosenRadio = () => tiles?.querySelector("input:checked");

  /** @param {HTMLElement} element */
  function found(element) {
    if (tiles !== element) {
      resized.disconnect();
      resized.observe(element);
      tiles = element;
      tiles.addEventListener("focusin", ({ target }) => reveal(target instanceof Element ? target : null));
    }
    update();
  }

  function update() {
    fold();
    reveal(chosenRadio());
  }

  form.changed(({ style, model }) => {
    chosen.textContent = styleTitle(style) ?? "";
    if (style !== last.style || model !== last.model) requestAnimationFrame(update);
    last = { style, model };
  });
  more.addEventListener("click", () => turn(!open));
  always(STYLE_TILES, found);
}
