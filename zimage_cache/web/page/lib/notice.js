// Short notices of a button's result: one line at the bottom of the window, announced by screen readers.
import { make } from "./dom.js";
import { container } from "./gradio.js";

const SECONDS = 6;
/** @type {HTMLElement | null} */
let line = null;
let timer = 0;

/**
 * Shows *text*; "" hides the line.
 * @param {string} text
 */
export function tell(text) {
  // Inside Gradio's container, so that its style sheet applies.
  line ??= container().appendChild(make("p", { className: "zi-told", role: "status" }));
  clearTimeout(timer);
  line.classList.toggle("zi-there", text !== "");
  if (text === "") return;
  line.textContent = text;
  timer = setTimeout(() => line?.classList.remove("zi-there"), SECONDS * 1000);
}
