// A line above the card with the last error, and what to do about it; the card stays as it is.
import { find } from "../lib/dom.js";
import { onHealth } from "../lib/health.js";
import { has, say } from "../lib/i18n.js";

/** @import { Trouble } from "../lib/types.d.ts" */

const ANSWERS = ["healthy", "sleeping", "loading"];
/** @type {HTMLElement | null} */
let line = null;
/** @type {{ error: Trouble, again: (() => void) | undefined } | null} */
let last = null;

/** @param {Trouble} error */
function title({ code, field }) {
  const words = has(`error_${code}`) ? say(`error_${code}`) : say("error_other");
  return field && has(field) ? say("error_about", { title: words, field: say(field) }) : words;
}

function draw() {
  if (!line) return;
  line.hidden = !last;
  if (!last) return;
  const { error, again } = last;
  const { code, message, field, reason, request_id: id } = error;
  find(line, ".zi-error-title").textContent = title(error);
  find(line, ".zi-error-text").textContent = (field && has(field) && reason) || message;
  find(line, ".zi-error-id").textContent = id ? `${say("request_id")} ${id} · ${code}` : code;
  // An invalid request would be refused again.
  find(line, ".zi-error-again").hidden = !again || code === "invalid_request";
}

export const bar = {
  /**
   * Shows an error until the next press; *again* asks once more.
   * @param {Trouble} error
   * @param {() => void} [again]
   */
  show(error, again) {
    last = { error, again };
    draw();
  },

  clear() {
    last = null;
    draw();
  },

  /** @param {HTMLElement} root */
  begin(root) {
    line = find(root, ".zi-error");
    const close = find(line, ".zi-error-close");
    close.title = say("dismiss");
    close.setAttribute("aria-label", say("dismiss"));
    close.addEventListener("click", bar.clear);
    find(line, ".zi-error-again").addEventListener("click", () => last?.again?.());
    // The line says that the server does not answer, and now it does.
    onHealth(({ status }) => last?.error.code === "unreachable" && ANSWERS.includes(status) && bar.clear());
    draw();
  },
};
