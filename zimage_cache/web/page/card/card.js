// What is on the card: the pictures that were shown last, and the request that is being drawn for it.
//
// The card follows the queue: what was pressed last, or finished last. A picture chosen in the strip stays until the
// next press. A request that is stopped or fails takes nothing away.
import { bar } from "../bar/bar.js";
import { onDeletion } from "../lib/deletion.js";
import { find } from "../lib/dom.js";
import { fault } from "../lib/fault.js";
import { form } from "../lib/form.js";
import { container } from "../lib/gradio.js";
import { say } from "../lib/i18n.js";
import { pageAct } from "../lib/keys.js";
import { link } from "../lib/link.js";
import { tell } from "../lib/notice.js";
import { queue } from "../lib/queue.js";
import { isRandom, rolls } from "../lib/seeds.js";
import { isGone, refusal } from "../lib/server.js";
import { keepAsk, keptAsk } from "../lib/session.js";
import { givenFields, offered, request, settings, spelled } from "../lib/settings.js";
import { sitting } from "../lib/sitting.js";
import { stored } from "../lib/stored.js";
import { cardViews } from "./views.js";

/** @import { Gone } from "../lib/deletion.js" */
/** @import { Opened } from "../lib/link.js" */
/** @import { Entry } from "../lib/queue.js" */
/** @import { Ask, Fields, Kept, Missing, Parameters, Picture, Remembered, Result, Trouble } from "../lib/types.d.ts" */

/** Pictures on the card; *missing* says why some are not there. @typedef {Result & { ask: Ask, missing: Missing }} Shown */

const BELOW = 12; // px that stay free below the card
const NARROW = matchMedia("(max-width: 800px)");
/** @type {((ask: Ask, images: Picture[]) => void)[]} */
const listeners = [];
/** @type {((picture: Picture | null) => void)[]} */
const watchers = [];
let turn = 0; // number of the latest look-up or press; results of older look-ups are ignored
/** @type {Shown | null} */
let shown = null;
/** The request whose progress is on the card. @type {Entry | null} */
let watched = null;
let follows = true; // whether the card shows what comes next, not what was chosen
/** Why the card is empty. @type {"empty" | "stopped" | "deleted"} */
let rest = "empty";
/** @type {Entry | null} */
let scrolledTo = null;
/** @type {HTMLElement} */
let root;
/** @type {ReturnType<typeof cardViews>} */
let views;

// ---- what is shown ----

/** Whether there is something to see of *entry* in the place of the pictures that are there. @param {Entry} entry */
const hasBegun = ({ ask, progress: { preview, images = [], phase } }) =>
  Boolean(preview) || images.some(Boolean) || (ask.n > 1 && ["drawing", "decoding"].includes(phase));

/** Without the pictures that were deleted; null where none is left. @param {Shown} all */
function remaining(all) {
  if (!all.images.some((image) => image && sitting.isHidden(image))) return all;
  const images = all.images.map((image) => (image && sitting.isHidden(image) ? null : image));
  /** @type {Missing} */
  const missing = "deleted";
  return images.some(Boolean) ? { ...all, images, missing } : null;
}

function draw() {
  const busy = queue.entries.some(({ visible }) => visible);
  document.body.classList.toggle("zi-busy", busy);
  const entry = watched?.visible ? watched : null;
  const there = shown ? remaining(shown) : null;
  if (entry && (hasBegun(entry) || !there)) views.running(entry);
  else if (there) views.result(there, entry, together().length);
  else views.empty(rest);
  const alone = !entry && there?.images.length === 1 ? (there.images[0] ?? null) : null;
  for (const watcher of watchers) watcher(alone);
}

// Where the card is below the form, it is scrolled into view.
function comeIntoView() {
  if (NARROW.matches) root.scrollIntoView({ block: "start", behavior: "smooth" });
}

/**
 * Puts pictures on the card, in the place of everything else.
 * @param {Shown} next
 */
function put(next) {
  shown = next;
  watched = null;
  draw();
}

/** The pictures of the request that a single picture on the card belongs to. */
function together() {
  const alone = shown?.images.length === 1 ? shown.images[0]?.image_url : undefined;
  const batch = sitting.all.find(({ image }) => image.image_url === alone)?.batch;
  return sitting.all.filter((one) => one.batch === batch);
}

/** @param {Entry} entry */
function changed(entry) {
  if (entry.state === "waiting") draw();
  else ended(entry);
  if (entry !== watched || entry === scrolledTo || !entry.visible) return;
  scrolledTo = entry;
  comeIntoView();
}

/** @param {Entry} entry */
function ended(entry) {
  const { ask, result, state, error } = entry;
  const isMine = follows || entry === watched;
  if (result) sitting.add(ask, result.images);
  if (result && isMine) shown = { ask, ...result, missing: state === "done" ? "deleted" : "stopped" };
  if (state === "stopped") rest = "stopped";
  if (error) complain(error, () => press(ask, true));
  watched = watchedAfter(entry);
  draw();
  if (isMine) comeIntoView();
  if (result) report(ask, result);
}

/**
 * What is watched after *entry* has ended: the next one in its place, else what was watched before. A stored picture that
 * is there at once stays on the card, and the others go on without being watched.
 * @param {Entry} entry
 */
function watchedAfter(entry) {
  if (entry === watched) return (follows && queue.entries.find(({ visible }) => visible)) || null;
  return follows && entry.result ? null : watched;
}

/**
 * @param {Ask} ask
 * @param {Result} result
 */
function report(ask, { images }) {
  const there = images.filter((image) => image !== null);
  for (const listener of listeners) listener(ask, there);
}

/**
 * Shows an error: at its field, or as a line above the card.
 * @param {Trouble} error
 * @param {() => void} [again]
 */
function complain(error, again) {
  if (!fault.show(error)) bar.show(error, again);
}

// ---- from the button to the queue ----

/**
 * @param {Ask} ask
 * @param {boolean} literal
 */
function press(ask, literal = false) {
  turn += 1;
  follows = true;
  tell("");
  bar.clear();
  fault.clear();
  const entry = queue.add(ask, literal);
  // What is being drawn stays in view; it is not left for one that waits behind it.
  if (!watched) watched = entry;
}

/**
 * Draws what the form says.
 * @param {Fields} values
 */
export function generate(values) {
  if (isRandom(values.seed) || rolls()) form.roll(drawForm);
  else drawForm(values);
}

/** @param {Fields} values */
function drawForm(values) {
  try {
    press(request(values));
  } catch (error) {
    complain(refusal(error));
  }
}

/** Ends the request on the card, else the one that is drawn next. */
export function stop() {
  const entry = watched ?? queue.entries[0];
  if (entry) queue.stop(entry);
}

// ---- the buttons of a result ----

function newSeed() {
  form.roll(drawForm);
}

function redraw() {
  if (shown) press({ ...shown.ask, cache: "refresh" }, true);
}

/**
 * @param {Ask} ask
 * @param {number} seed
 */
function use(ask, seed) {
  form.fill(spelled(settings({ ...ask, seed, n: 1 })), () => tell(say("used")));
}

/**
 * A picture cannot be loaded. Where its file is gone, its tile becomes empty; a card without any other picture does too.
 * @param {Picture} image
 */
async function unseen(image) {
  if (!(await isGone(image.image_url))) return;
  sitting.remove(image);
  if (!shown) return;
  const images = shown.images.map((other) => (other === image ? null : other));
  rest = "deleted";
  shown = images.some(Boolean) ? { ...shown, images, missing: "deleted" } : null;
  draw();
}

/**
 * The pictures of a key are deleted, or back.
 * @param {Gone} deleted
 * @param {boolean} gone
 */
function remove(deleted, gone) {
  if (!deleted.key) return;
  if (gone) rest = "deleted";
  sitting.hide(deleted.key, gone);
  draw();
}

// ---- the strip and the rows of the queue ----

/**
 * Shows a picture of this sitting, or all *pictures* of its request.
 * @param {Kept[]} pictures
 */
export function look(pictures) {
  const [first] = pictures;
  if (!first) return;
  turn += 1;
  follows = pictures.at(-1) === sitting.all.at(-1);
  const ask = { ...first.ask, n: pictures.length };
  put({ ask, images: pictures.map(({ image }) => image), warnings: [], missing: "deleted" });
}

/** Shows all pictures of the request that the one on the card belongs to. */
const showAll = () => look(together());

/**
 * Shows the progress of a request.
 * @param {Entry} entry
 */
export function watch(entry) {
  follows = true;
  watched = entry;
  draw();
}

/** The request on the card that has not ended. */
export const onCard = () => watched;

// ---- settings from a link, a file, the history, or from before a reload ----

/**
 * Shows the stored pictures of *ask*, where it was on the card *before* also an incomplete set; else the copy at the
 * URL *image*; else a message that there is no picture.
 * @param {Ask} ask
 * @param {{ image?: string | undefined, before?: Missing | undefined }} options
 */
async function lookUp(ask, { image, before } = {}) {
  turn += 1;
  const mine = turn;
  const found = await stored(ask, before !== undefined);
  if (mine !== turn) return;
  if (!(found || image)) {
    tell(say("not_stored"));
    return;
  }
  const copy = { ...ask, image_url: image ?? "", source: "history", key: "" };
  const result = found ?? { images: [copy], warnings: [] };
  for (const one of result.images) if (one) sitting.hide(one.key, false);
  if (before) {
    shown = { ask, ...result, missing: before };
    draw();
  } else {
    follows = false;
    bar.clear();
    fault.clear();
    put({ ask, ...result, missing: "deleted" });
    comeIntoView();
  }
  report(ask, result);
}

/**
 * Puts *parameters* into the form and shows their picture, where there is one.
 *
 * *image* is the URL of a copy. *keep*: fields that the parameters do not name stay as they are, instead of becoming
 * the model's defaults; without a prompt no picture is looked up.
 * @param {Parameters} parameters
 * @param {{ image?: string, keep?: boolean }} options
 * @returns {Promise<void>}
 */
export function restore(parameters, { image, keep = false } = {}) {
  const fields = keep ? givenFields(parameters) : { ...settings(parameters), n: 1 };
  mention(parameters.model);
  return new Promise((done) => {
    form.fill(spelled(fields), (whole) => {
      const ask = () => request({ ...whole, ...fields, n: 1, cache: "use" });
      done(keep && !fields.prompt ? undefined : attempt(() => lookUp(ask(), { image })));
    });
  });
}

/** @param {Opened} opened */
function opened({ parameters, error }) {
  link.clear();
  mention(parameters.model);
  if (error) complain(error);
  else void attempt(() => lookUp(request(settings(parameters))));
}

/** @param {unknown} model */
function mention(model) {
  if (model && !offered(model)) tell(say("model_elsewhere", { model: String(model) }));
}

/** @param {() => Promise<void>} act */
async function attempt(act) {
  try {
    await act();
  } catch (error) {
    complain(refusal(error));
  }
}

/** @param {Remembered} remembered */
function resume({ waited, shown: was }) {
  if (was) void attempt(() => lookUp(was.ask, { before: was.missing }));
  [watched = null] = waited.map((one) => queue.resume(one));
  draw();
}

/** @returns {Remembered} */
function remembered() {
  const { ask, missing = "deleted" } = (shown && remaining(shown)) ?? {};
  return { waited: queue.waited(), shown: ask && ask.cache !== "bypass" ? { ask, missing } : null };
}

// ---- connection with the page ----

/** Tells the style sheet what stands above the form and the card: the head, with notices that come and go. */
function keepRoom() {
  const [row, head] = [find(document, ".zi-create"), find(document, ".zi-part-header")];
  const measure = () => {
    const above = row.getBoundingClientRect().top + scrollY;
    if (row.checkVisibility()) container().style.setProperty("--zi-above", `${Math.round(above) + BELOW}px`);
  };
  new ResizeObserver(measure).observe(head);
}

/**
 * Registers a callback for every result shown.
 * @param {(ask: Ask, images: Picture[]) => void} listener
 */
export function onResult(listener) {
  listeners.push(listener);
}

/**
 * Registers a callback for the picture that is alone on the card, or null.
 * @param {(picture: Picture | null) => void} watcher
 */
export function onShown(watcher) {
  watchers.push(watcher);
}

/** @param {KeyboardEvent} event */
function key(event) {
  const act = pageAct(event);
  // In an open dialog, Esc closes the dialog.
  if (act === "stop" && !event.defaultPrevented && !document.querySelector("dialog[open]")) stop();
  if (act !== "generate") return;
  event.preventDefault();
  document.getElementById("zi-generate")?.click();
}

function hashChanged() {
  const read = link.read();
  if (!read) return;
  link.clear();
  form.fill(spelled(settings(read.parameters)), () => opened(read));
}

/** @param {HTMLElement} element */
export function card(element) {
  root = element;
  find(element, ".zi-again").title = say("draw_again_hint");
  views = cardViews(element, { generate, newSeed, redraw, showAll, stop, unseen, use });
  keepRoom();
  onDeletion({ gone: (deleted) => remove(deleted, true), back: (deleted) => remove(deleted, false) });
  queue.changed(changed);
  document.addEventListener("keydown", key);
  addEventListener("hashchange", hashChanged);
  draw();
  void form.begun.then((read) => {
    keepAsk(remembered);
    if (read) opened(read);
    else if (keptAsk?.waited) resume(keptAsk);
  });
}
