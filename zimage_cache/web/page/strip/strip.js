// The pictures of this sitting in a row below the card: a click or an arrow key shows one, "Compare" shows two.
import { look, onShown } from "../card/card.js";
import { compare } from "../compare/compare.js";
import { find, inside, make, settle } from "../lib/dom.js";
import { say } from "../lib/i18n.js";
import { step } from "../lib/keys.js";
import { isGone } from "../lib/server.js";
import { shownOf } from "../lib/shown.js";
import { sitting } from "../lib/sitting.js";

/** @import { Kept, Picture } from "../lib/types.d.ts" */

/** @param {Kept} kept */
function itemOf({ ask, image }) {
  const { alt, thumbnail_url: src = "", width, height } = shownOf(ask, image);
  // The file of the picture itself is to be loaded before.
  const picture = Object.assign(make("img", { fetchPriority: "low", alt, width, height }), { src });
  picture.addEventListener("error", async () => {
    if (await isGone(image.image_url)) sitting.remove(image);
  });
  const title = `${ask.prompt.slice(0, 200)}\n${say("seed")} ${image.seed}`;
  return make("li", { role: "option", tabIndex: -1, title, aria: { selected: false } }, picture);
}

/** @param {HTMLElement} root */
export function strip(root) {
  const section = find(root, ".zi-strip");
  const row = find(section, "ul");
  const pair = find(section, ".zi-strip-compare", HTMLButtonElement);
  /** @type {Map<string, HTMLElement>} */
  let items = new Map(); // by the picture's address; made once, so that no thumbnail is loaded again
  /** @type {Picture | null} */
  let shown = null;

  const place = () => sitting.all.findIndex(({ image }) => image.image_url === shown?.image_url);

  function draw() {
    const { all } = sitting;
    items = new Map(all.map((kept) => [kept.image.image_url, items.get(kept.image.image_url) ?? itemOf(kept)]));
    settle(row, [...items.values()]);
    section.classList.toggle("zi-none", !all.length);
    mark();
  }

  function mark() {
    const at = place();
    for (const [i, item] of [...items.values()].entries()) {
      item.setAttribute("aria-selected", String(i === at));
      item.tabIndex = i === (at < 0 ? items.size - 1 : at) ? 0 : -1;
    }
    pair.hidden = at < 1;
    // In the next frame, which lays out the page in any case.
    requestAnimationFrame(() => reveal([...items.values()][place()]));
  }

  /**
   * Scrolls the row alone: `scrollIntoView` would scroll the page too, under the pointer.
   * @param {HTMLElement | undefined} item
   */
  function reveal(item) {
    if (!item) return;
    const [before, after] = [item.offsetLeft - row.offsetLeft, item.offsetLeft - row.offsetLeft + item.offsetWidth];
    if (before < row.scrollLeft) row.scrollLeft = before;
    else if (after > row.scrollLeft + row.clientWidth) row.scrollLeft = after - row.clientWidth;
  }

  /**
   * Shows the picture at a place of the row.
   * @param {number} at
   */
  function choose(at) {
    const kept = sitting.all[at];
    if (!kept) return;
    look(kept);
    items.get(kept.image.image_url)?.focus({ preventScroll: true });
  }

  /** @param {Event} event */
  const placeOf = (event) => [...row.children].indexOf(/** @type {Element} */ (inside(event, "li")));

  /** @param {KeyboardEvent} event */
  function key(event) {
    const from = placeOf(event);
    const pressed = ["Enter", " "].includes(event.key);
    const to = pressed ? from : step(event.key, from, items.size);
    if (to === null || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    choose(to);
  }

  row.setAttribute("aria-label", say("sitting"));
  row.addEventListener("click", (event) => choose(placeOf(event)));
  row.addEventListener("keydown", key);
  pair.title = say("compare_hint");
  pair.addEventListener("click", () => {
    const [before, after] = sitting.all.slice(place() - 1, place() + 1);
    if (before && after) compare(shownOf(before.ask, before.image), shownOf(after.ask, after.image));
  });
  sitting.changed(draw);
  onShown((images) => {
    const [alone = null] = images.length === 1 ? images : [];
    if (alone === shown) return;
    shown = alone;
    mark();
  });
  draw();
}
