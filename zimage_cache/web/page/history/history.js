// The History tab: pictures, newest first. Reloads when it comes into view and after new results, not while hidden.
import { onResult, restore } from "../card/card.js";
import { facts } from "../lib/facts.js";
import { say } from "../lib/i18n.js";
import { keepKeys } from "../lib/keys.js";
import { refusal, server, why } from "../lib/server.js";
import { onSeen, openTab, seen } from "../lib/tabs.js";
import { viewer } from "../viewer/viewer.js";
import { galleryViews } from "./gallery.js";

/** @import { HistoryPage, HistoryPicture } from "../lib/api.d.ts" */
/** @import { Ask, Picture, Shown, Trouble } from "../lib/types.d.ts" */

/** @typedef {{ pictures: HistoryPicture[], query: string, cursor?: string | null }} Listed */

const PAGE = 48;
const TYPING = 300; // ms without typing before a search

/**
 * A picture for the viewer.
 * @param {HistoryPicture} picture
 * @returns {Shown}
 */
const shownOf = ({ image_url, name, width, height, parameters: { prompt, seed } }) => ({
  image_url,
  alt: prompt ? say("picture_alt", { prompt: String(prompt) }) : name,
  seed: typeof seed === "number" ? seed : "–",
  width,
  height,
});

/**
 * Whether the file was deleted since it was listed.
 * @param {HistoryPicture} picture
 */
async function isGone({ image_url }) {
  try {
    return (await fetch(image_url, { method: "HEAD", cache: "no-store" })).status === 404;
  } catch {
    return false; // an unreachable server is reported elsewhere
  }
}

/** @param {HTMLElement} root */
export function history(root) {
  const views = galleryViews(root, { pick, open, remove, unseen });
  /** @type {Listed} */
  let listed = { pictures: [], query: "", cursor: null };
  let loaded = false;
  /** @type {AbortController | null} */
  let asking = null; // aborts the running request
  let typing = 0;
  /** @type {HistoryPicture | null} */
  let doomed = null; // the picture in the confirmation dialog

  // ---- the list ----

  const query = () => views.search.value.trim();

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
    views.list({ ...listed, more: Boolean(listed.cursor) });
    // Observed again: an end that stays visible would not be reported again.
    bottom.unobserve(views.part("below"));
    bottom.observe(views.part("below"));
  }

  // Reloads from the top as many pictures as are listed now, so that the lower ones stay.
  async function refresh() {
    const wanted = query();
    const again = Math.min(facts.limits.max_listed, Math.max(PAGE, listed.pictures.length));
    const limit = String(wanted === listed.query ? again : PAGE);
    try {
      const found = await ask({ query: wanted, limit });
      if (!found) return;
      views.notice("");
      show({ ...found, query: wanted });
    } catch (error) {
      failed(refusal(error), wanted);
    }
  }

  async function more() {
    const { pictures, query: wanted, cursor } = listed;
    if (asking || !cursor) return;
    try {
      const found = await ask({ query: wanted, limit: String(PAGE), cursor }, true);
      if (!found) return;
      const known = new Set(pictures.map(({ id }) => id));
      show({ ...found, query: wanted, pictures: [...pictures, ...found.pictures.filter(({ id }) => !known.has(id))] });
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

  // ---- one picture ----

  /** @param {HistoryPicture} picture */
  function open(picture) {
    viewer.open(listed.pictures.map(shownOf), listed.pictures.indexOf(picture));
  }

  /** @param {HistoryPicture} picture */
  async function pick(picture) {
    if (!Object.keys(picture.parameters).length) {
      views.notice(say("history_bare_said", { name: picture.name }));
      open(picture);
      return;
    }
    const lost = await isGone(picture);
    openTab("create");
    // The settings are known, and the cache may still have the picture.
    void restore(picture.parameters, lost ? {} : { image: picture.image_url });
    if (lost) missed(picture);
  }

  /** @param {HistoryPicture} picture */
  function drop(picture) {
    const heir = views.neighbour(picture);
    const had = views.gallery.contains(document.activeElement);
    show({ ...listed, pictures: listed.pictures.filter(({ id }) => id !== picture.id) });
    if (had && !views.gallery.contains(document.activeElement)) heir.focus();
  }

  /**
   * The thumbnail failed to load: checks whether the file is missing or only cannot be shown.
   * @param {HistoryPicture} picture
   */
  async function unseen(picture) {
    if (await isGone(picture)) missed(picture);
    else views.unshown(picture);
  }

  /** @param {HistoryPicture} picture */
  function missed(picture) {
    drop(picture);
    views.notice(say("history_gone", { name: picture.name }));
  }

  /** @param {HistoryPicture} picture */
  function remove(picture) {
    doomed = picture;
    views.ask(picture);
  }

  async function reallyRemove() {
    const picture = doomed;
    if (!picture) return;
    views.asked("", true);
    let said = "history_deleted";
    try {
      await server.drop(`/history/${picture.id}`);
    } catch (error) {
      if (refusal(error).code !== "not_found") {
        views.asked(why(refusal(error)));
        return;
      }
      said = "history_gone";
    }
    // Determined before the dialog closes, because closing returns the focus to the element that is deleted.
    const heir = views.neighbour(picture);
    views.confirm.close();
    drop(picture);
    heir.focus();
    views.notice(say(said, { name: picture.name }));
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

  views.search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(refresh, TYPING);
  });
  views.search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    clearTimeout(typing);
    void refresh();
  });
  // On other tabs Esc stops a run and Ctrl+Enter starts one; not on this tab, where runs are not visible.
  views.gallery.addEventListener("keydown", keepKeys);
  for (const name of ["retry", "notice-retry"]) views.part(name).addEventListener("click", () => void refresh());
  views.part("more").addEventListener("click", () => void more());
  views.part("create").addEventListener("click", () => openTab("create"));
  views.part("clear").addEventListener("click", () => {
    views.search.value = "";
    views.search.focus();
    void refresh();
  });
  views.part("yes").addEventListener("click", () => void reallyRemove());
  views.part("no").addEventListener("click", () => views.confirm.close());
  views.confirm.addEventListener("click", (event) => void (event.target === views.confirm && views.confirm.close()));
  onResult(drawn);
  onSeen(root, () => void refresh());
}
