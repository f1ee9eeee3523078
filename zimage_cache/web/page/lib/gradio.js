// All that the page's scripts know of Gradio's private DOM: where its widgets are, and repairs of them for keyboards and
// screen readers, applied again whenever Gradio redraws them. A new version of Gradio may need changes here, and in
// gradio.css.
import { find, setAttributes } from "./dom.js";
import { say } from "./i18n.js";

const GROUP = ".gradio-container fieldset.block";
/** The radio buttons of the styles. */
export const STYLE_TILES = "#zi-style > .wrap:not([data-testid])";

// ---- where things are ----

/** The element whose descendants our style sheets apply to. */
export const container = () => find(document, ".gradio-container");

/**
 * The input of the widget for a request's *field*; null before Gradio has drawn it.
 * @param {string} field
 * @returns {HTMLInputElement | null}
 */
export const inputOf = (field) => document.querySelector(`#zi-${field} input`);

/** Starts the event that applies the values queued for the form: the click of a hidden button. */
export const applyFills = () => document.getElementById("zi-fill")?.click();

export const TAB = '#zi-tabs [role="tab"]';

/** @param {string} name */
export const tabButton = (name) => find(document, `#zi-tab-${name}-button`);

// ---- our components ----

const PART = /(?:^| )zi-part-(\w+)/u;
/** @type {((element: HTMLElement, name: string) => void) | null} */
let added = null;

// Without waiting for a frame, which a hidden page does not have.
function findParts() {
  for (const element of document.querySelectorAll(".zi-part:not(:has(> *))")) {
    const name = PART.exec(element.className)?.[1];
    if (name) added?.(/** @type {HTMLElement} */ (element), name);
  }
}

/**
 * Calls *listener* with the element of each component, empty, when Gradio has added it to the page. Such an element is
 * one of Gradio's columns without children; see part.py.
 * @param {(element: HTMLElement, name: string) => void} listener
 */
export function whenPartAdded(listener) {
  added = listener;
  findParts();
}

// ---- repairs ----

/** @type {[string, (element: HTMLElement) => void][]} */
const repairs = [];
let isDue = false;

// Changes made by the repairs themselves do not start another round, which could repeat endlessly.
function repair() {
  isDue = false;
  for (const [selector, act] of repairs) {
    for (const element of document.querySelectorAll(selector)) act(/** @type {HTMLElement} */ (element));
  }
  observer.takeRecords();
}

function soon() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(repair);
}

/**
 * Calls *act* with every present and future element of *selector*, and again after changes; it must be idempotent.
 * @param {string} selector
 * @param {(element: HTMLElement) => void} act
 */
export function always(selector, act) {
  repairs.push([selector, act]);
  soon();
}

/** @param {Element | null} block */
const title = (block) => block?.querySelector('[data-testid="block-info"]')?.textContent?.trim() ?? "";

/**
 * Gradio gives each radio button a different name, again after each choice: then they are no group, arrow keys have no
 * effect, and Tab stops at every one.
 * @param {Element} fieldset
 */
function group(fieldset) {
  setAttributes(fieldset, { role: "radiogroup", "aria-label": title(fieldset) });
  for (const radio of fieldset.querySelectorAll('input[type="radio"]')) {
    setAttributes(radio, { name: `${fieldset.id}-choice` });
    radio.removeAttribute("aria-checked");
  }
}

/** @param {Element} range */
function slider(range) {
  const block = range.closest(".block");
  const field = title(block);
  const reset = say("reset_of", { field });
  setAttributes(range, { "aria-label": say("slider_of", { field }) });
  setAttributes(block?.querySelector('input[type="number"]') ?? null, { "aria-label": field });
  setAttributes(block?.querySelector(".reset-button") ?? null, { "aria-label": reset, title: reset });
}

/**
 * Disabled while no run can be stopped: marked for screen readers, and skipped by Tab.
 * @param {Element} button
 */
function stop(button) {
  const idle = !document.body.classList.contains("zi-busy");
  setAttributes(button, { "aria-disabled": String(idle), tabindex: idle ? "-1" : "0" });
}

/**
 * Groups are repaired before the next event; otherwise an arrow key pressed before the next frame would be lost.
 * @param {MutationRecord[]} records
 */
function changed(records) {
  const groups = records.map(({ target }) => (target instanceof Element ? target.closest(GROUP) : null));
  for (const fieldset of new Set(groups)) if (fieldset) group(fieldset);
  findParts();
  soon();
}

const observer = new MutationObserver(changed);
observer.observe(document.documentElement, {
  childList: true,
  characterData: true,
  attributeFilter: ["class", "name"],
  subtree: true,
});
always(GROUP, group);
always('.gradio-container input[type="range"]', slider);
always("#zi-stop", stop);
always('.zi-card [role="progressbar"]', (bar) => setAttributes(bar, { "aria-label": say("progress") }));
