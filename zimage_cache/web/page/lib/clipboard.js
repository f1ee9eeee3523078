// Copies text, also on pages over plain HTTP, which have no `navigator.clipboard`.
import { make } from "./dom.js";
import { say } from "./i18n.js";
import { tell } from "./notice.js";

/** @param {string} text */
async function modern(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // missing or refused
  }
}

/** @param {string} text */
function old(text) {
  const before = document.activeElement;
  const field = make("textarea", { value: text, readOnly: true, className: "zi-offstage" });
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (before instanceof HTMLElement) before.focus();
  return done;
}

/**
 * Copies *text* and shows a notice that names it *what*.
 * @param {string} text
 * @param {string} what
 */
export async function copy(text, what) {
  const done = (navigator.clipboard && (await modern(text))) || old(text);
  tell(done ? say("copied", { what }) : say("copy_refused", { text }));
}
