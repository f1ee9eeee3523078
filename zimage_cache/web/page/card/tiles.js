// The pictures of one request as tiles that are filled as they arrive: one figure each, replaced only when it changes.
import { find, make } from "../lib/dom.js";
import { age, say, time } from "../lib/i18n.js";
import { shownOf } from "../lib/shown.js";
import { sitting } from "../lib/sitting.js";
import { viewer } from "../viewer/viewer.js";
import { columnsFor, ownSeconds } from "./grid.js";

/** @import { Ask, Missing, Picture } from "../lib/types.d.ts" */

/** @typedef {"there" | "pending" | Missing} State */
/** @typedef {{ state: State, figure: HTMLElement, image: Picture | null }} Tile */
/** Of the first unfinished picture. @typedef {{ words: string, share: number, preview?: string | null | undefined }} Progress */

const HOLES = { pending: "tile_waiting", deleted: "tile_deleted", stopped: "tile_stopped" };
const NARROW = matchMedia("(max-width: 800px)");
const GAP = 10; // px, see card.css
const BELOW = 62; // px: about the height of the text below a picture

/**
 * Where a picture came from, in which of its own *seconds*, and what that saved.
 * @param {Picture} image
 * @param {number | null | undefined} seconds
 */
export function badge({ source, seconds_saved: saved, cached, age_seconds: old }, seconds) {
  const more = [
    seconds == null ? "" : say("in_time", { time: time(seconds) }),
    cached && old != null ? age(old) : "",
    saved && saved > 0 ? say("saved", { time: time(saved) }) : "",
  ];
  const text = more.filter(Boolean).join(" · ");
  const title = say(source === "history" ? "from_history" : source);
  return make(
    "p",
    { className: "zi-badge", dataset: { source, cached: Boolean(cached) } },
    make("strong", {}, make("span", { className: "zi-glyph" }), title),
    make("span", { className: "zi-badge-more" }, text),
  );
}

/**
 * An unfinished or missing picture.
 * @param {"pending" | Missing} state
 */
function hole(state) {
  const image = make("img", { className: "zi-tile-preview", alt: "", hidden: true });
  const bar = make("div", { className: "zi-bar" }, make("span"));
  return make(
    "figure",
    { dataset: { state } },
    make("div", { className: "zi-hole" }, image),
    make("figcaption", {}, make("p", { className: "zi-tile-words" }, say(HOLES[state])), bar),
  );
}

/**
 * The tiles inside *box*. *does*: makes the buttons of a picture, and what stands below one of several; *unseen* is
 * called with a picture that could not be loaded.
 * @param {HTMLElement} box
 * @param {object} does
 * @param {(ask: Ask, image: Picture, shown: HTMLImageElement) => Node} does.tools
 * @param {(image: Picture) => Node} does.caption
 * @param {(image: Picture) => void} does.unseen
 */
export function tilesIn(box, { tools, caption, unseen }) {
  /** @type {Ask | null} */
  let ask = null; // the request of these pictures
  /** @type {Tile[]} */
  let tiles = [];
  /** @type {string | null} */
  let last = null; // the last preview, of any tile

  /**
   * Opens the viewer with all finished pictures; with a modifier key the browser opens the picture in a new tab.
   * @param {MouseEvent} event
   * @param {Ask} asked
   * @param {Picture} image
   */
  function view(event, asked, image) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const there = tiles.flatMap((tile) => (tile.image ? [tile.image] : []));
    const shown = there.map((each) => shownOf(asked, each));
    viewer.open(shown, there.indexOf(image), { more: () => arrived(asked, there), total: tiles.length });
  }

  /**
   * For the viewer, the pictures that are not among *known* yet; null while none of those that are drawn has arrived.
   * @param {Ask} asked
   * @param {Picture[]} known
   */
  function arrived(asked, known) {
    const later = tiles.flatMap(({ image }) => (image && ask === asked && !known.includes(image) ? [image] : []));
    known.push(...later);
    const isDrawn = ask === asked && tiles.some(({ state }) => state === "pending");
    return Promise.resolve(later.length || !isDrawn ? later.map((image) => shownOf(asked, image)) : null);
  }

  /**
   * @param {Ask} asked
   * @param {Picture} image
   * @param {number | null | undefined} seconds
   */
  function picture(asked, image, seconds) {
    const { image_url: url, width, height } = image;
    const { alt } = shownOf(asked, image);
    const shown = make("img", { src: url, width, height, alt });
    const open = make("a", { href: url, target: "_blank", className: "zi-open", title: say("view") }, shown);
    open.addEventListener("click", (event) => view(event, asked, image));
    shown.addEventListener("error", () => unseen(image));
    const own = make("div", { className: "zi-own" }, tools(asked, image, shown));
    const below = asked.n > 1 ? make("figcaption", {}, badge(image, seconds), caption(image)) : null;
    return make("figure", { dataset: { state: "there" } }, open, own, below);
  }

  /**
   * @param {number} i
   * @param {Tile} tile
   */
  function put(i, tile) {
    const old = tiles[i]?.figure;
    tiles[i] = tile;
    if (old) old.replaceWith(tile.figure);
    else box.append(tile.figure);
  }

  /**
   * Puts *image*, or what stands for a missing one, in the place *i*, if that does not show it yet.
   * @param {number} i
   * @param {Ask} asked
   * @param {(Picture | null)[]} images
   * @param {"pending" | Missing} missing
   */
  function fill(i, asked, images, missing) {
    const image = images[i] ?? null;
    const isThere = image !== null && !sitting.isHidden(image);
    const hidden = image ? "deleted" : missing;
    const state = isThere ? "there" : hidden;
    if (tiles[i]?.state === state) return;
    const own = ownSeconds(images.map((each) => each ?? {}))[i];
    put(i, { state, figure: isThere ? picture(asked, image, own) : hole(hidden), image: isThere ? image : null });
  }

  // As many columns as give the largest pictures; below the form, where the card has no height of its own, two.
  function arrange() {
    const { clientWidth: width, clientHeight: height } = box;
    const n = tiles.length;
    const room = { n, wide: Number(box.style.getPropertyValue("--wide")) || 1, width, height, gap: GAP, below: BELOW };
    const columns = NARROW.matches ? Math.min(n, 2) : columnsFor(room);
    box.style.setProperty("--columns", String(columns));
    box.style.setProperty("--rows", String(Math.ceil(n / columns)));
  }

  /**
   * The one being drawn shows its progress and the preview: undefined keeps the last one, null shows none.
   * @param {HTMLElement} figure
   * @param {Progress} progress
   */
  function drawing(figure, { words, share, preview }) {
    figure.dataset.state = "drawing";
    find(figure, ".zi-tile-words").textContent = words;
    find(figure, ".zi-bar span").style.width = `${share}%`;
    const image = find(figure, ".zi-tile-preview", HTMLImageElement);
    if (preview !== undefined) last = preview;
    image.hidden = !last;
    if (last) image.src = last;
    else image.removeAttribute("src");
  }

  /** @param {{ width: number, height: number, n: number }} shape */
  function shape({ width, height, n }) {
    box.style.setProperty("--ratio", `${width} / ${height}`);
    box.style.setProperty("--wide", String(width / height));
    box.dataset.count = String(n);
    if (n === 1) for (const name of ["--columns", "--rows"]) box.style.removeProperty(name);
  }

  /** @param {Ask} next */
  function begin(next) {
    if (ask === next) return;
    ask = next;
    tiles = [];
    last = null;
    box.replaceChildren();
  }

  new ResizeObserver(() => tiles.length > 1 && arrange()).observe(box);
  return {
    /**
     * Shows *images* of *next*. With *progress*, a missing image (null) is not finished yet; without, *missing* says why.
     * @param {Ask} next
     * @param {(Picture | null)[]} images
     * @param {Progress | null} progress
     * @param {Missing} missing
     */
    show(next, images, progress = null, missing = "deleted") {
      begin(next);
      const { width, height } = images.find(Boolean) ?? next;
      shape({ width, height, n: images.length });
      for (const i of images.keys()) fill(i, next, images, progress ? "pending" : missing);
      if (images.length > 1) arrange();
      const first = tiles[images.findIndex((image) => !image)];
      if (first && progress) drawing(first.figure, progress);
    },
  };
}
