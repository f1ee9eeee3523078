// From pressing Generate to the finished picture.
//
// One press is one request, `POST /jobs`. Its answer has the stored pictures; when some are missing, an event stream
// reports progress until they are finished.
import { find } from "../lib/dom.js";
import { form } from "../lib/form.js";
import { say } from "../lib/i18n.js";
import { resumeJob, startJob } from "../lib/jobs.js";
import { pageAct } from "../lib/keys.js";
import { link } from "../lib/link.js";
import { tell } from "../lib/notice.js";
import { isRandom, rolls, seedsOf } from "../lib/seeds.js";
import { Refused, refusal, server } from "../lib/server.js";
import { keepAsk, keptAsk } from "../lib/session.js";
import { expanded, givenFields, offered, request, settings, spelled } from "../lib/settings.js";
import { cardViews } from "./views.js";

/** @import { JobState, LookedUp } from "../lib/api.d.ts" */
/** @import { Callbacks, Job } from "../lib/jobs.js" */
/** @import { Opened } from "../lib/link.js" */
/** @import { Progress } from "./views.js" */
/** @import { Ask, Fields, Parameters, Picture, Remembered, Result, Trouble } from "../lib/types.d.ts" */

/**
 * The running request. *literal*: the prompts of its `ask` are expanded; *heard*: its job has said something.
 * @typedef {object} Running
 * @property {Ask | null} ask
 * @property {AbortController} looking
 * @property {boolean} literal
 * @property {boolean} heard
 * @property {Job | null} job
 */

const PATIENCE = 120; // ms before the page shows that a look-up runs: hits are faster
const NARROW = matchMedia("(max-width: 800px)");
/** @type {((ask: Ask, images: Picture[]) => void)[]} */
const listeners = [];
let turn = 0; // number of the latest request for the card; results of older ones are ignored
/** @type {Running | null} */
let current = null;
/** @type {Ask | null} */
let shown = null; // the request whose pictures are on the card
/** @type {HTMLElement} */
let root;
/** @type {ReturnType<typeof cardViews>} */
let views;

// ---- one request, from the button to the picture ----

/**
 * Ends the running request and makes *ask* the running one.
 * @param {Ask | null} ask
 * @returns {Running}
 */
function begin(ask) {
  giveUp();
  tell("");
  turn += 1;
  shown = null;
  current = { ask, looking: new AbortController(), literal: false, heard: false, job: null };
  return current;
}

/**
 * Shows the running request. Not before it is known to take a while: stored pictures appear without a change between.
 * @param {Ask} ask
 * @param {Progress} progress
 */
function showRunning(ask, progress) {
  document.body.classList.add("zi-busy");
  views.running(ask, progress);
}

/** @param {() => void} showEnd */
function end(showEnd) {
  current = null;
  document.body.classList.remove("zi-busy");
  showEnd();
  comeIntoView();
}

// Where the card is below the form, it is scrolled into view.
function comeIntoView() {
  if (NARROW.matches) root.scrollIntoView({ block: "start", behavior: "smooth" });
}

/**
 * @param {Ask} ask
 * @param {Result} answer
 */
function finish(ask, answer) {
  shown = ask;
  form.mark(null);
  end(() => views.result(ask, answer));
  const images = answer.images.flatMap((image) => (image ? [image] : []));
  for (const listener of listeners) listener(ask, images);
}

/** @param {Trouble} error */
function fail(error) {
  form.mark(error.field);
  end(() => views.failed(error));
}

function giveUp() {
  current?.looking.abort();
  current?.job?.stop();
  current = null;
}

/**
 * @param {Ask} ask
 * @param {boolean} literal
 */
async function draw(ask, literal = false) {
  const mine = begin(ask);
  form.mark(null);
  setTimeout(() => {
    if (mine !== current || mine.heard) return;
    showRunning(mine.ask ?? ask, { phase: "asking", preview: null });
    comeIntoView();
  }, PATIENCE);
  try {
    const whole = literal ? ask : await expanded(ask, mine.looking.signal);
    mine.ask = whole;
    mine.literal = true;
    if (mine === current) mine.job = startJob(whole, hearing(mine, whole));
  } catch (error) {
    if (mine === current) fail(refusal(error));
  }
}

/**
 * Callbacks that show a job's progress on the card, while no newer request has replaced it.
 * @param {Running} mine
 * @param {Ask} ask
 * @returns {Callbacks}
 */
function hearing(mine, ask) {
  /** @param {() => void} act */
  function ours(act) {
    if (mine !== current) return;
    const first = !mine.heard;
    mine.heard = true;
    act();
    if (first && mine === current) comeIntoView();
  }
  return {
    state: (state) => ours(() => show(ask, state)),
    lost: () => ours(() => views.lost(ask)),
    gone: () => ours(() => void settle(mine, ask)),
    failed: (error) => ours(() => fail(error)),
  };
}

/**
 * Shows the state of a job for *ask*.
 * @param {Ask} ask
 * @param {JobState} job
 */
function show(ask, job) {
  if (job.state === "done") finish(ask, job);
  else if (job.state === "failed" && job.error) fail(job.error);
  else if (job.state === "cancelled") fail(job.error ?? { code: "cancelled", message: say("cancelled_text") });
  else showRunning(ask, job);
}

/**
 * The server has no such job any more. Its picture may have been finished, so it is looked up.
 * @param {Running} mine
 * @param {Ask} ask
 */
async function settle(mine, ask) {
  const found = ask.cache === "use" ? await stored(ask).catch(() => null) : null;
  if (mine !== current) return;
  if (found) finish(ask, found);
  else fail({ code: "job_gone", message: say("error_job_gone_text") });
}

/**
 * Draws what the form says.
 * @param {Fields} values
 */
export function generate(values) {
  if (isRandom(values.seed) || rolls()) form.roll(press);
  else press(values);
}

/** @param {Fields} values */
function press(values) {
  try {
    void draw(request(values));
  } catch (error) {
    // In every case the previous request is ended.
    begin(null);
    fail(refusal(error));
  }
}

/** Ends the running request. */
export function stop() {
  if (!current) return;
  giveUp();
  end(views.stopped);
}

// ---- the buttons of a result ----

function newSeed() {
  form.roll(press);
}

function again() {
  if (shown) void draw({ ...shown, cache: "refresh" }, true);
}

/**
 * @param {Ask} ask
 * @param {number} seed
 */
function use(ask, seed) {
  form.fill(spelled(settings({ ...ask, seed, n: 1 })), () => tell(say("used")));
}

// The only picture on the card was deleted: the card becomes empty, also after a reload.
function forgotten() {
  shown = null;
  views.deleted();
}

// ---- settings from a link, a file, the history, or from before a reload ----

/**
 * The pictures of *ask*, all of which are stored; null when one is not any more, or while the model is loading.
 * @param {Ask} ask
 * @returns {Promise<Result | null>}
 */
async function fetched(ask) {
  try {
    return await server.post("/generate", { ...ask, cache: "only" });
  } catch (error) {
    if (error instanceof Refused && ["not_cached", "loading"].includes(error.code)) return null;
    throw error;
  }
}

/**
 * The stored pictures of *ask*; null when one is missing, or where *some* are enough, when all are, with null for each
 * missing one. Asked first by a look-up: browsers report an answer that is an error, such as "not stored".
 * @param {Ask} ask
 * @returns {Promise<Result | null>}
 */
async function stored(ask, some = false) {
  /** @type {LookedUp} */
  const { images: known } = await server.post("/lookup", ask);
  if (known.every(({ cached }) => cached)) return fetched(ask);
  if (!some) return null;
  const each = seedsOf(ask.seed, ask.n).map((seed, i) => (known[i]?.cached ? fetched({ ...ask, seed, n: 1 }) : null));
  const found = await Promise.all(each);
  const images = found.map((one) => one?.images[0] ?? null);
  return images.some(Boolean) ? { images, warnings: found.flatMap((one) => one?.warnings ?? []) } : null;
}

/**
 * Shows the stored pictures of *ask*, where *before* (it was on the card) also an incomplete set; else the copy at the
 * URL *image*; else a message that there is no picture.
 * @param {Ask} ask
 * @param {{ image?: string | undefined, before?: boolean }} options
 */
async function lookUp(ask, { image, before = false } = {}) {
  turn += 1;
  const mine = turn;
  const found = await stored(ask, before);
  if (mine !== turn) return;
  if (!(found || image)) {
    tell(say("not_stored"));
    return;
  }
  const copy = { ...ask, image_url: image ?? "", source: "history", key: "" };
  giveUp();
  finish(ask, found ?? { images: [copy], warnings: [] });
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

/**
 * Errors of such settings are shown on the card, unless it shows a running request.
 * @param {Trouble} error
 */
function complain(error) {
  if (current) tell(error.message);
  else fail(error);
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
function resume({ ask, literal, id, shown: was }) {
  if (was) void attempt(() => lookUp(ask, { before: true }));
  else if (id) {
    const mine = begin(ask);
    showRunning(ask, { phase: "asking", preview: null });
    mine.job = resumeJob(id, hearing(mine, ask));
  } else void draw(ask, literal);
}

/** @returns {Remembered | null} */
function remembered() {
  if (current?.ask) return { ask: current.ask, literal: current.literal, id: current.job?.id ?? null };
  return shown && shown.cache !== "bypass" ? { ask: shown, shown: true } : null;
}

// ---- connection with the page ----

/**
 * Registers a callback for every result shown.
 * @param {(ask: Ask, images: Picture[]) => void} listener
 */
export function onResult(listener) {
  listeners.push(listener);
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
  views = cardViews(element, { again, forgotten, newSeed, stop, use });
  document.addEventListener("keydown", key);
  addEventListener("hashchange", hashChanged);
  views.empty();
  void form.begun.then((read) => {
    keepAsk(remembered);
    if (read) opened(read);
    else if (keptAsk) resume(keptAsk);
  });
}
