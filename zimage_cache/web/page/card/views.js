// The result card: one view for each state of a request (empty, running, result, error, stopped); display only.

import { onDeletion } from "../lib/deletion.js";
import { find, make } from "../lib/dom.js";
import { facts, offerOf } from "../lib/facts.js";
import { form } from "../lib/form.js";
import { has, language, say, styleTitle, time } from "../lib/i18n.js";
import { seedsOf } from "../lib/seeds.js";
import { SMALL } from "../viewer/viewer.js";
import { fact, tools } from "./actions.js";
import { tilesIn } from "./tiles.js";

/** @import { JobState } from "../lib/api.d.ts" */
/** @import { Gone } from "../lib/deletion.js" */
/** @import { Ask, Fields, Picture, Result, Trouble } from "../lib/types.d.ts" */

const ENLARGED = 512; // px: width of a small picture, see card.css

/**
 * A job's state, or before the first one {phase: "asking", preview: null}.
 * @typedef {Partial<Omit<JobState, "phase">> & { phase: string }} Progress
 */
/** @typedef {{ phase: string, more: string, share: number | null, own: number }} Words */

/**
 * @typedef {object} Does
 * @property {() => void} again
 * @property {() => void} forgotten
 * @property {(ask: Ask, result: Result) => void} regained
 * @property {() => void} newSeed
 * @property {() => void} stop
 * @property {(ask: Ask, seed: number) => void} use
 */

/**
 * Where the run is: in the queue, at a step.
 * @param {Progress} progress
 */
function place({ phase, detail, position, step = 0, steps = 0 }) {
  if (phase === "loading") return detail || say("loading_hint");
  if (phase === "queued") return position ? say("queued_ahead", { ahead: position }) : say("queued_next");
  return phase === "drawing" ? say("drawing_step", { step, steps }) : "";
}

/**
 * The progress as text, with the finished shares of all pictures (null while unknown) and of this one.
 * @param {Progress} progress
 * @param {number} n
 * @returns {Words}
 */
function worded(progress, n) {
  const { phase, step = 0, steps = 0, done = 0, eta_seconds: eta } = progress;
  const known = ["drawing", "decoding"].includes(phase) && steps > 0;
  const more = [
    place(progress),
    n > 1 ? say("picture_of", { number: Math.min(done + 1, n), n }) : "",
    eta && eta >= 1 ? say("eta", { time: time(eta) }) : "",
  ];
  return {
    phase: say(phase),
    more: more.filter(Boolean).join(" · "),
    share: known ? Math.round((100 * (done + step / steps)) / n) : null,
    own: known ? Math.round((100 * step) / steps) : 0,
  };
}

/**
 * Shows the progress inside *box*.
 * @param {HTMLElement} box
 * @param {Pick<Words, "phase" | "more" | "share">} words
 */
function showCourse(box, { phase, more, share }) {
  find(box, ".zi-phase").textContent = phase;
  find(box, ".zi-phase-more").textContent = more;
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

/** @param {Picture} image */
function key(image) {
  const shown = fact(say("key"), image.key.slice(0, 12), image.key);
  shown.classList.add("zi-code");
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
    ...(style ? [plain(say("style"), style)] : []),
    ...(alone && first.key ? [key(first)] : []),
  ];
}

/**
 * Example prompts, shown in the place of the picture until the first one is drawn.
 * @param {string} prompt
 */
function example(prompt) {
  const chip = make("button", { type: "button", className: "zi-chip" }, prompt);
  chip.addEventListener("click", () => form.fill({ prompt }));
  return chip;
}

/**
 * @param {HTMLElement} root
 * @param {Does} does
 */
export function cardViews(root, { again, forgotten, newSeed, regained, stop, use }) {
  const card = find(root, ".zi-card");
  const examples = find(card, ".zi-examples");
  const course = find(card, ".zi-course");
  const waiting = find(card, ".zi-running");
  const preview = find(card, ".zi-preview", HTMLImageElement);
  const pictures = find(card, ".zi-pictures");
  const tiles = tilesIn(pictures, caption);
  let model = "";
  /** @type {{ ask: Ask, result: Result } | null} */
  let last = null; // what is on the card, or was before it was deleted

  /** @param {string} name */
  function view(name) {
    if (["running", "filling", "error"].includes(name)) last = null;
    card.dataset.view = name;
    card.setAttribute("aria-busy", String(["running", "filling"].includes(name)));
  }

  /**
   * @param {string} title
   * @param {string} text
   */
  function rest(title, text) {
    find(card, ".zi-empty-title").textContent = say(title);
    find(card, ".zi-empty-text").textContent = say(text);
    examples.hidden = title !== "empty_title";
    view("empty");
  }

  /** @param {Pick<Fields, "model">} values */
  function showExamples(values) {
    if (values.model === model) return;
    ({ model } = values);
    examples.replaceChildren(...(offerOf(values).examples[language] ?? []).map(example));
  }

  // ---- while a request runs ----

  /**
   * The preview. Progress without a preview keeps the last one; null removes it.
   * @param {string | null | undefined} source
   * @param {Ask} ask
   */
  function grow(source, ask) {
    if (source === undefined && !preview.hidden) return;
    preview.hidden = !source;
    if (source) Object.assign(preview, { src: source, width: ask.width, height: ask.height });
    else preview.removeAttribute("src");
  }

  /**
   * @param {Ask} ask
   * @param {Progress} progress
   */
  function running(ask, progress) {
    const { n = 1 } = ask;
    const words = worded(progress, n);
    if (n > 1) fill(ask, progress, words);
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
    const { width = 1, height = 1 } = ask;
    grow(progress.preview, ask);
    waiting.style.setProperty("--ratio", `${width} / ${height}`);
    waiting.style.setProperty("--wide", String(width / height));
    waiting.style.setProperty("--cap", `${ask.width < SMALL ? ENLARGED : ask.width}px`); // the width of the finished picture
    showCourse(waiting, words);
    view("running");
  }

  /**
   * The connection was lost; the last progress stays on the card, and the next one removes this message.
   * @param {Ask} ask
   */
  function lost({ n = 1 }) {
    showCourse(n > 1 ? course : waiting, { phase: say("lost"), more: say("lost_text"), share: null });
    view(n > 1 ? "filling" : "running");
  }

  // ---- after a request has ended ----

  /** @param {Trouble} error */
  function failed({ code, message, field, reason, request_id: id }) {
    const title = has(`error_${code}`) ? say(`error_${code}`) : say("error_other");
    const named = field && has(field) ? field : null;
    find(card, ".zi-error-title").textContent = named ? say("error_about", { title, field: say(named) }) : title;
    find(card, ".zi-error-text").textContent = (named && reason) || message;
    find(card, ".zi-error-id").textContent = id ? `${say("request_id")} ${id} · ${code}` : code;
    view("error");
  }

  /**
   * Each of several pictures has its own caption; that of a single one is on the card.
   * @param {Ask} ask
   * @param {Picture} image
   * @param {HTMLImageElement} shown
   */
  function caption(ask, image, shown) {
    const seed = make("dl", { className: "zi-facts" }, fact(say("seed"), String(image.seed)));
    return make("div", { className: "zi-own" }, seed, tools(ask, image, shown, { use }));
  }

  /**
   * @param {Ask} ask
   * @param {Result} result
   */
  function result(ask, { images, warnings }) {
    last = { ask, result: { images, warnings } };
    const [alone] = images.length === 1 ? images : [];
    tiles.show(ask, images);
    find(card, ".zi-warnings").replaceChildren(...warnings.map((text) => make("li", {}, text)));
    find(card, ".zi-asked").textContent = ask.prompt;
    find(card, ".zi-facts-all").replaceChildren(...factsOf(ask, images));
    find(card, ".zi-own-tools").replaceChildren(...(alone ? [toolsOf(ask, alone)] : []));
    view("result");
  }

  /**
   * @param {Ask} ask
   * @param {Picture} alone
   */
  function toolsOf(ask, alone) {
    return tools(ask, alone, find(pictures, "img", HTMLImageElement), { use });
  }

  /**
   * Takes the picture of *gone* off the card, or puts it back in its place.
   * @param {Gone} gone
   * @param {boolean} isBack
   */
  function change(gone, isBack) {
    const images = last?.result.images ?? [];
    const i = images.findIndex((each) => each?.key === gone.key);
    const image = images[i];
    if (!(gone.key && last && image)) return;
    if (images.length === 1 && isBack) regained(last.ask, last.result);
    else if (images.length === 1) forgotten();
    else if (isBack) tiles.restore(i, image);
    else tiles.remove(image);
  }

  examples.setAttribute("aria-label", say("examples"));
  showExamples({ model: facts.default_model });
  form.changed(showExamples);
  onDeletion({ gone: (gone) => change(gone, false), back: (gone) => change(gone, true) });
  find(card, ".zi-new-seed").addEventListener("click", newSeed);
  find(card, ".zi-again").addEventListener("click", again);
  for (const halt of card.querySelectorAll(".zi-halt")) halt.addEventListener("click", stop);
  return {
    empty: () => rest("empty_title", "empty_text"),
    stopped: () => rest("stopped_title", "stopped_text"),
    deleted: () => rest("deleted_title", "deleted_text"),
    running,
    lost,
    failed,
    result,
  };
}
