// The view of the History tab: pictures by day, and a view for each state of the list; display only.
import { find, glyph, make, settle } from "../lib/dom.js";
import { facts } from "../lib/facts.js";
import { language, locale, say } from "../lib/i18n.js";
import { why } from "../lib/server.js";
import { putStar, starButton } from "../lib/star.js";

/** @import { HistoryPicture } from "../lib/api.d.ts" */
/** @import { Trouble } from "../lib/types.d.ts" */

/**
 * What happens to a picture; *unseen*: its thumbnail could not be loaded.
 * @typedef {Record<"pick" | "open" | "remove" | "unseen", (picture: HistoryPicture) => void>} Does
 */
/** *total*: of all pages, where the server has said it. */
/** @typedef {{ pictures: HistoryPicture[], query: string, more: boolean, total: number | null }} List */

const STARRED = /(?:^|\s)is[:：]starred(?=\s|$)/iu;

const dates = new Intl.DateTimeFormat(locale, { dateStyle: "full" });

/** @param {HistoryPicture} picture */
const hasSettings = (picture) => Object.keys(picture.parameters).length > 0;
/**
 * What a picture was drawn for; "" for a picture without settings.
 * @param {HistoryPicture} picture
 */
export const words = (picture) => String(picture.parameters.prompt || "").trim();
/**
 * The picture's aspect ratio, limited so that a very narrow one can still be clicked.
 * @param {HistoryPicture} picture
 */
const shape = ({ width, height }) => Math.min(2.4, Math.max(0.56, width / height || 1));
/** @param {Date} moment */
const midnight = (moment) => new Date(moment.getFullYear(), moment.getMonth(), moment.getDate()).getTime();

/** @param {number} day */
function dayName(day) {
  const now = new Date();
  if (day === midnight(now)) return say("history_today");
  now.setDate(now.getDate() - 1);
  return day === midnight(now) ? say("history_yesterday") : dates.format(day);
}

/** @param {List} list */
function countText({ pictures: { length }, query, more, total }) {
  const n = Math.max(length, total ?? 0);
  if (!n) return query ? say("history_found_none") : "";
  const kind = query ? "found" : "count";
  const one = n === 1 ? "_one" : "";
  return say(`history_${kind}${more && total === null ? "_more" : one}`, { n: n.toLocaleString(language) });
}

/**
 * @param {"history_open" | "history_remove"} name
 * @param {HistoryPicture} picture
 * @param {string} icon
 * @param {(picture: HistoryPicture) => void} does
 */
function act(name, picture, icon, does) {
  const button = make(
    "button",
    {
      type: "button",
      className: `zi-h-act zi-h-act-${icon}`,
      title: say(name, { name: "" }).trim(),
      aria: { label: say(name, { name: words(picture) || picture.name }) },
    },
    glyph(icon),
  );
  button.addEventListener("click", () => does(picture));
  return button;
}

/**
 * Only what is in the cache can have a star.
 * @param {HistoryPicture} picture
 */
const starred = ({ key, cached, pinned }) => (key && cached ? { key, pinned } : null);

/** @param {HistoryPicture} picture */
function thumbnail(picture) {
  const said = words(picture);
  return make("img", {
    src: picture.thumbnail_url,
    loading: "lazy",
    decoding: "async",
    draggable: false,
    width: picture.width,
    height: picture.height,
    alt: said ? say("picture_alt", { prompt: said }) : say("history_bare_alt", { name: picture.name }),
  });
}

/**
 * One picture of the list.
 * @param {HistoryPicture} picture
 * @param {Does} on
 */
function tile(picture, on) {
  const known = hasSettings(picture);
  const text = words(picture) || (known ? picture.name : `${picture.name} · ${say("history_bare")}`);
  const image = thumbnail(picture);
  const title = words(picture) || picture.name;
  const pick = make("button", { type: "button", className: "zi-h-pick", title }, image);
  const acts = [act("history_open", picture, "full", on.open), act("history_remove", picture, "bin", on.remove)];
  const star = starButton(starred(picture), "zi-h-act zi-h-star");
  const made = make(
    "li",
    { className: "zi-h-tile", dataset: { id: picture.id } },
    pick,
    star,
    make("span", { className: "zi-h-acts" }, ...acts),
    make("span", { className: known ? "zi-h-said" : "zi-h-said zi-h-bare" }, text),
  );
  made.style.setProperty("--ratio", String(shape(picture)));
  image.addEventListener("error", () => on.unseen(picture));
  pick.addEventListener("click", () => on.pick(picture));
  pick.addEventListener("keydown", (event) => void (event.key === "Delete" && on.remove(picture)));
  return made;
}

/**
 * @param {HTMLElement} root
 * @param {Does} on
 */
export function galleryViews(root, on) {
  const gallery = find(root, ".zi-history");
  const search = find(gallery, "input", HTMLInputElement);
  // A picture that stays listed keeps its element, so it is not loaded again and keeps the focus.
  /** @type {Map<string, HTMLElement>} */
  let tiles = new Map(); // by the picture's URL
  /** @type {Map<number, HTMLElement>} */
  let days = new Map(); // by midnight

  /** @param {string} name */
  const part = (name) => find(gallery, `.zi-h-${name}`);

  /** @param {string} name */
  function view(name) {
    gallery.dataset.view = name;
  }

  // ---- the list ----

  /**
   * The element of a picture that is listed already and can be shown.
   * @param {HistoryPicture} picture
   */
  function shown(picture) {
    const known = tiles.get(picture.image_url);
    return known?.classList.contains("zi-h-unshown") ? undefined : known;
  }

  /**
   * The section of a day with the tiles *own*.
   * @param {number} day
   * @param {Element[]} own
   */
  function dayOf(day, own) {
    const id = `zi-h-day-${day}`;
    const section =
      days.get(day) ??
      make(
        "section",
        { className: "zi-h-day", aria: { labelledby: id } },
        make("h2", { id }),
        make("ul", { className: "zi-h-row" }),
      );
    find(section, "h2").textContent = dayName(day);
    settle(find(section, "ul"), own);
    return section;
  }

  /** @param {HistoryPicture[]} pictures */
  function draw(pictures) {
    for (const picture of pictures) {
      const star = tiles.get(picture.image_url)?.querySelector(".zi-h-star");
      if (star instanceof HTMLButtonElement) putStar(star, starred(picture));
    }
    tiles = new Map(pictures.map((picture) => [picture.image_url, shown(picture) ?? tile(picture, on)]));
    /** @type {Map<number, Element[]>} */
    const byDay = new Map();
    for (const picture of pictures) {
      const day = midnight(new Date(picture.made));
      const own = tiles.get(picture.image_url);
      if (own) byDay.set(day, [...(byDay.get(day) ?? []), own]);
    }
    days = new Map([...byDay].map(([day, own]) => [day, dayOf(day, own)]));
    settle(part("days"), [...days.values()]);
  }

  /** @param {List} next */
  function list(next) {
    const { pictures, query, more } = next;
    draw(pictures);
    part("count").textContent = countText(next);
    part("none-title").textContent = say("history_none_title", { query });
    part("below").hidden = !more;
    const nothing = query ? "none" : "empty";
    view(pictures.length ? "list" : nothing);
  }

  /** @param {Trouble} error */
  function failed(error) {
    part("count").textContent = "";
    part("error-title").textContent = say(error.code === "unreachable" ? "error_unreachable" : "history_error_title");
    part("error-text").textContent = why(error);
    view("error");
  }

  /**
   * A line above the pictures: a notice.
   * @param {string} text
   */
  function notice(text) {
    part("notice-text").textContent = text;
    part("notice").classList.remove("zi-h-bad");
    part("notice-retry").hidden = true;
  }

  /**
   * A line above the pictures: an error.
   * @param {Trouble} error
   */
  function trouble(error) {
    const { code, field, reason } = error;
    // Without the field's name, because the search is right above.
    const text = (field === "query" && reason) || why(error);
    notice(code === "unreachable" ? `${say("error_unreachable")}. ${text}` : text);
    part("notice").classList.add("zi-h-bad");
    // Repeating an invalid request would not help.
    part("notice-retry").hidden = code === "invalid_request";
  }

  /**
   * @param {boolean} is
   * @param {boolean} more
   */
  function busy(is, more = false) {
    gallery.setAttribute("aria-busy", String(is));
    part("more").classList.toggle("zi-h-waits", is && more);
  }

  /**
   * The element that receives the focus of a deleted picture: the next picture, the previous one, or the search box.
   * @param {HistoryPicture} picture
   * @returns {HTMLElement}
   */
  function neighbour(picture) {
    const all = [...tiles.keys()];
    const at = all.indexOf(picture.image_url);
    const near = tiles.get(all[at + 1] ?? all[at - 1] ?? "");
    return near?.querySelector("button") ?? search;
  }

  // ---- search ----

  /** Shows whether the search is for starred pictures. */
  function showStarred() {
    const is = STARRED.test(search.value);
    part("starred").setAttribute("aria-pressed", String(is));
    part("starred").classList.toggle("zi-on", is);
  }

  /** Adds the term for starred pictures to the search, or takes it away. */
  function toggleStarred() {
    const without = search.value.split(STARRED).join("").trim();
    const is = part("starred").getAttribute("aria-pressed") === "true";
    search.value = is ? without : `${without} is:starred`.trim();
    showStarred();
  }

  search.maxLength = facts.limits.max_query;
  search.placeholder = say("history_search_hint");
  search.setAttribute("aria-label", say("history_search"));
  notice("");
  return {
    list,
    failed,
    notice,
    trouble,
    busy,
    neighbour,
    showStarred,
    toggleStarred,
    part,
    search,
    gallery,
    /**
     * For a file without a thumbnail: damaged, or too large.
     * @param {HistoryPicture} picture
     */
    unshown: (picture) => tiles.get(picture.image_url)?.classList.add("zi-h-unshown"),
  };
}
