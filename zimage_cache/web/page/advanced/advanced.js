// The button that shows and hides the fields of "Advanced".
import { find } from "../lib/dom.js";
import { form } from "../lib/form.js";

/** @param {HTMLElement} root */
export function advanced(root) {
  const button = find(root, "button");

  /** @param {boolean} wanted */
  function open(wanted) {
    document.body.classList.toggle("zi-advanced-open", wanted);
    button.setAttribute("aria-expanded", String(wanted));
  }

  button.addEventListener("click", () => open(button.getAttribute("aria-expanded") === "false"));
  // A field with an error is visible.
  form.marked((field) => void (document.querySelector(`#zi-advanced #zi-${field}`) && open(true)));
}
