// The button that shows and hides the fields of "Advanced".
import { find } from "../lib/dom.js";

/** @param {HTMLElement} root */
export function advanced(root) {
  const button = find(root, "button");
  button.addEventListener("click", () => {
    const open = document.body.classList.toggle("zi-advanced-open");
    button.setAttribute("aria-expanded", String(open));
  });
}
