// One event stream of the server, `GET /jobs/events`, for the jobs of several listeners.
import { addressOf, withAddresses } from "./address.js";

/** @import { JobState } from "./api.d.ts" */

/**
 * What a listener is told of its job: its state; "gone" when the server has no such job; "lost" while the server cannot
 * be reached, which is tried again and again; "refused" when the server refuses the stream, which ends it.
 * @typedef {{ state: JobState } | "gone" | "lost" | "refused"} News
 */
/**
 * A job to follow. *quiet*: it is out of sight, so that its end is enough. *language*: of its texts for people; an
 * `EventSource` has the browser's, and one stream has one for all, that of the latest listener.
 * @typedef {{ id: string, quiet: boolean, language: string }} Followed
 */

const OVER = ["done", "failed", "cancelled"];

/** @param {JobState} state */
export const isOver = ({ state }) => OVER.includes(state);

export function jobStream() {
  /** @type {Map<object, Followed & { hear: (news: News) => void }>} */
  const listeners = new Map();
  /** @type {EventSource | null} */
  let source = null;
  let address = ""; // of the stream, without jobs that have ended

  function wanted() {
    const all = [...listeners.values()];
    const seen = new Set(all.flatMap(({ id, quiet }) => (quiet ? [] : [id])));
    const unseen = new Set(all.flatMap(({ id }) => (seen.has(id) ? [] : [id])));
    const language = all.at(-1)?.language;
    return all.length ? `/jobs/events?ids=${[...seen, ...unseen]}&quiet=${[...unseen]}&language=${language}` : "";
  }

  // The jobs of a stream cannot be changed: another one takes its place, and begins with the state of each.
  function renew() {
    const next = wanted();
    if (next === address) return;
    source?.close();
    address = next;
    source = next ? open(next) : null;
  }

  /** @param {string} there */
  function open(there) {
    const events = new EventSource(addressOf(there));
    events.addEventListener("state", ({ data }) => {
      const state = /** @type {JobState} */ (JSON.parse(data, withAddresses));
      tell(state.id, { state });
      if (isOver(state)) forget(state.id);
    });
    events.addEventListener("gone", ({ data }) => {
      const { id } = JSON.parse(data);
      tell(id, "gone");
      forget(id);
    });
    events.addEventListener("error", () => {
      const refused = events.readyState === EventSource.CLOSED;
      const all = [...listeners.values()];
      if (refused) {
        listeners.clear();
        renew();
      }
      for (const { hear } of all) hear(refused ? "refused" : "lost");
    });
    return events;
  }

  /**
   * @param {string} id
   * @param {News} news
   */
  function tell(id, news) {
    for (const listener of listeners.values()) if (listener.id === id) listener.hear(news);
  }

  // The server has sent the last of this job; the stream goes on for the others.
  /** @param {string} id */
  function forget(id) {
    for (const [key, listener] of listeners) if (listener.id === id) listeners.delete(key);
    if (listeners.size) address = wanted();
    else renew();
  }

  return {
    /**
     * Follows a job for the listener *key*, instead of what it followed before; the same again changes nothing.
     * @param {object} key
     * @param {Followed} followed
     * @param {(news: News) => void} hear
     */
    follow(key, followed, hear) {
      // A new listener has to be told the state, also of a job that another one follows already.
      if (listeners.get(key)?.id !== followed.id) address = "";
      listeners.set(key, { ...followed, hear });
      renew();
    },
    /** @param {object} key */
    leave(key) {
      if (listeners.delete(key)) renew();
    },
  };
}
