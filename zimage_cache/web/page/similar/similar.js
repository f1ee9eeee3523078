// A row of the user's earlier pictures with prompts similar to the text being typed.
import { onResult, onShown, restore } from "../card/card.js";
import { onDeletion } from "../lib/deletion.js";
import { find, make } from "../lib/dom.js";
import { facts } from "../lib/facts.js";
import { form } from "../lib/form.js";
import { say } from "../lib/i18n.js";
import { server } from "../lib/server.js";
import { onSeen, seen } from "../lib/tabs.js";

/** @import { HistoryPicture } from "../lib/api.d.ts" */
/** @import { Picture } from "../lib/types.d.ts" */

const QUIET = 400; // ms without typing
const LEAST = 8; // characters; a Chinese one counts as two
const OFFERED = 6;

/** @param {string} words */
const weight = (words) => [...words].reduce((sum, letter) => sum + (letter >= "\u2e80" ? 2 : 1), 0);
/** @param {string} words */
const isLong = (words) => weight(words) >= LEAST;

/** @param {HTMLElement} root */
export function similar(root) {
  const strip = find(root, ".zi-similar");
  const row = find(strip, "ul");
  let text = ""; // the prompt in the form
  let asked = ""; // the prompt that the row was found for
  /** @type {HistoryPicture[]} */
  let found = [];
  /** @type {Set<number>} */
  const hidden = new Set(); // ids of pictures that are being deleted
  /** @type {Picture[]} */
  let shown = []; // on the card
  /** @type {AbortController | null} */
  let asking = null; // aborts the running request
  let quiet = 0;
  /** @type {WeakMap<HistoryPicture, HTMLElement>} */
  const items = new WeakMap(); // made once, so that a change of the card loads no thumbnail again

  /** @param {HistoryPicture[]} pictures */
  function show(pictures) {
    found = pictures;
    draw();
  }

  /**
   * Whether a picture is on the card. A copy from the history has no key there, but a URL.
   * @param {HistoryPicture} picture
   */
  const isShown = ({ key, image_url: url }) =>
    shown.some((image) => (image.key ? image.key === key : image.image_url === url));

  function draw() {
    const offered = found.filter((picture) => !(isShown(picture) || hidden.has(picture.id))).slice(0, OFFERED);
    row.replaceChildren(...offered.map(itemOf));
    strip.hidden = offered.length === 0;
  }

  /** @param {HistoryPicture} picture */
  function itemOf(picture) {
    const known = items.get(picture) ?? item(picture);
    items.set(picture, known);
    return known;
  }

  /** @param {HistoryPicture} picture */
  function item(picture) {
    const { prompt = "", seed } = picture.parameters;
    const image = make("img", {
      src: picture.thumbnail_url,
      alt: String(prompt),
      width: picture.width,
      height: picture.height,
    });
    const button = make("button", { type: "button", title: `${prompt}\n${say("seed")} ${seed ?? "–"}` }, image);
    // The picture was deleted meanwhile, so its suggestion is removed.
    image.addEventListener("error", () => show(found.filter((other) => other !== picture)));
    button.addEventListener(
      "click",
      () => void restore(picture.parameters, { image: picture.image_url, file: picture.id }),
    );
    return make("li", {}, button);
  }

  function drop() {
    clearTimeout(quiet);
    asking?.abort();
    asked = "";
    show([]);
  }

  async function ask() {
    clearTimeout(quiet);
    if (!isLong(text) || text === asked || !seen(root)) return;
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    asked = text;
    const limit = String(OFFERED + facts.limits.max_pictures); // those on the card are left out
    const wanted = new URLSearchParams({ similar: text.slice(0, facts.limits.max_query), limit });
    try {
      const { pictures } = await server.get(`/history?${wanted}`, { signal: mine.signal });
      if (!mine.signal.aborted) show(pictures);
    } catch {
      if (mine.signal.aborted) return;
      // Errors are ignored, because the row is optional; the next change sends a new request.
      asked = "";
      show([]);
    }
  }

  /** @param {string} prompt */
  function typed(prompt) {
    const now = prompt.trim();
    if (now === text) return;
    text = now;
    if (!isLong(text)) {
      drop();
      return;
    }
    clearTimeout(quiet);
    quiet = setTimeout(ask, QUIET);
  }

  form.changed((values) => typed(values.prompt ?? ""));
  typed(form.values.prompt ?? "");
  onSeen(root, () => void ask());
  // The pictures that were just drawn are among those that one has.
  onResult((_ask, images) => {
    if (!images.some(({ source }) => source === "generated")) return;
    asked = "";
    void ask();
  });
  onShown((images) => {
    shown = images;
    draw();
  });
  onDeletion({
    gone({ ids }) {
      for (const id of ids) hidden.add(id);
      draw();
    },
    back({ ids }) {
      for (const id of ids) hidden.delete(id);
      draw();
    },
  });
}
