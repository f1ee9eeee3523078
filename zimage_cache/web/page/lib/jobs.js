// A job on the server: created once, followed by an event stream that reconnects by itself, cancelled by Stop. A page
// that is left does not cancel its job, because it may be a reload; the server keeps the job for a while.
import { loaded, pause } from "./dom.js";
import { facts } from "./facts.js";
import { listen } from "./listen.js";
import { refusal, server } from "./server.js";
import { isOver } from "./stream.js";

/** @import { Ask, Trouble } from "./types.d.ts" */
/** @import { JobState } from "./api.d.ts" */
/** @import { News } from "./stream.js" */

/**
 * Called until a state is final: `state`, or `lost` while the server cannot be reached; `gone` when it has no such job;
 * `failed` when it refuses.
 * @typedef {object} Callbacks
 * @property {(state: JobState) => void} state
 * @property {() => void} lost
 * @property {() => void} gone
 * @property {(error: Trouble) => void} failed
 */

/**
 * One job: `id` is null until the server has returned it.
 * @typedef {{ id: string | null, stop: () => void }} Job
 */

const AGAIN = 1000; // ms between attempts to reach the server
const SOON = 50; // ms that a result waits for its pictures

/**
 * Follows the job *id* and returns a function that stops following.
 * @param {string} id
 * @param {Callbacks} callbacks
 */
function follow(id, callbacks) {
  let over = false;
  /** @type {(() => void) | null} */
  let unlisten = null;
  let timer = 0;
  /** @type {number | null} */
  let since = null; // when the connection was lost

  function rest() {
    clearTimeout(timer);
    unlisten?.();
    unlisten = null;
  }

  function close() {
    over = true;
    rest();
    document.removeEventListener("visibilitychange", seen);
  }

  // A hidden page reconnects as long as the server keeps its job, and then not before it becomes visible.
  function suspended() {
    since ??= performance.now();
    if (!document.hidden || performance.now() - since < facts.limits.grace_ms) return false;
    rest();
    document.addEventListener("visibilitychange", seen);
    return true;
  }

  function seen() {
    if (document.hidden) return;
    document.removeEventListener("visibilitychange", seen);
    void poll();
  }

  /** @param {JobState} state */
  function receive(state) {
    if (over) return;
    since = null;
    if (isOver(state)) close();
    callbacks.state(state);
  }

  function gone() {
    close();
    callbacks.gone();
  }

  /** @param {News} news */
  function hear(news) {
    if (news === "gone") gone();
    else if (news === "lost" || news === "refused") interrupted(news === "refused");
    else receive(news.state);
  }

  /** @param {boolean} ended */
  function interrupted(ended) {
    callbacks.lost();
    if (suspended() || !ended) return;
    rest();
    void poll();
  }

  function open() {
    unlisten = listen(id, hear);
  }

  // `EventSource` gives no reason for a refused stream, and does not reconnect after it.
  async function poll() {
    try {
      receive(await server.get(`/jobs/${id}`));
      if (!over) timer = setTimeout(open, AGAIN);
    } catch (error) {
      if (!over) refused(refusal(error));
    }
  }

  /** @param {Trouble} error */
  function refused(error) {
    if (error.code === "not_found") gone();
    else if (["unauthorized", "forbidden"].includes(error.code)) {
      close();
      callbacks.failed(error);
    } else if (!suspended()) timer = setTimeout(poll, AGAIN);
  }

  open();
  return close;
}

/**
 * If this request does not reach the server, the job has no event stream, and is cancelled after a while.
 * @param {string} id
 */
const drop = (id) => void server.drop(`/jobs/${id}`, { keepalive: true }).catch(() => undefined);

/**
 * Loads the pictures of a *state* that is final, for a short while: where they are near, the card changes once, with
 * them, and the browser need not lay out the page twice.
 * @param {JobState} state
 */
async function withPictures(state) {
  if (!isOver(state)) return state;
  const pictures = (state.images ?? []).flatMap((image) => (image ? [image.image_url] : []));
  const images = pictures.map((src) => Object.assign(new Image(), { fetchPriority: "high", src }));
  await Promise.race([Promise.all(images.map(loaded)), pause(SOON)]);
  return state;
}

/**
 * Creates a job and follows it.
 * @param {Ask} ask
 * @param {Callbacks} callbacks
 * @returns {Job}
 */
export function startJob(ask, callbacks) {
  let stopped = false;
  /** @type {(() => void) | null} */
  let close = null;
  /** @type {Job} */
  const job = {
    id: null,
    stop() {
      stopped = true;
      close?.();
      // Without an id yet: cancelled as soon as it arrives. Aborting the POST could leave a job with an unknown id.
      if (job.id) drop(job.id);
    },
  };

  /** @param {JobState} state */
  function named(state) {
    job.id = state.id;
    if (stopped) {
      drop(state.id);
      return;
    }
    callbacks.state(state);
    if (!(isOver(state) || stopped)) close = follow(state.id, callbacks);
  }

  const asked = server.post("/jobs", ask).then(withPictures);
  asked.then(named, (error) => void (stopped || callbacks.failed(refusal(error))));
  return job;
}

/**
 * Follows an existing job.
 * @param {string} id
 * @param {Callbacks} callbacks
 * @returns {Job}
 */
export function resumeJob(id, callbacks) {
  const close = follow(id, callbacks);
  return {
    id,
    stop() {
      close();
      drop(id);
    },
  };
}
