// A line above the card with the last error, and what to do about it; the card stays as it is.
import { find } from "../lib/dom.js";
import { onHealth } from "../lib/health.js";
import { has, say } from "../lib/i18n.js";

/** @import { Trouble } from "../lib/types.d.ts" */

const ANSWERS = ["healthy", "sleeping", "loading"];
/** @type {HTMLElement | null} */
let line = null;
/** The error that is shown. @type {Trouble | null} */
let last = null;
/** What asks again for each request that has failed since the last press. @type {(() => void)[]} */
let retries = [];
let wasGone = false; // whether the server did not answer since the error

/** @param {Trouble} error */
function title({ code, field }) {
  const words = has(`error_${code}`) ? say(`error_${code}`) : say("error_other");
  return field && has(field) ? say("error_about", { title: words, field: say(field) }) : words;
}

function draw() {
  if (!line) return;
  line.hidden = !last;
  if (!last) return;
  const { code, message, field, reason, request_id: id } = last;
  find(line, ".zi-error-title").textContent = title(last);
  find(line, ".zi-error-text").textContent = (field && has(field) && reason) || message;
  find(line, ".zi-error-id").textContent = id ? `${say("request_id")} ${id} · ${code}` : code;
  const again = find(line, ".zi-error-again");
  again.hidden = !retries.length;
  again.textContent = retries.length > 1 ? say("try_all_again", { n: retries.length }) : say("try_again");
}

function tryAgain() {
  const all = retries;
  bar.clear();
  for (const again of all) again();
}

/** The server is back: what it did not hear is asked again. @param {{ status: string }} health */
function heard({ status }) {
  if (last?.code !== "unreachable") return;
  if (status === "unreachable") wasGone = true;
  else if (wasGone && ANSWERS.includes(status)) tryAgain();
}

export const bar = {
  /**
   * Shows an error until the next press; *again* asks once more. An invalid request would be refused again.
   * @param {Trouble} error
   * @param {() => void} [again]
   */
  show(error, again) {
    last = error;
    if (again && error.code !== "invalid_request") retries = [...retries, again];
    draw();
  },

  clear() {
    [last, retries, wasGone] = [null, [], false];
    draw();
  },

  /** @param {HTMLElement} root */
  begin(root) {
    line = find(root, ".zi-error");
    const close = find(line, ".zi-error-close");
    close.title = say("dismiss");
    close.setAttribute("aria-label", say("dismiss"));
    close.addEventListener("click", bar.clear);
    find(line, ".zi-error-again").addEventListener("click", tryAgain);
    onHealth(heard);
    draw();
  },
};
