// The requests of this tab that have not ended: each press adds one, and the server draws them in their order.
//
// A request is one `POST /jobs`. Its answer has the stored pictures; when some are missing, an event stream reports
// progress until they are finished.
import { finishDeletion } from "./deletion.js";
import { say } from "./i18n.js";
import { resumeJob, startJob } from "./jobs.js";
import { refusal } from "./server.js";
import { expanded } from "./settings.js";
import { stored } from "./stored.js";

/** @import { JobState } from "./api.d.ts" */
/** @import { Callbacks, Job } from "./jobs.js" */
/** @import { Ask, Picture, Result, Trouble, Waited } from "./types.d.ts" */

/**
 * A job's state, or before the first one {phase: "asking"}.
 * @typedef {Partial<Omit<JobState, "phase" | "preview">> & { phase: string, preview?: string | null | undefined }} Progress
 */
/**
 * A request. *literal*: the prompts of `ask` are expanded. *visible*: it takes long enough to be shown. *lost*: the
 * server cannot be reached. *result* has the finished pictures once it has ended, also where it was stopped or failed.
 * @typedef {object} Entry
 * @property {Ask} ask
 * @property {boolean} literal
 * @property {boolean} visible
 * @property {boolean} lost
 * @property {Progress} progress
 * @property {"waiting" | "done" | "stopped" | "failed"} state
 * @property {Result | null} result
 * @property {Trouble | null} error
 * @property {Set<string>} arrived addresses of the pictures that have been shown
 * @property {AbortController} looking
 * @property {Job | null} job
 */

const PATIENCE = 120; // ms before the page shows that a request runs: hits are faster
/** @type {Entry[]} */
let entries = [];
/** @type {((entry: Entry) => void)[]} */
const listeners = [];

/** @param {Entry} entry */
function tell(entry) {
  for (const listener of listeners) listener(entry);
}

/**
 * @param {Ask} ask
 * @param {boolean} literal
 * @returns {Entry}
 */
function begun(ask, literal) {
  /** @type {Entry} */
  const entry = {
    ask,
    literal,
    visible: false,
    lost: false,
    progress: { phase: "asking" },
    state: "waiting",
    result: null,
    error: null,
    arrived: new Set(),
    looking: new AbortController(),
    job: null,
  };
  entries = [...entries, entry];
  // Not before it is known to take a while: stored pictures appear without a change between.
  setTimeout(() => entry.state === "waiting" && !entry.visible && show(entry), PATIENCE);
  return entry;
}

/** @param {Entry} entry */
function show(entry) {
  entry.visible = true;
  tell(entry);
}

/**
 * Ends *entry*, with the pictures that it has by then.
 * @param {Entry} entry
 * @param {Exclude<Entry["state"], "waiting">} state
 * @param {Partial<Result>} last
 * @param {Trouble | null} error
 */
function end(entry, state, last, error = null) {
  if (entry.state !== "waiting") return;
  const images = last.images ?? [];
  const result = { images: /** @type {(Picture | null)[]} */ (images), warnings: last.warnings ?? [] };
  entries = entries.filter((other) => other !== entry);
  Object.assign(entry, { state, error, result: images.some(Boolean) ? result : null });
  tell(entry);
}

/**
 * @param {Entry} entry
 * @param {Trouble} error
 */
const fail = (entry, error) => end(entry, "failed", entry.progress, error);

/** @param {Entry} entry */
async function start(entry) {
  try {
    await finishDeletion(); // the picture may be the one that is asked for
    if (!entry.literal) entry.ask = await expanded(entry.ask, entry.looking.signal);
    entry.literal = true;
    if (entry.state === "waiting") entry.job = startJob(entry.ask, hearing(entry));
  } catch (error) {
    if (entry.state === "waiting") fail(entry, refusal(error));
  }
}

/**
 * @param {Entry} entry
 * @param {JobState} state
 */
function receive(entry, state) {
  const { preview, ...rest } = state;
  // Progress without a preview keeps the last one.
  entry.progress = { ...rest, preview: preview === undefined ? entry.progress.preview : preview };
  if (state.state === "done") end(entry, "done", state);
  else if (state.state === "failed" && state.error) fail(entry, state.error);
  else if (state.state === "cancelled") {
    fail(entry, state.error ?? { code: "cancelled", message: say("cancelled_text") });
  } else show(entry);
}

/**
 * The server has no such job any more. Its picture may have been finished, so it is looked up.
 * @param {Entry} entry
 */
async function settle(entry) {
  const found = entry.ask.cache === "use" ? await stored(entry.ask).catch(() => null) : null;
  if (found) end(entry, "done", found);
  else fail(entry, { code: "job_gone", message: say("error_job_gone_text") });
}

/**
 * @param {Entry} entry
 * @returns {Callbacks}
 */
function hearing(entry) {
  /** @param {() => void} act */
  function ours(act, lost = false) {
    if (entry.state !== "waiting") return;
    entry.lost = lost;
    act();
  }
  return {
    state: (state) => ours(() => receive(entry, state)),
    lost: () => ours(() => show(entry), true),
    gone: () => ours(() => void settle(entry)),
    failed: (error) => ours(() => fail(entry, error)),
  };
}

export const queue = {
  /** The requests that have not ended, the oldest first. */
  get entries() {
    return entries;
  },

  /**
   * Adds a request, and tells the listeners. *literal*: its prompts are expanded.
   * @param {Ask} ask
   */
  add(ask, literal = false) {
    const entry = begun(ask, literal);
    tell(entry);
    void start(entry);
    return entry;
  },

  /**
   * Goes on with a request from before a reload.
   * @param {Waited} waited
   */
  resume({ ask, literal, id }) {
    if (id === null) return queue.add(ask, literal);
    const entry = begun(ask, literal);
    entry.job = resumeJob(id, hearing(entry));
    show(entry);
    return entry;
  },

  /**
   * Cancels a request; its finished pictures stay.
   * @param {Entry} entry
   */
  stop(entry) {
    if (entry.state !== "waiting") return;
    entry.looking.abort();
    entry.job?.stop();
    end(entry, "stopped", entry.progress);
  },

  /** What a reload has to go on with. @returns {Waited[]} */
  waited: () => entries.map(({ ask, literal, job }) => ({ ask, literal, id: job?.id ?? null })),

  /**
   * Calls *listener* with each request that was added, has moved on, or has ended.
   * @param {(entry: Entry) => void} listener
   */
  changed(listener) {
    listeners.push(listener);
  },
};
