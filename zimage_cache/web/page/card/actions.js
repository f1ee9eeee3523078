// The actions of a finished picture: small labelled buttons with an icon, and values to copy.
import { copy } from "../lib/clipboard.js";
import { glyph, loaded, make } from "../lib/dom.js";
import { container } from "../lib/gradio.js";
import { say } from "../lib/i18n.js";
import { link } from "../lib/link.js";
import { tell } from "../lib/notice.js";
import { refusal, server } from "../lib/server.js";

/** @import { Ask, Picture, Trouble } from "../lib/types.d.ts" */

/**
 * What the card does with a picture: *use* its settings, *remove* it from view.
 * @typedef {{ use: (ask: Ask, seed: number) => void, remove: (image: Picture) => void }} Does
 */

/** @param {string} word */
const labelled = (word) => ({ className: "zi-tool", title: say(word), aria: { label: say(word) } });

/**
 * @param {string} name
 * @param {string} word
 * @param {(button: HTMLButtonElement) => void} act
 */
function tool(name, word, act) {
  const button = make("button", { type: "button", ...labelled(word), dataset: { tool: name } }, glyph(name));
  button.addEventListener("click", () => act(button));
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

// ---- actions on the server ----

/** @param {Trouble} trouble */
function tellTrouble({ message, request_id: id }) {
  tell(id ? say("error_of_request", { message, id }) : message);
}

/**
 * @param {Picture} image
 * @param {HTMLElement} button
 */
async function pin(image, button) {
  const to = image.pinned ? "unpin" : "pin";
  try {
    image.pinned = (await server.post(`/cache/${image.key}/${to}`)).pinned;
    tell(say(image.pinned ? "pinned" : "unpinned"));
  } catch (error) {
    if (refusal(error).code === "not_found") tell(say("pin_unstored"));
    else tellTrouble(refusal(error));
  }
  showPinned(image, button);
}

/**
 * @param {Picture} image
 * @param {HTMLElement} button
 */
function showPinned(image, button) {
  const word = say(image.pinned ? "unpin" : "pin");
  button.title = word;
  button.setAttribute("aria-label", word);
  button.classList.toggle("zi-on", Boolean(image.pinned));
}

/**
 * @param {Picture} image
 * @param {Does["remove"]} remove
 */
async function drop(image, remove) {
  try {
    await server.drop(`/cache/${image.key}`);
    tell(say("deleted"));
  } catch (error) {
    if (refusal(error).code !== "not_found") {
      tellTrouble(refusal(error));
      return;
    }
    tell(say("deleted_before"));
  }
  remove(image);
}

/**
 * Deleting cannot be undone, so a dialog asks for confirmation; "Keep" has the focus.
 * @param {Picture} image
 * @param {Does["remove"]} remove
 */
function confirm(image, remove) {
  const keep = make("button", { className: "zi-button zi-quiet", value: "keep", autofocus: true }, say("delete_keep"));
  const yes = make("button", { className: "zi-button zi-danger", value: "delete" }, say("delete_do"));
  const form = make(
    "form",
    { method: "dialog" },
    make("h2", {}, say("delete_title")),
    make("p", {}, say(image.pinned ? "delete_pinned" : "delete_text")),
    make("div", { className: "zi-answers" }, keep, yes),
  );
  const dialog = make("dialog", { className: "zi-dialog", aria: { label: say("delete_title") } }, form);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (dialog.returnValue === "delete") void drop(image, remove);
  });
  container().append(dialog);
  dialog.showModal();
}

// ---- the buttons of one picture ----

/**
 * Only pictures stored under a key can be pinned or deleted.
 * @param {Picture} image
 */
const isStored = (image) => image.key !== "" && image.image_url.includes(image.key);

/** @param {Picture} image */
const fileName = (image) => `zimage_${image.key.slice(0, 8) || "picture"}_${image.seed}.png`;

/**
 * Shows whether *image* is pinned; the server is asked once its pixels in *shown* are there, so as not to delay them.
 * @param {Picture} image
 * @param {HTMLImageElement} shown
 * @param {HTMLElement} button
 */
async function askPinned(image, shown, button) {
  await loaded(shown);
  try {
    const entry = await server.get(`/cache/${image.key}`);
    image.pinned ??= entry.pinned;
    showPinned(image, button);
  } catch {
    // The button stays as it is.
  }
}

/**
 * The buttons of a stored picture.
 * @param {Picture} image
 * @param {HTMLImageElement} shown
 * @param {Does["remove"]} remove
 */
function kept(image, shown, remove) {
  if (!isStored(image)) return [];
  const button = tool("pin", "pin", () => void pin(image, button));
  showPinned(image, button);
  if (image.cached && image.pinned === undefined) void askPinned(image, shown, button);
  return [button, tool("delete", "delete", () => confirm(image, remove))];
}

/**
 * The row of buttons of one picture of *ask*, whose pixels are in *shown*.
 * @param {Ask} ask
 * @param {Picture} image
 * @param {HTMLImageElement} shown
 * @param {Does} does
 */
export function tools(ask, image, shown, { use, remove }) {
  const save = make("a", { href: image.image_url, download: fileName(image), ...labelled("download") }, glyph("save"));
  save.classList.add("zi-download");
  save.append(make("span", { className: "zi-tool-word" }, say("save")));
  const ownKey = ask.n > 1 && image.key ? [tool("key", "copy_key", () => void copy(image.key, say("key")))] : [];
  return make(
    "div",
    { className: "zi-tools" },
    save,
    tool("link", "copy_link", () => void copy(link.of(ask, image.seed), say("link"))),
    tool("use", "use_settings", () => use(ask, image.seed)),
    ...ownKey,
    ...kept(image, shown, remove),
  );
}
