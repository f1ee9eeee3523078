// The page's tabs: opens one from a script, adds arrow keys, and calls listeners when an element becomes visible.
import { find, inside } from "./dom.js";
import { TAB, tabButton } from "./gradio.js";
import { step } from "./keys.js";
import { store, stored } from "./session.js";

/**
 * Moves the focus too, because the pressed button is on the tab that is hidden.
 * @param {string} name
 */
export function openTab(name) {
  const button = tabButton(name);
  button.click();
  button.focus({ preventScroll: true });
  window.scrollTo({ top: 0 });
}

const OPEN = "zimage.tab";

/** Opens the tab that was open before the reload. */
export function reopenTab() {
  const id = stored(OPEN);
  const tab = id ? document.getElementById(id) : null;
  if (tab?.matches(TAB) && tab.getAttribute("aria-selected") !== "true") tab.click();
}

document.addEventListener("click", (event) => {
  const tab = inside(event, TAB);
  if (tab) store(OPEN, tab.id);
});

/** Opens Create and goes to the prompt. */
export function focusPrompt() {
  openTab("create");
  // Gradio shows a tab after this task.
  requestAnimationFrame(() => find(document, "#zi-prompt textarea").focus());
}

/** @param {Element} root */
export const seen = (root) => !document.hidden && root.checkVisibility();

/**
 * Calls *listener* each time *root* becomes visible: its tab is opened, or the page is shown again.
 * @param {Element} root
 * @param {() => void} listener
 */
export function onSeen(root, listener) {
  let was = false;
  const look = () => {
    const is = seen(root);
    if (is && !was) listener();
    was = is;
  };
  // Also below the edge of the window: what counts is that its tab is open.
  new IntersectionObserver(look, { rootMargin: "1000%" }).observe(root);
  document.addEventListener("visibilitychange", look);
}

document.addEventListener("keydown", (event) => {
  const tab = inside(event, TAB);
  const all = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(TAB)]);
  const tabs = all.filter((each) => each.checkVisibility());
  const place = tab && step(event.key, tabs.indexOf(/** @type {HTMLElement} */ (tab)), tabs.length);
  const next = place === null ? undefined : tabs[place];
  if (!next) return;
  event.preventDefault();
  next.focus();
  next.click();
});
