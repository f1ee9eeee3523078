// What is on the card: the pictures that were shown last, and the request that is being drawn for it.
//
// The card follows the queue: what was pressed last, or finished last. A picture chosen in the strip stays until the
// next press. A request that is stopped or fails takes nothing away.
import { bar } from "../bar/bar.js";
import { onDeletion, spareDrawn } from "../lib/deletion.js";
import { find, loaded, pause } from "../lib/dom.js";
import { fault } from "../lib/fault.js";
import { form } from "../lib/form.js";
import { container } from "../lib/gradio.js";
import { say } from "../lib/i18n.js";
import { isTyping, pageAct } from "../lib/keys.js";
import { link } from "../lib/link.js";
import { tell } from "../lib/notice.js";
import { queue } from "../lib/queue.js";
import { drawSeed, isRandom, rolls, seedsOf } from "../lib/seeds.js";
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

/** Pictures of a request; *missing* says why some are not there. @typedef {Result & { ask: Ask, missing: Missing }} Pictures */

const SOON = 300; // ms that the strip waits for the picture on the card
const BELOW = 12; // px that stay free below the card
const NARROW = matchMedia("(max-width: 800px)");
/** @type {((ask: Ask, images: Picture[]) => void)[]} */
const listeners = [];
/** @type {((images: Picture[]) => void)[]} */
const watchers = [];
let turn = 0; // number of the latest look-up or press; results of older look-ups are ignored
/** The pictures that were put on the card last. @type {Pictures | null} */
let shown = null;
/** Those of them that were not deleted. @type {Pictures | null} */
let there = null;
/** What the watchers were told last. @type {[Pictures | null, Entry | null]} */
let told = [null, null];
/** The request whose progress is on the card. @type {Entry | null} */
let watched = null;
let follows = true; // whether the card shows what comes next, not what was chosen
/** Why the card is empty. @type {"empty" | "stopped" | "deleted"} */
let rest = "empty";
/** @type {Entry | null} */
let scrolledTo = null;
/** The results that are being added to the strip, one after the other. @type {Promise<void>} */
let kept = Promise.resolve();
/** @type {HTMLElement} */
let root;
/** @type {ReturnType<typeof cardViews>} */
let views;

// ---- what is shown ----

/** Whether there is something to see of *entry* in the place of the pictures that are there. @param {Entry} entry */
const hasBegun = ({ ask, progress: { preview, images = [], phase } }) =>
  Boolean(preview) || images.some(Boolean) || (ask.n > 1 && ["drawing", "decoding"].includes(phase));

/** Without the pictures that were deleted; null where none is left. @param {Pictures} all */
function remaining(all) {
  if (!all.images.some((image) => image && sitting.isHidden(image))) return all;
  const images = all.images.map((image) => (image && sitting.isHidden(image) ? null : image));
  /** @type {Missing} */
  const missing = "deleted";
  return images.some(Boolean) ? { ...all, images, missing } : null;
}

/** @param {Pictures | null} next */
function lay(next) {
  shown = next;
  there = next && remaining(next);
}

function draw() {
  const busy = queue.entries.some(({ visible }) => visible);
  document.body.classList.toggle("zi-busy", busy);
  const entry = watched?.visible ? watched : null;
  const pictures = entry && hasBegun(entry) ? null : there;
  if (pictures) views.result(pictures, entry, together().length);
  else if (entry) views.running(entry);
  else views.empty(rest);
  inform(pictures);
}

/** Tells what is on the card, when that has changed. @param {Pictures | null} pictures */
function inform(pictures) {
  if (told[0] === pictures && told[1] === watched) return;
  told = [pictures, watched];
  const images = (pictures?.images ?? []).filter((image) => image !== null);
  for (const watcher of watchers) watcher(images);
}

// Where the card is below the form, it is scrolled into view, but not away from a field that is being typed in.
function comeIntoView() {
  if (NARROW.matches && !isTyping(document.activeElement)) root.scrollIntoView({ block: "start", behavior: "smooth" });
}

/**
 * Puts pictures on the card, in the place of everything else.
 * @param {Pictures} next
 */
function put(next) {
  lay(next);
  watched = null;
  draw();
}

/**
 * Shows pictures that have just arrived, also where an earlier one of their key was deleted.
 * @param {Entry} entry
 */
function receive({ arrived, progress, result }) {
  for (const image of result?.images ?? progress.images ?? []) {
    if (!image || arrived.has(image.image_url)) continue;
    arrived.add(image.image_url);
    spareDrawn(image.key);
    if (sitting.isHidden(image)) sitting.hide({ key: image.key, ids: [] }, false);
  }
}

/** The pictures of the request that a single picture on the card belongs to. */
function together() {
  const alone = shown?.images.length === 1 ? shown.images[0]?.image_url : undefined;
  const batch = sitting.all.find(({ image }) => image.image_url === alone)?.batch;
  return sitting.all.filter((one) => one.batch === batch);
}

/** @param {Entry} entry */
function changed(entry) {
  receive(entry);
  if (entry.state === "waiting") draw();
  else ended(entry);
  if (entry !== watched || entry === scrolledTo || !entry.visible) return;
  scrolledTo = entry;
  comeIntoView();
}

/** @param {Entry} entry */
function ended(entry) {
  const { ask, literal, result, state, error } = entry;
  const isMine = belongsOnCard(entry);
  if (result && isMine) lay({ ask, ...result, missing: state === "done" ? "deleted" : "stopped" });
  if (state === "stopped") rest = "stopped";
  const isAtField = error !== null && complain(error, () => press(ask, literal));
  watched = watchedAfter(entry, isMine);
  draw();
  if (isMine && !isAtField) comeIntoView();
  if (result) kept = kept.then(() => handOn(ask, result));
}

/**
 * Adds pictures to the strip, and reports them, when the card's own can be seen: what that takes does not delay them.
 * @param {Ask} ask
 * @param {Result} result
 */
async function handOn(ask, result) {
  const picture = root.querySelector(".zi-pictures img");
  if (picture instanceof HTMLImageElement) await Promise.race([loaded(picture), pause(SOON)]);
  sitting.add(ask, result.images);
  draw();
  report(ask, result);
}

/**
 * Whether the pictures of a request that has ended go on the card: it was watched, nothing else was, or they were there
 * at once.
 * @param {Entry} entry
 */
const belongsOnCard = (entry) => entry === watched || (follows && !(watched && entry.visible));

/**
 * What is watched after *entry* has ended: the next one in its place. Beside pictures that were there at once, the others
 * go on without being watched.
 * @param {Entry} entry
 * @param {boolean} isMine
 */
function watchedAfter(entry, isMine) {
  if (entry === watched) return (follows && queue.entries.find(({ visible }) => visible)) || null;
  return isMine && entry.result ? null : watched;
}

/**
 * @param {Ask} ask
 * @param {Result} result
 */
function report(ask, { images }) {
  const pictures = images.filter((image) => image !== null);
  for (const listener of listeners) listener(ask, pictures);
}

/**
 * Shows an error: at its field, which is returned as true, or as a line above the card.
 * @param {Trouble} error
 * @param {() => void} [again]
 */
function complain(error, again) {
  if (fault.show(error)) return true;
  bar.show(error, again);
  return false;
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

/** Draws another seed of what is on the card, which the form may not say any more. */
function newSeed() {
  if (!shown || isOfForm(shown.ask)) form.roll(drawForm);
  else press({ ...shown.ask, seed: drawSeed(), cache: "use" }, true);
}

/** Whether the form says the request *ask*, apart from its seed and number. @param {Ask} ask */
function isOfForm(ask) {
  const same = { seed: 0, n: 1, cache: "use" };
  const [mine, its] = [
    { ...form.values, ...same },
    { ...spelled(settings({ ...ask })), ...same },
  ];
  return Object.keys(its).every((name) => own(mine, name) === own(its, name));
}

/** @param {Partial<Fields>} fields @param {string} name */
const own = (fields, name) => fields[/** @type {keyof Fields} */ (name)] || "";

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
  if (!shown?.images.includes(image)) return;
  const images = shown.images.map((other) => (other === image ? null : other));
  rest = "deleted";
  lay(images.some(Boolean) ? { ...shown, images, missing: "deleted" } : null);
  draw();
}

/**
 * The pictures of a key are deleted, or back.
 * @param {Gone} deleted
 * @param {boolean} gone
 */
function remove(deleted, gone) {
  if (gone) rest = "deleted";
  sitting.hide(deleted, gone);
  lay(shown);
  draw();
}

// ---- the strip and the rows of the queue ----

/**
 * Shows a picture of this sitting.
 * @param {Kept} first
 */
export function look(first) {
  turn += 1;
  follows = first === sitting.all.at(-1);
  put({ ask: first.ask, images: [first.image], warnings: [], missing: "deleted" });
}

/** Shows all pictures of the request that the one on the card belongs to; some may be gone. */
function showAll() {
  const [first] = together();
  if (!first) return;
  const all = sitting.of(first.batch);
  const ask = { ...first.ask, ...first.whole };
  const images = seedsOf(ask.seed, ask.n).map((seed) => all.find((one) => one.ask.seed === seed)?.image ?? null);
  put({ ask, images, warnings: [], missing: "deleted" });
}

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
 * @param {{ image?: string | undefined, file?: number | undefined, before?: Remembered["shown"] }} options
 */
async function lookUp(ask, { image, file, before } = {}) {
  turn += 1;
  const mine = turn;
  const found = await stored(ask, Boolean(before));
  // What was on the card before a reload does not replace what has ended since.
  if (mine !== turn || (before && shown)) return;
  if (!(found || image)) {
    tell(say("not_stored"));
    return;
  }
  const copy = { ...ask, image_url: image ?? "", source: "history", key: "", ...(file && { file }) };
  const result = found ?? { images: [copy], warnings: [] };
  if (before) {
    const images = result.images.map((one, i) => (before.places[i] === false ? null : one));
    lay({ ask, ...result, images, missing: before.missing });
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
 * *image* is the URL of a copy, the *file* of the history. *keep*: fields that the parameters do not name stay as they are, instead of becoming
 * the model's defaults; without a prompt no picture is looked up.
 * @param {Parameters} parameters
 * @param {{ image?: string, file?: number, keep?: boolean }} options
 * @returns {Promise<void>}
 */
export function restore(parameters, { image, file, keep = false } = {}) {
  const fields = keep ? givenFields(parameters) : { ...settings(parameters), n: 1 };
  mention(parameters.model);
  return new Promise((done) => {
    form.fill(spelled(fields), (whole) => {
      const ask = () => request({ ...whole, ...fields, n: 1, cache: "use" });
      done(keep && !fields.prompt ? undefined : attempt(() => lookUp(ask(), { image, file })));
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
  if (was) void attempt(() => lookUp(was.ask, { before: was }));
  [watched = null] = waited.map((one) => queue.resume(one));
  draw();
}

/** @returns {Remembered} */
function remembered() {
  const places = there?.images.map(Boolean) ?? [];
  const lasting = there && there.ask.cache !== "bypass" ? { ask: there.ask, missing: there.missing, places } : null;
  return { waited: queue.waited(), shown: lasting };
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
 * Registers a callback for the pictures of each request that has ended, and of each that was looked up.
 * @param {(ask: Ask, images: Picture[]) => void} listener
 */
export function onResult(listener) {
  listeners.push(listener);
}

/**
 * Registers a callback for the pictures on the card, called when they or the request that is watched have changed.
 * @param {(images: Picture[]) => void} watcher
 */
export function onShown(watcher) {
  watchers.push(watcher);
}

/** @param {KeyboardEvent} event */
function key(event) {
  const act = pageAct(event);
  // Dialogs have keys of their own, and what cannot be seen is neither started nor stopped.
  if (!act || document.querySelector("dialog[open], :popover-open") || !root.checkVisibility()) return;
  if (act === "generate") {
    event.preventDefault();
    if (!event.repeat) document.getElementById("zi-generate")?.click();
  } else if (!event.defaultPrevented) stop();
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
