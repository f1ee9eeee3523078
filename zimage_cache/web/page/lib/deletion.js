// Deletes pictures: on the page at once, on the server after a few seconds, in which it can be undone.
//
// One deletion waits at a time: another one, and leaving the page, carry out the one before at once.
import { ask } from "../delete/delete.js";
import { administers } from "./account.js";
import { facts } from "./facts.js";
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
/** A request that deletes *part*. @typedef {{ path: string, part: Gone }} Path */

const SECONDS = 5;
/** @type {Listener[]} */
const listeners = [];
/** The deletion that can be undone. @type {{ gone: Gone, paths: Path[], timer: number } | null} */
let waiting = null;
/** Of the deletions that are carried out, one after the other. @type {Promise<void>} */
let carriedOut = Promise.resolve();
/** The answer to the dialog, while it is asked. @type {Promise<boolean> | null} */
let asking = null;

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
export function askDeletion(doomed) {
  asking ??= decide(doomed).finally(() => {
    asking = null;
  });
  return asking;
}

/** @param {Doomed} doomed */
async function decide({ key, files, alt, thumbnail_url, cached = Boolean(key) }) {
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
  const hides = answer.fromCache || !others ? (key ?? "") : "";
  const paths = ids.map((id) => ({ path: `/history/${id}`, part: { key: answer.fromCache ? "" : hides, ids: [id] } }));
  if (answer.fromCache) paths.push({ path: `/cache/${key}`, part: { key: hides, ids: [] } });
  remove({ key: hides, ids }, paths);
  return true;
}

/**
 * @param {string | null} key
 * @returns {Promise<HistoryPicture[]>}
 */
async function filesOf(key) {
  if (!key) return [];
  const wanted = new URLSearchParams({ query: `key:${key}`, limit: String(facts.limits.max_listed) });
  return (await server.get(`/history?${wanted}`)).pictures;
}

/**
 * @param {Gone} gone
 * @param {Path[]} paths
 */
function remove(gone, paths) {
  void finishDeletion();
  waiting = { gone, paths, timer: setTimeout(() => void finishDeletion(), SECONDS * 1000) };
  for (const listener of listeners) listener.gone(gone);
  tell(say("deleted"), { action: say("undo"), act: undo, seconds: SECONDS });
}

/**
 * The picture of *key* was drawn again: a deletion that waits leaves that in the cache.
 * @param {string} key
 */
export function spareDrawn(key) {
  if (waiting?.gone.key === key) waiting.paths = waiting.paths.filter(({ path }) => path !== `/cache/${key}`);
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
 * Carries out the deletion that waits, if any; fulfilled when all are carried out. What is refused is undone, with the
 * reason.
 * @param {{ keepalive?: boolean }} options
 */
export function finishDeletion(options = {}) {
  const mine = carryOut(options); // begun at once, for a page that is left
  carriedOut = carriedOut.then(() => mine);
  return carriedOut;
}

/** @param {{ keepalive?: boolean }} options */
async function carryOut(options) {
  if (!waiting) return;
  const { paths, timer } = waiting;
  waiting = null;
  clearTimeout(timer);
  withdraw();
  const ends = await Promise.allSettled(paths.map(({ path }) => server.drop(path, options)));
  const refused = ends.map((end) => (end.status === "rejected" ? refusal(end.reason) : null)).map(unlessGone);
  for (const [i, { part }] of paths.entries()) if (refused[i]) restore(part);
  const first = refused.find((reason) => reason !== null);
  if (first) tell(say("delete_refused", { reason: why(first) }));
}

/** What is not there is deleted. @param {Refused | null} reason */
const unlessGone = (reason) => (reason?.code === "not_found" ? null : reason);

addEventListener("pagehide", () => void finishDeletion({ keepalive: true }));
