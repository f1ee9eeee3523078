// The actions of a finished picture: small labelled buttons with an icon, and values to copy.
import { administers } from "../lib/account.js";
import { copy } from "../lib/clipboard.js";
import { askDeletion } from "../lib/deletion.js";
import { glyph, loaded, make } from "../lib/dom.js";
import { downloads, fileName } from "../lib/download.js";
import { say } from "../lib/i18n.js";
import { link } from "../lib/link.js";
import { menuOf } from "../lib/menu.js";
import { server } from "../lib/server.js";
import { isStored, thumbnailOf } from "../lib/shown.js";
import { lately, putStar, starButton } from "../lib/star.js";

/** @import { Ask, Picture } from "../lib/types.d.ts" */

/** What the card does with a picture: *use* its settings. @typedef {{ use: (ask: Ask, seed: number) => void }} Does */

/** @param {string} word */
const labelled = (word) => ({ className: "zi-tool", title: say(word), aria: { label: say(word) } });

/**
 * @param {string} name
 * @param {string} word
 * @param {() => void} act
 */
function tool(name, word, act) {
  const button = make("button", { type: "button", ...labelled(word), dataset: { tool: name } }, glyph(name));
  button.addEventListener("click", act);
  return button;
}

/**
 * A value as a button that copies its whole text.
 * @param {string} name
 * @param {string} value
 * @param {string} whole
 */
export function fact(name, value, whole = value) {
  const label = say("copy_what", { what: name });
  const aria = { label: `${name} ${value}: ${label}` };
  const button = make("button", { type: "button", className: "zi-copy", title: label, aria }, value, glyph("copy"));
  button.addEventListener("click", () => void copy(whole, name));
  return make("div", { dataset: { fact: name } }, make("dt", {}, name), make("dd", {}, button));
}

// ---- the buttons of one picture ----

/**
 * The PNG by the button itself, other formats by a list that a second button opens.
 * @param {Picture} image
 */
function saveButtons(image) {
  const { image_url: href } = image;
  const save = make("a", { href, download: fileName(image), ...labelled("download") }, glyph("save"));
  save.classList.add("zi-download");
  if (!isStored(image)) return [save];
  const other = make(
    "button",
    { type: "button", ...labelled("download_formats"), dataset: { tool: "formats" } },
    glyph("down"),
  );
  return [
    make(
      "span",
      { className: "zi-split" },
      save,
      other,
      menuOf(other, () => downloads(image, true)),
    ),
  ];
}

/**
 * Shows whether *image* is starred; the server is asked once its pixels in *shown* are there, so as not to delay them.
 * @param {Picture} image
 * @param {HTMLImageElement} shown
 * @param {HTMLButtonElement} button
 */
async function askStarred(image, shown, button) {
  await loaded(shown);
  if (!(await administers())) return; // the server would refuse
  try {
    const entry = await server.get(`/cache/${image.key}`);
    image.pinned ??= entry.pinned;
    putStar(button, { key: image.key, pinned: lately(image.key) ?? entry.pinned });
  } catch {
    // The button stays as it is.
  }
}

/**
 * The buttons of a stored picture.
 * @param {Ask} ask
 * @param {Picture} image
 * @param {HTMLImageElement} shown
 */
function kept(ask, image, shown) {
  if (!isStored(image)) return [];
  const pinned = lately(image.key) ?? image.pinned;
  const button = starButton({ key: image.key, pinned: Boolean(pinned) }, "zi-tool");
  button.dataset.tool = "star";
  if (image.cached && pinned === undefined) void askStarred(image, shown, button);
  return [button, tool("delete", "delete", () => void removeAndGoOn(doomed(ask, image)))];
}

/** Deletes a picture; the focus goes from its button to a picture that stays. @param {Parameters<typeof askDeletion>[0]} it */
async function removeAndGoOn(it) {
  if (!(await askDeletion(it))) return;
  const heir = document.querySelector(".zi-pictures .zi-open") ?? document.querySelector("#zi-generate");
  if (heir instanceof HTMLElement) heir.focus();
}

/**
 * @param {Ask} ask
 * @param {Picture} image
 */
const doomed = ({ prompt }, image) => ({ key: image.key, alt: prompt, thumbnail_url: thumbnailOf(image) });

/**
 * The row of buttons of one picture of *ask*, whose pixels are in *shown*.
 * @param {Ask} ask
 * @param {Picture} image
 * @param {HTMLImageElement} shown
 * @param {Does} does
 */
export function tools(ask, image, shown, { use }) {
  return make(
    "div",
    { className: "zi-tools" },
    ...saveButtons(image),
    tool("link", "copy_link", () => void copy(link.of(ask, image.seed), say("link"))),
    tool("use", "use_settings", () => use(ask, image.seed)),
    ...kept(ask, image, shown),
  );
}
