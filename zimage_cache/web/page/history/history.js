// The History tab: pictures, newest first. Reloads when it comes into view and after new results, not while hidden.
import { onResult, restore } from "../card/card.js";
import { administers } from "../lib/account.js";
import { askDeletion, onDeletion } from "../lib/deletion.js";
import { facts } from "../lib/facts.js";
import { say } from "../lib/i18n.js";
import { isGone, refusal, server } from "../lib/server.js";
import { keepSearch, keptSearch } from "../lib/session.js";
import { onStar } from "../lib/star.js";
import { onSeen, openTab, seen } from "../lib/tabs.js";
import { viewer } from "../viewer/viewer.js";
import { galleryViews, words } from "./gallery.js";

/** @import { HistoryPage, HistoryPicture } from "../lib/api.d.ts" */
/** @import { Gone } from "../lib/deletion.js" */
/** @import { Ask, Picture, Shown, Trouble } from "../lib/types.d.ts" */

/** @typedef {Omit<HistoryPage, "total"> & { query: string, total: number | null }} Listed */

const PAGE = 48;
const TYPING = 300; // ms without typing before a search
const LOOK = 8000; // ms between looks for pictures of other tabs and programs

/**
 * A picture for the viewer.
 * @param {HistoryPicture} picture
 * @returns {Shown}
 */
function shownOf(picture) {
  const { image_url, thumbnail_url, name, width, height, parameters, key, cached, pinned } = picture;
  const { prompt, seed } = parameters;
  const alt = prompt ? say("picture_alt", { prompt: String(prompt) }) : name;
  const known = { key, cached, pinned, parameters, file: picture };
  return { image_url, thumbnail_url, alt, seed: typeof seed === "number" ? seed : "–", width, height, ...known };
}

/**
 * What tells whether a list has changed: how many pictures there are, and which is the newest.
 * @param {{ pictures: HistoryPicture[], total?: number | null }} page
 */
const signature = ({ pictures: [first], total }) => JSON.stringify([total, first?.id, first?.thumbnail_url]);

/** @param {HTMLElement} root */
export function history(root) {
  const views = galleryViews(root, { pick, open, remove, unseen });
  /** @type {Listed} */
  let listed = { pictures: [], query: "", cursor: null, total: null };
  let loaded = false;
  let last = ""; // the signature of the last answer from the top
  /** @type {Set<number>} */
  const hidden = new Set(); // ids of pictures that are being deleted
  /** @type {AbortController | null} */
  let asking = null; // aborts the running request
  let typing = 0;
  let looking = 0;

  // ---- the list ----

  const query = () => views.search.value.trim();
  /** The number of pictures in the whole list, without those that are deleted. @param {Listed} list */
  const seenTotal = ({ pictures, total }) =>
    total === null ? null : total - pictures.filter(({ id }) => hidden.has(id)).length;
  const visible = () => listed.pictures.filter(({ id }) => !hidden.has(id));

  /**
   * Returns null if a newer request has replaced this one.
   * @param {Record<string, string>} wanted
   * @param {boolean} atEnd
   * @returns {Promise<HistoryPage | null>}
   */
  async function ask(wanted, atEnd = false) {
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    views.busy(true, atEnd);
    try {
      const found = await server.get(`/history?${new URLSearchParams(wanted)}`, { signal: mine.signal });
      return mine.signal.aborted ? null : found;
    } catch (error) {
      if (mine.signal.aborted) return null;
      throw error;
    } finally {
      if (asking === mine) {
        asking = null;
        views.busy(false);
      }
    }
  }

  /** @param {Listed} next */
  function show(next) {
    listed = next;
    loaded = true;
    const pictures = visible();
    views.list({ ...next, pictures, total: seenTotal(next), more: Boolean(next.cursor) });
    // Observed again: an end that stays visible would not be reported again.
    bottom.unobserve(views.part("below"));
    bottom.observe(views.part("below"));
  }

  // Reloads from the top as many pictures as are listed now, so that the lower ones stay.
  async function refresh() {
    const wanted = query();
    const again = Math.min(facts.limits.max_listed, Math.max(PAGE, listed.pictures.length));
    const limit = String(wanted === listed.query ? again : PAGE);
    keepSearch(wanted);
    try {
      const found = await ask({ query: wanted, limit });
      if (!found) return;
      views.notice("");
      last = signature(found);
      show(withTail({ total: null, ...found, query: wanted }));
    } catch (error) {
      failed(refusal(error), wanted);
    }
  }

  /**
   * One answer has so many pictures at most; those that are listed below its last one stay.
   * @param {Listed} next
   * @returns {Listed}
   */
  function withTail(next) {
    const { query: before, pictures, cursor } = listed;
    const tail = pictures.slice(pictures.findIndex(({ id }) => id === next.pictures.at(-1)?.id) + 1);
    const isShorter = next.query === before && next.pictures.length === facts.limits.max_listed;
    if (!isShorter || tail.length === 0 || tail.length === pictures.length) return next;
    return { ...next, pictures: [...next.pictures, ...tail], cursor: cursor ?? null };
  }

  /** Adds the next pictures. */
  async function more() {
    const { pictures, query: wanted, cursor, total } = listed;
    if (asking || !cursor) return;
    try {
      const found = await ask({ query: wanted, limit: String(PAGE), cursor }, true);
      if (!found) return;
      const known = new Set(pictures.map(({ id }) => id));
      const fresh = found.pictures.filter(({ id }) => !known.has(id));
      show({ ...found, query: wanted, total, pictures: [...pictures, ...fresh] });
    } catch (error) {
      views.trouble(refusal(error));
    }
  }

  /**
   * After an error, the listed pictures stay, and the error is shown as one line.
   * @param {Trouble} error
   * @param {string} wanted
   */
  function failed(error, wanted) {
    if (loaded && (wanted === listed.query || error.code === "invalid_request")) views.trouble(error);
    else views.failed(error);
  }

  /** Reloads the list if other tabs or programs have changed it: asks for its first picture and their number only. */
  async function look() {
    if (asking || query() !== listed.query || !seen(root)) return;
    const wanted = new URLSearchParams({ query: listed.query, limit: "1" });
    const found = await server.get(`/history?${wanted}`).catch(() => null);
    if (found && !asking && found.pictures && signature(found) !== last) void refresh();
  }

  function lookNow() {
    clearInterval(looking);
    looking = setInterval(look, LOOK);
    void refresh();
  }

  // ---- one picture ----

  /** @param {HistoryPicture} picture */
  function open(picture) {
    const pictures = visible();
    const known = new Set(pictures.map(({ id }) => id));
    // What the list has loaded below those since, by scrolling, or the next page; null: not now.
    const further = async () => {
      const later = () => visible().slice(visible().findLastIndex(({ id }) => known.has(id)) + 1);
      if (!later().length) await more();
      const found = later();
      for (const { id } of found) known.add(id);
      return found.length || !listed.cursor ? found.map(shownOf) : null;
    };
    viewer.open(pictures.map(shownOf), pictures.indexOf(picture), { more: further, total: seenTotal(listed) });
  }

  /** @param {HistoryPicture} picture */
  async function pick(picture) {
    if (!Object.keys(picture.parameters).length) {
      views.notice(say("history_bare_said", { name: picture.name }));
      open(picture);
      return;
    }
    const lost = await isGone(picture.image_url);
    openTab("create");
    // The settings are known, and the cache may still have the picture.
    void restore(picture.parameters, lost ? {} : { image: picture.image_url, file: picture.id });
    if (lost) missed(picture);
  }

  /**
   * Lists the pictures again after *change*; a picture that had the focus and is gone leaves it to *heir*.
   * @param {() => void} change
   * @param {HTMLElement | undefined} heir
   */
  function list(change, heir) {
    const had = views.gallery.contains(document.activeElement);
    change();
    show(listed);
    if (had && !views.gallery.contains(document.activeElement)) heir?.focus();
  }

  /** @param {HistoryPicture} picture */
  function drop(picture) {
    list(() => {
      listed = { ...listed, pictures: listed.pictures.filter(({ id }) => id !== picture.id) };
      if (listed.total !== null) listed.total -= 1;
    }, views.neighbour(picture));
  }

  /**
   * The thumbnail failed to load: checks whether the file is missing or only cannot be shown.
   * @param {HistoryPicture} picture
   */
  async function unseen(picture) {
    if (await isGone(picture.image_url)) missed(picture);
    else views.unshown(picture);
  }

  /** @param {HistoryPicture} picture */
  function missed(picture) {
    drop(picture);
    views.notice(say("history_gone", { name: picture.name }));
  }

  /** @param {HistoryPicture} picture */
  async function remove(picture) {
    const { key, cached, name, thumbnail_url } = picture;
    const heir = views.neighbour(picture);
    const alt = words(picture) || name;
    if (await askDeletion({ key, files: [picture], cached, alt, thumbnail_url })) heir.focus();
  }

  /** @param {Gone} gone */
  function gone({ ids }) {
    const first = listed.pictures.find(({ id }) => ids.includes(id));
    for (const id of ids) hidden.add(id);
    if (first) list(() => undefined, views.neighbour(first));
  }

  /** @param {Gone} gone */
  function back({ ids }) {
    for (const id of ids) hidden.delete(id);
    if (loaded) show(listed);
  }

  // ---- when to reload ----

  /**
   * @param {Ask} asked
   * @param {Picture[]} images
   */
  function drawn(asked, images) {
    if (asked.cache === "bypass") return;
    if (seen(root) && images.some(({ source }) => source === "generated")) void refresh();
  }

  const bottom = new IntersectionObserver(([end]) => void (end?.isIntersecting && more()), { rootMargin: "400px" });

  views.search.value = keptSearch ?? "";
  views.showStarred();
  views.search.addEventListener("input", () => {
    views.showStarred();
    clearTimeout(typing);
    typing = setTimeout(refresh, TYPING);
  });
  views.search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    clearTimeout(typing);
    void refresh();
  });
  for (const name of ["retry", "notice-retry"]) views.part(name).addEventListener("click", () => void refresh());
  views.part("more").addEventListener("click", () => void more());
  views.part("create").addEventListener("click", () => openTab("create"));
  views.part("clear").addEventListener("click", () => {
    views.search.value = "";
    views.showStarred();
    views.search.focus();
    void refresh();
  });
  views.part("starred").addEventListener("click", () => {
    views.toggleStarred();
    void refresh();
  });
  void administers().then((may) => {
    views.part("starred").hidden = !may;
  });
  onDeletion({ gone, back });
  onStar(({ key, pinned }) => {
    for (const picture of listed.pictures) if (picture.key === key) picture.pinned = pinned;
  });
  onResult(drawn);
  onSeen(root, lookNow);
}
