// Two pictures in a dialog: one over the other with a line to move between them, or side by side.
import { make } from "../lib/dom.js";
import { container } from "../lib/gradio.js";
import { say } from "../lib/i18n.js";

/** @import { Shown } from "../lib/types.d.ts" */

/**
 * @param {Shown} shown
 * @param {string} word
 */
function figure({ image_url: src, alt, seed, width, height }, word) {
  const picture = make("img", { src, alt, width, height, draggable: false });
  return make("figure", {}, picture, make("figcaption", { title: alt }, `${word} · ${say("seed")} ${seed}`));
}

/**
 * Opens the dialog with two pictures, of which *before* is on the left.
 * @param {Shown} before
 * @param {Shown} after
 */
export function compare(before, after) {
  const line = make("input", {
    type: "range",
    min: "0",
    max: "100",
    value: "50",
    aria: { label: say("compare_line") },
  });
  const both = make(
    "div",
    { className: "zi-both" },
    figure(before, say("compare_before")),
    figure(after, say("compare_after")),
    line,
  );
  const way = make("button", { type: "button", className: "zi-button zi-quiet" });
  const close = make("button", { className: "zi-button", autofocus: true }, say("close"));
  const foot = make("form", { method: "dialog", className: "zi-answers" }, way, close);
  const dialog = make("dialog", { className: "zi-compare", aria: { label: say("compare") } }, both, foot);

  /** @param {boolean} aside */
  function show(aside) {
    both.classList.toggle("zi-aside", aside);
    line.hidden = aside;
    way.textContent = say(aside ? "compare_slide" : "compare_aside");
  }

  const move = () => both.style.setProperty("--line", `${line.value}%`);
  line.addEventListener("input", move);
  way.addEventListener("click", () => show(!both.classList.contains("zi-aside")));
  // Clicks beside the dialog close it; keys of the page do nothing while it is open.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  dialog.addEventListener("close", () => dialog.remove());
  container().append(dialog);
  show(false);
  move();
  dialog.showModal();
}
