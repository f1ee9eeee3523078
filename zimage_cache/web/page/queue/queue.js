// The rows of the queue: a request each, that has not ended and is not the only one on the card.
import { onCard, onShown, watch } from "../card/card.js";
import { shareOf, wordsOf } from "../card/progress.js";
import { find, glyph, make, setText, settle } from "../lib/dom.js";
import { say } from "../lib/i18n.js";
import { queue } from "../lib/queue.js";

/** @import { Entry } from "../lib/queue.js" */

/** @typedef {{ item: HTMLElement, words: HTMLElement, bar: HTMLElement, look: HTMLElement, picture: HTMLImageElement, text: HTMLElement, halt: HTMLElement }} Row */

/**
 * The row of a request.
 * @param {Entry} entry
 * @returns {Row}
 */
function rowOf(entry) {
  const words = make("span", { className: "zi-row-words" });
  const bar = make("span", { className: "zi-row-bar" });
  const picture = make("img", { alt: "", hidden: true });
  const text = make("span", { className: "zi-row-prompt" });
  const look = make("button", { type: "button", className: "zi-row-look" }, picture, text, words);
  const halt = make("button", { type: "button", className: "zi-tool", title: say("stop") }, glyph("close"));
  const item = make("li", {}, look, halt, bar);
  look.addEventListener("click", () => watch(entry));
  halt.addEventListener("click", () => {
    const heir = (item.nextElementSibling ?? item.previousElementSibling)?.querySelector(".zi-tool");
    queue.stop(entry);
    focusOn(heir);
  });
  return { item, words, bar, look, picture, text, halt };
}

/**
 * Moves the focus from a button that is gone; to Generate where its row was the last one.
 * @param {Element | null | undefined} heir
 */
function focusOn(heir) {
  const next = heir?.isConnected ? heir : document.querySelector("#zi-generate");
  if (next instanceof HTMLElement) next.focus();
}

/** @param {HTMLElement} root */
export function queueRows(root) {
  const section = find(root, ".zi-queue");
  const list = find(section, "ol");
  /** @type {Map<Entry, Row>} */
  const rows = new Map();

  /** @param {Entry} entry */
  function fill(entry) {
    const row = rows.get(entry) ?? rowOf(entry);
    rows.set(entry, row);
    const { prompt, n } = entry.ask; // alternatives in the prompt are decided after it was added
    row.look.title = prompt;
    setText(row.text, n > 1 ? `${n} × ${prompt}` : prompt);
    setText(row.words, wordsOf(entry));
    row.halt.setAttribute("aria-label", say("stop_this", { prompt: prompt.slice(0, 80) }));
    row.bar.style.width = `${shareOf(entry) ?? 0}%`;
    row.look.setAttribute("aria-current", String(entry === onCard()));
    const { preview } = entry.progress;
    row.picture.hidden = !preview;
    if (preview) row.picture.src = preview;
    return row.item;
  }

  function wanted() {
    const waiting = queue.entries.filter(({ visible }) => visible);
    return waiting.length === 1 && waiting[0] === onCard() ? [] : waiting;
  }

  function draw() {
    const shown = wanted();
    for (const entry of rows.keys()) if (!shown.includes(entry)) rows.delete(entry);
    settle(list, shown.map(fill));
    section.hidden = !shown.length;
    find(section, "h2").textContent = say("queue", { n: shown.length });
    find(section, ".zi-stop-all").hidden = shown.length < 2;
  }

  section.setAttribute("aria-label", say("queue_name"));
  find(section, ".zi-stop-all").addEventListener("click", () => {
    for (const entry of queue.entries) queue.stop(entry);
    focusOn(null);
  });
  queue.changed(draw);
  onShown(draw);
  draw();
}
