// Creates and finds elements, without HTML text. Text of users is added to the page through `make` and `textContent`
// only.
/** @import { Properties } from "./types.d.ts" */

/**
 * Creates an element. `dataset` and `aria` of *properties* are attributes, by their names after the dash; children that
 * are null or "" are left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Properties<HTMLElementTagNameMap[Tag]>} properties
 * @param {(Node | string | null)[]} children
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  const { dataset, aria = {}, ...plain } = properties;
  Object.assign(element, plain);
  Object.assign(element.dataset, dataset);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, String(value));
  element.append(...children.flatMap((child) => (child === null || child === "" ? [] : [child])));
  return element;
}

/**
 * Returns the first element of *selector* below *root*, which must be there and of *kind*.
 * @template {Element} [Kind=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => Kind} [kind]
 * @returns {Kind}
 */
export function find(root, selector, kind) {
  const found = root.querySelector(selector);
  if (!(found instanceof (kind ?? HTMLElement))) throw new Error(`the page has no such element: ${selector}`);
  return /** @type {Kind} */ (found);
}

/**
 * Returns the element of *selector* that *event* happened in, or null.
 * @param {Event} event
 * @param {string} selector
 */
export const inside = (event, selector) => (event.target instanceof Element ? event.target.closest(selector) : null);

/**
 * Fulfilled once *image* is loaded, or cannot be.
 * @param {HTMLImageElement} image
 * @returns {Promise<void>}
 */
export function loaded(image) {
  if (image.complete) return Promise.resolve();
  return new Promise((done) => {
    for (const end of ["load", "error"]) image.addEventListener(end, () => done(), { once: true });
  });
}

/**
 * Fulfilled after so many milliseconds.
 * @param {number} ms
 * @returns {Promise<void>}
 */
export const pause = (ms) => new Promise((done) => void setTimeout(done, ms));

/**
 * An icon: a mask in the colour of the text, see glyphs.css.
 * @param {string} name
 */
export const glyph = (name) => make("span", { className: `zi-glyph zi-glyph-${name}`, aria: { hidden: true } });

/**
 * Writes a text only when it changes: screen readers read some each time they are written, and observers are called.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Writes only attributes that change, so that no observer is called without need.
 * @param {Element | null} element
 * @param {Record<string, string>} attributes
 */
export function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element && element.getAttribute(name) !== value) element.setAttribute(name, value);
  }
}

/**
 * Puts the elements *wanted* into *parent*, in order; elements already in their place are not touched.
 * @param {Element} parent
 * @param {Element[]} wanted
 */
export function settle(parent, wanted) {
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const element of wanted) {
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
}
