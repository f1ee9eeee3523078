// The list of all keys, and the keys that are pressed anywhere.
import { glyph, make } from "../lib/dom.js";
import { container } from "../lib/gradio.js";
import { say } from "../lib/i18n.js";
import { isTyping } from "../lib/keys.js";
import { list, pressed, SHORTCUTS, usable } from "./table.js";

/** @import { Shortcut } from "./table.js" */

const PATIENCE = 1500; // ms between two keys that belong together
const IS_MAC = /Mac|iP/u.test(navigator.platform);
/** @type {HTMLDialogElement | null} */
let dialog = null;
let first = { key: "", at: 0 };

/** @param {string} key */
function cap(key) {
  const name = key === "Ctrl" && IS_MAC ? "⌘" : key;
  return make("kbd", {}, name.length === 1 ? name.toUpperCase() : name);
}

/** @param {Shortcut} shortcut */
function row({ keys, does, inTurn = false }) {
  const between = inTurn ? ` ${say("key_then")} ` : " + ";
  const ways = keys.map((way) => make("span", {}, ...way.flatMap((key, i) => (i ? [between, cap(key)] : [cap(key)]))));
  return make("div", {}, make("dt", {}, ...ways), make("dd", {}, say(does)));
}

/** @param {[string, Shortcut[]]} group */
const group = ([title, shortcuts]) =>
  make("section", {}, make("h3", {}, say(title)), make("dl", {}, ...shortcuts.filter(usable).map(row)));

function close() {
  dialog?.close();
}

function made() {
  const title = make("h2", { id: "zi-shortcuts-title" }, say("shortcuts"));
  const button = make(
    "button",
    { type: "button", className: "zi-icon", title: say("close"), aria: { label: say("close") }, onclick: close },
    glyph("close"),
  );
  const head = make("header", {}, title, button);
  const box = make(
    "dialog",
    { className: "zi-sheet zi-shortcuts", aria: { labelledby: title.id } },
    head,
    make("div", { className: "zi-shortcuts-groups" }),
  );
  box.addEventListener("click", ({ target }) => void (target === box && close()));
  return container().appendChild(box);
}

export function openShortcuts() {
  dialog ??= made();
  dialog.querySelector(".zi-shortcuts-groups")?.replaceChildren(...SHORTCUTS.map(group));
  if (!dialog.open) dialog.showModal();
}

/** @param {KeyboardEvent} event */
function press(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const before = event.timeStamp - first.at < PATIENCE ? first.key : "";
  const now = event.key.toLowerCase();
  const found = (before && pressed(`${before} ${now}`)) || pressed(now);
  first = { key: found ? "" : now, at: event.timeStamp };
  if (!found?.act) return;
  event.preventDefault();
  found.act();
}

list.open = openShortcuts;
document.addEventListener("keydown", press);
