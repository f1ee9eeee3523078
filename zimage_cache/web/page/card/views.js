// The result card: one view for each state (empty, running, result); display only.
import { find, make, setText } from "../lib/dom.js";
import { facts, offerOf } from "../lib/facts.js";
import { form } from "../lib/form.js";
import { language, say, styleTitle } from "../lib/i18n.js";
import { seedsOf } from "../lib/seeds.js";
import { fact, tools } from "./actions.js";
import { place, wordsFor } from "./progress.js";
import { badge, tilesIn } from "./tiles.js";

/** @import { Entry, Progress } from "../lib/queue.js" */
/** @import { Ask, Fields, Picture } from "../lib/types.d.ts" */
/** @import { Pictures } from "./card.js" */
/** @import { Words } from "./progress.js" */

/**
 * @typedef {object} Does
 * @property {(fields: Fields) => void} generate
 * @property {() => void} newSeed
 * @property {() => void} redraw
 * @property {() => void} showAll
 * @property {() => void} stop
 * @property {(image: Picture) => void} unseen
 * @property {(ask: Ask, seed: number) => void} use
 */

/** What an empty card says, by the reason. @type {Record<"empty" | "stopped" | "deleted", [string, string]>} */
const EMPTY = {
  empty: ["empty_title", "empty_text"],
  stopped: ["stopped_title", "stopped_text"],
  deleted: ["deleted_title", "deleted_text"],
};

/**
 * Shows the progress inside *box*.
 * @param {HTMLElement} box
 * @param {Pick<Words, "phase" | "more" | "share">} words
 */
function showCourse(box, { phase, more, share }) {
  setText(find(box, ".zi-phase"), phase);
  setText(find(box, ".zi-phase-more"), more);
  const bar = find(box, ".zi-bar");
  bar.classList.toggle("zi-unknown", share === null);
  find(bar, "span").style.width = `${share ?? 0}%`;
  bar.setAttribute("aria-label", phase);
  if (share === null) bar.removeAttribute("aria-valuenow");
  else bar.setAttribute("aria-valuenow", String(share));
}

/**
 * @param {string} name
 * @param {string} value
 */
const plain = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));

/** @param {string} style */
const styled = (style) => Object.assign(plain(say("style"), style), { className: "zi-more-only" });

/** @param {Picture} image */
function key(image) {
  const shown = fact(say("key"), image.key.slice(0, 12), image.key);
  shown.classList.add("zi-code", "zi-more-only");
  return shown;
}

/**
 * What a result is made of: seed, size, steps, style, key.
 * @param {Ask} ask
 * @param {(Picture | null)[]} images
 */
function factsOf(ask, images) {
  const alone = images.length === 1;
  const first = images.find(Boolean);
  if (!first) return [];
  const style = styleTitle(ask.style);
  const last = seedsOf(ask.seed, images.length).at(-1);
  return [
    alone ? fact(say("seed"), String(first.seed)) : plain(say("seed"), `${ask.seed} – ${last}`),
    fact(say("size"), `${first.width} × ${first.height}`, `${first.width}x${first.height}`),
    ...(ask.steps ? [fact(say("steps"), String(ask.steps))] : []),
    ...(style ? [styled(style)] : []),
    ...(alone && first.key ? [key(first)] : []),
  ];
}

/**
 * What stands below one of several pictures.
 * @param {Picture} image
 */
const caption = (image) => make("dl", { className: "zi-facts" }, fact(say("seed"), String(image.seed)));

/**
 * @param {HTMLElement} root
 * @param {Does} does
 */
export function cardViews(root, { generate, newSeed, redraw, showAll, stop, unseen, use }) {
  const card = find(root, ".zi-card");
  const examples = find(card, ".zi-examples");
  const course = find(card, ".zi-course");
  const waiting = find(card, ".zi-running");
  const preview = find(card, ".zi-preview", HTMLImageElement);
  const pictures = find(card, ".zi-pictures");
  const about = find(card, ".zi-about");
  const all = find(card, ".zi-whole");
  const tiles = tilesIn(pictures, { tools: toolsOf, caption, unseen });
  let model = "";
  /** The pictures that are shown. @type {Pictures | null} */
  let laidOut = null;

  /** @param {string} name */
  function view(name, under = false) {
    card.dataset.view = name;
    card.classList.toggle("zi-under", under);
    card.setAttribute("aria-busy", String(under || ["running", "filling"].includes(name)));
  }

  /** @param {"empty" | "stopped" | "deleted"} why */
  function empty(why) {
    const [title, text] = EMPTY[why];
    find(card, ".zi-empty-title").textContent = say(title);
    find(card, ".zi-empty-text").textContent = say(text);
    examples.hidden = why !== "empty";
    view("empty");
  }

  /**
   * An example prompt, shown in the place of the picture until the first one is drawn; a click draws it.
   * @param {string} prompt
   */
  function example(prompt) {
    const chip = make("button", { type: "button", className: "zi-chip" }, prompt);
    chip.addEventListener("click", () => form.fill({ prompt }, generate));
    return chip;
  }

  /** @param {Pick<Fields, "model">} values */
  function showExamples(values) {
    if (values.model === model) return;
    ({ model } = values);
    examples.replaceChildren(...(offerOf(values).examples[language] ?? []).map(example));
  }

  // ---- while a request runs ----

  /**
   * @param {string | null | undefined} source
   * @param {Ask} ask
   */
  function grow(source, { width, height }) {
    preview.hidden = !source;
    if (source) Object.assign(preview, { src: source, width, height });
    else preview.removeAttribute("src");
  }

  /** @param {Entry} entry */
  function running(entry) {
    const { ask, progress } = entry;
    const words = wordsFor(entry);
    laidOut = null;
    if (ask.n > 1) fill(ask, progress, words);
    else wait(ask, progress, words);
  }

  /**
   * Several pictures: tiles, some of them still empty.
   * @param {Ask} ask
   * @param {Progress} progress
   * @param {Words} words
   */
  function fill(ask, progress, words) {
    const images = progress.images ?? new Array(ask.n).fill(null);
    const drawn = [words.phase, place(progress)].filter(Boolean).join(" · ");
    tiles.show(ask, images, { words: drawn, share: words.own, preview: progress.preview });
    showCourse(course, words);
    view("filling");
  }

  /**
   * A single picture: the preview in its place.
   * @param {Ask} ask
   * @param {Progress} progress
   * @param {Words} words
   */
  function wait(ask, progress, words) {
    grow(progress.preview, ask);
    showCourse(waiting, words);
    view("running");
  }

  // ---- after a request has ended ----

  /**
   * @param {Ask} ask
   * @param {Picture} image
   * @param {HTMLImageElement} shown
   */
  function toolsOf(ask, image, shown) {
    return tools(ask, image, shown, { use });
  }

  /** @param {Pictures} laid */
  function put({ ask, images, warnings, missing }) {
    const [alone] = images.length === 1 ? images : [];
    tiles.show(ask, images, null, missing);
    find(card, ".zi-own-badge").replaceChildren(...(alone ? [badge(alone, alone.seconds)] : []));
    find(card, ".zi-warnings").replaceChildren(...warnings.map((text) => make("li", {}, text)));
    find(card, ".zi-asked").textContent = ask.prompt;
    find(card, ".zi-facts-all").replaceChildren(...factsOf(ask, images));
  }

  /**
   * Shows the pictures of a request, of which a single one may belong to a request for *n*. *next*: the request that is
   * drawn meanwhile, until it has something to show; its progress leaves the pictures and their values as they are.
   * @param {Pictures} laid
   * @param {Entry | null} next
   * @param {number} n
   */
  function result(laid, next, n) {
    if (laidOut !== laid) put(laid);
    laidOut = laid;
    all.hidden = laid.images.length > 1 || n < 2;
    setText(all, say("show_all", { n }));
    if (next) showCourse(course, wordsFor(next));
    view("result", next !== null);
  }

  /** @param {boolean} open */
  function unfold(open) {
    const button = find(about, ".zi-unfold");
    about.classList.toggle("zi-open-about", open);
    button.setAttribute("aria-expanded", String(open));
    button.textContent = say(open ? "about_less" : "about_more");
  }

  examples.setAttribute("aria-label", say("examples"));
  showExamples({ model: facts.default_model });
  form.changed(showExamples);
  unfold(false);
  find(card, ".zi-new-seed").addEventListener("click", newSeed);
  find(card, ".zi-again").addEventListener("click", redraw);
  all.addEventListener("click", showAll);
  find(about, ".zi-unfold").addEventListener("click", () => unfold(!about.classList.contains("zi-open-about")));
  for (const halt of card.querySelectorAll(".zi-halt")) halt.addEventListener("click", stop);
  return { empty, running, result };
}
