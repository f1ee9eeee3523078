// The pictures of one request as tiles that are filled as they arrive: one figure each, replaced only when it changes.
import { find, make } from "../lib/dom.js";
import { age, say, time } from "../lib/i18n.js";
import { SMALL, viewer } from "../viewer/viewer.js";

/** @import { Ask, Picture } from "../lib/types.d.ts" */

/** @typedef {"there" | "pending" | "deleted"} State */
/** @typedef {{ state: State, figure: HTMLElement, image: Picture | null }} Tile */
/** Of the first unfinished picture. @typedef {{ words: string, share: number, preview?: string | null | undefined }} Progress */

const HOLES = { pending: "tile_waiting", deleted: "tile_deleted" };

/**
 * Where a picture came from, and what that saved.
 * @param {Picture} image
 * @param {Ask} ask
 */
function badge({ source, seconds, seconds_saved: saved, cached, age_seconds: old }, ask) {
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
    make("span", { className: "zi-badge-more", title: ask.n > 1 ? text : "" }, text),
  );
}

/** @param {Ask} ask */
const alt = (ask) => say("picture_alt", { prompt: ask.prompt });

/**
 * An unfinished or deleted picture.
 * @param {"pending" | "deleted"} state
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
 * The tiles inside *box*; *caption* makes what stands below one of several pictures.
 * @param {HTMLElement} box
 * @param {(ask: Ask, image: Picture, shown: HTMLImageElement) => Node} caption
 */
export function tilesIn(box, caption) {
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
    const shown = there.map(({ image_url, seed, width, height }) => ({
      image_url,
      alt: alt(asked),
      seed,
      width,
      height,
    }));
    viewer.open(shown, there.indexOf(image));
  }

  /**
   * @param {Ask} asked
   * @param {Picture} image
   */
  function picture(asked, image) {
    const { image_url: url, width, height } = image;
    const className = width < SMALL ? "zi-small" : "";
    const shown = make("img", { src: url, width, height, alt: alt(asked), className });
    shown.style.setProperty("--own", `${width}px`);
    const open = make("a", { href: url, target: "_blank", className: "zi-open", title: say("view") }, shown);
    open.addEventListener("click", (event) => view(event, asked, image));
    const below = make("figcaption", {}, badge(image, asked), asked.n > 1 ? caption(asked, image, shown) : null);
    return make("figure", { dataset: { state: "there" } }, open, below);
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
   * @param {Picture | null} image
   * @param {"pending" | "deleted"} missing
   */
  function fill(i, asked, image, missing) {
    const state = image ? "there" : missing;
    if (tiles[i]?.state !== state) put(i, { state, figure: image ? picture(asked, image) : hole(missing), image });
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
  }

  /** @param {Ask} next */
  function begin(next) {
    if (ask === next) return;
    ask = next;
    tiles = [];
    last = null;
    box.replaceChildren();
  }

  return {
    /**
     * Shows *images* of *next*. With *progress*, a missing image (null) is not finished yet; without, it was deleted.
     * @param {Ask} next
     * @param {(Picture | null)[]} images
     * @param {Progress | null} progress
     */
    show(next, images, progress = null) {
      begin(next);
      const { width, height } = images.find(Boolean) ?? next;
      shape({ width, height, n: images.length });
      for (const [i, image] of images.entries()) fill(i, next, image, progress ? "pending" : "deleted");
      const first = tiles[images.findIndex((image) => !image)];
      if (first && progress) drawing(first.figure, progress);
    },
    /**
     * Puts *image* back in its place.
     * @param {number} i
     * @param {Picture} image
     */
    restore: (i, image) => ask && fill(i, ask, image, "deleted"),
    /**
     * Replaces *image* by an empty tile.
     * @param {Picture} image
     */
    remove(image) {
      const i = tiles.findIndex((tile) => tile.image?.key === image.key);
      if (i >= 0) put(i, { state: "deleted", figure: hole("deleted"), image: null });
    },
  };
}
