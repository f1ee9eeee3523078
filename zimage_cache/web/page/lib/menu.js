// A button that opens a list of links beside it, in the top layer: no frame around it cuts it off.
import { make } from "./dom.js";
import { step } from "./keys.js";

/** @typedef {{ word: string, href: string, download: string }} MenuItem */

const GAP = 6; // px between the button and the list
let made = 0;

/** @param {MenuItem} item */
const linkOf = ({ word, href, download }) => make("a", { href, download, role: "menuitem", tabIndex: -1 }, word);

/**
 * Below *button*, or above where there is no room; inside the window.
 * @param {HTMLElement} list
 * @param {HTMLElement} button
 */
function place(list, button) {
  const frame = button.getBoundingClientRect();
  const below = frame.bottom + GAP;
  const isRoom = below + list.offsetHeight <= innerHeight;
  list.style.top = `${isRoom ? below : Math.max(GAP, frame.top - GAP - list.offsetHeight)}px`;
  list.style.left = `${Math.max(GAP, Math.min(frame.left, innerWidth - GAP - list.offsetWidth))}px`;
}

/**
 * @param {KeyboardEvent} event
 * @param {HTMLElement} list
 */
function move(event, list) {
  if (event.key === "Tab") list.hidePopover();
  const links = /** @type {HTMLElement[]} */ ([...list.children]);
  const keys = { ArrowDown: "ArrowRight", ArrowUp: "ArrowLeft", Home: "Home", End: "End" };
  const at = links.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const next = step(keys[/** @type {keyof typeof keys} */ (event.key)] ?? "", at, links.length);
  // Neither the page nor the viewer has a use for keys while the list is open; Esc is the browser's.
  event.stopPropagation();
  if (next === null) return;
  event.preventDefault();
  links[next]?.focus();
}

/**
 * Lets *button* open a list of what *entries* returns then; returns the list, which belongs right behind the button.
 * @param {HTMLButtonElement} button
 * @param {() => MenuItem[]} entries
 */
export function menuOf(button, entries) {
  made += 1;
  const list = make("div", { id: `zi-menu-${made}`, className: "zi-links", popover: "auto", role: "menu" });
  list.setAttribute("aria-label", button.title);
  button.popoverTargetElement = list;
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  list.addEventListener("beforetoggle", ({ newState }) => {
    if (newState === "open") list.replaceChildren(...entries().map(linkOf));
  });
  list.addEventListener("toggle", ({ newState }) => {
    button.setAttribute("aria-expanded", String(newState === "open"));
    if (newState !== "open") return;
    place(list, button);
    /** @type {HTMLElement | null} */ (list.firstElementChild)?.focus();
  });
  list.addEventListener("keydown", (event) => move(event, list));
  list.addEventListener("click", () => list.hidePopover());
  return list;
}
