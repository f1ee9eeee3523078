// The dialog before a picture is deleted: shows it, and says what goes.
import { make } from "../lib/dom.js";
import { container } from "../lib/gradio.js";
import { say } from "../lib/i18n.js";

/**
 * What is to go: *n* files of the history, beside which *others* of the same picture stay; *inCache*: the cache has the
 * picture, and this user may delete it there.
 * @typedef {{ alt: string, thumbnail_url: string, name: string, n: number, others: number, inCache: boolean }} Question
 */
/** Whether the picture goes from the cache too. @typedef {{ fromCache: boolean }} Answer */

/** @param {Question} question */
function goes({ n, others }) {
  if (!n) return say("delete_cache_only");
  const files = n === 1 ? say("delete_file") : say("delete_files", { n });
  return others ? `${files} ${others === 1 ? say("delete_other") : say("delete_others", { n: others })}` : files;
}

/** @param {string} url */
function thumbnail(url) {
  const image = make("img", { src: url, alt: "" });
  image.addEventListener("error", () => image.remove());
  return image;
}

/** @param {Question} question */
function what({ alt, thumbnail_url: url, name }) {
  const heading = make("h2", { id: "zi-delete-title" }, say("delete_title"));
  const lines = [make("p", { className: "zi-delete-words" }, alt), make("p", { className: "zi-delete-name" }, name)];
  return make("div", { className: "zi-delete-what" }, thumbnail(url), make("div", {}, heading, ...lines));
}

/**
 * "Keep" has the focus, so that Enter alone deletes nothing.
 * @param {Question} question
 * @returns {Promise<Answer | null>} null: nothing is to be deleted
 */
export function ask(question) {
  const tick = make("input", { type: "checkbox", checked: true });
  const also = make("label", { className: "zi-delete-also" }, tick, make("span", {}, say("delete_also_cache")));
  const keep = make("button", { className: "zi-button zi-quiet", autofocus: true }, say("delete_keep"));
  const yes = make("button", { className: "zi-button zi-danger" }, say("delete_do"));
  const form = make(
    "form",
    { method: "dialog" },
    what(question),
    make("p", { id: "zi-delete-goes" }, goes(question)),
    question.n && question.inCache ? also : null,
    make("div", { className: "zi-answers" }, keep, yes),
  );
  const aria = { labelledby: "zi-delete-title", describedby: "zi-delete-goes" };
  const dialog = make("dialog", { className: "zi-sheet zi-delete", aria }, form);
  container().append(dialog);
  dialog.showModal();
  return new Promise((answer) => {
    /** @param {boolean} is */
    function end(is) {
      dialog.close();
      dialog.remove();
      answer(is ? { fromCache: question.inCache && tick.checked } : null);
    }
    // Not after the event `close`, before which a key could reach the picture that is to be deleted.
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      end(event.submitter === yes);
    });
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      end(false);
    });
    dialog.addEventListener("click", (event) => void (event.target === dialog && end(false)));
    dialog.addEventListener("close", () => end(false));
  });
}
