// Deletes pictures: on the page at once, on the server after a few seconds, in which it can be undone.
//
// One deletion waits at a time: another one, and leaving the page, carry out the one before at once.
import { ask } from "../delete/delete.js";
import { administers } from "./account.js";
import { say } from "./i18n.js";
import { tell, withdraw } from "./notice.js";
import { Refused, refusal, server, why } from "./server.js";

/** @import { HistoryPicture } from "./api.d.ts" */

/**
 * A picture to delete. *files*: those of the history; without it, all files of the key. *cached*: the cache has it.
 * @typedef {object} Doomed
 * @property {string | null} key
 * @property {HistoryPicture[]} [files]
 * @property {string} alt
 * @property {string} thumbnail_url
 * @property {boolean} [cached]
 */
/**
 * What is gone, or back: *ids* are files of the history, *key* is "" where other files of that picture stay.
 * @typedef {{ key: string, ids: number[] }} Gone
 */
/** @typedef {{ gone: (gone: Gone) => void, back: (gone: Gone) => void }} Listener */

const SECONDS = 5;
const MOST = "200"; // files of one key
/** @type {Listener[]} */
const listeners = [];
/** @type {{ gone: Gone, paths: string[], timer: number } | null} */
let waiting = null;

/**
 * Registers a component that shows pictures.
 * @param {Listener} listener
 */
export function onDeletion(listener) {
  listeners.push(listener);
}

/**
 * Asks whether to delete a picture, and deletes it; returns whether.
 * @param {Doomed} doomed
 */
export async function askDeletion({ key, files, alt, thumbnail_url, cached = Boolean(key) }) {
  const all = await filesOf(key).catch(refusal);
  if (all instanceof Refused) {
    tell(why(all));
    return false;
  }
  const going = files ?? all;
  const others = files ? all.filter(({ id }) => !going.some((file) => file.id === id)).length : 0;
  const inCache = cached && (await administers());
  if (!(going.length || inCache)) {
    tell(say("delete_not_yours"));
    return false;
  }
  const name = going.length === 1 ? (going[0]?.name ?? "") : "";
  const answer = await ask({ alt, thumbnail_url, name, n: going.length, others, inCache });
  if (!answer) return false;
  const ids = going.map(({ id }) => id);
  const paths = [...ids.map((id) => `/history/${id}`), ...(answer.fromCache ? [`/cache/${key}`] : [])];
  remove({ key: others ? "" : (key ?? ""), ids }, paths);
  return true;
}

/**
 * @param {string | null} key
 * @returns {Promise<HistoryPicture[]>}
 */
async function filesOf(key) {
  if (!key) return [];
  const wanted = new URLSearchParams({ query: `key:${key}`, limit: MOST });
  return (await server.get(`/history?${wanted}`)).pictures;
}

/**
 * @param {Gone} gone
 * @param {string[]} paths
 */
function remove(gone, paths) {
  void finishDeletion();
  waiting = { gone, paths, timer: setTimeout(finishDeletion, SECONDS * 1000) };
  for (const listener of listeners) listener.gone(gone);
  tell(say("deleted"), { action: say("undo"), act: undo, seconds: SECONDS });
}

/** @param {Gone} gone */
function restore(gone) {
  for (const listener of listeners) listener.back(gone);
}

function undo() {
  if (!waiting) return;
  clearTimeout(waiting.timer);
  restore(waiting.gone);
  waiting = null;
  tell(say("undone"));
}

/**
 * Carries out the deletion that waits, if any. One that is refused is undone, with the reason.
 * @param {{ keepalive?: boolean }} options
 */
export async function finishDeletion(options = {}) {
  if (!waiting) return;
  const { gone, paths, timer } = waiting;
  waiting = null;
  clearTimeout(timer);
  withdraw();
  const ends = await Promise.allSettled(paths.map((path) => server.drop(path, options)));
  const refused = ends.flatMap((end) => (end.status === "rejected" ? [refusal(end.reason)] : [])).find(isTrouble);
  if (!refused) return;
  restore(gone);
  tell(say("delete_refused", { reason: why(refused) }));
}

/** What was gone already is no trouble. @param {Refused} refused */
const isTrouble = ({ code }) => code !== "not_found";

addEventListener("pagehide", () => void finishDeletion({ keepalive: true }));
