// Reads the settings of a picture that is dropped on the page, chosen or pasted, and offers to use them.
import { restore } from "../card/card.js";
import { addressOf } from "../lib/address.js";
import { find, inside, make } from "../lib/dom.js";
import { facts } from "../lib/facts.js";
import { form } from "../lib/form.js";
import { has, say, styleTitle } from "../lib/i18n.js";
import { keepKeys } from "../lib/keys.js";
import { Refused, server, why } from "../lib/server.js";
import { offered } from "../lib/settings.js";
import { openTab } from "../lib/tabs.js";
import { kindOf } from "./kinds.js";
import { ownPicture } from "./own.js";

/** @import { PngInfo } from "../lib/api.d.ts" */
/** @import { Parameters } from "../lib/types.d.ts" */

const LONG = ["prompt", "negative_prompt"];
/** @type {Record<string, string>} Media types of the kinds of files that carry settings. */
const TYPES = { PNG: "image/png", JPEG: "image/jpeg", WebP: "image/webp" };

/** @param {number} bytes */
const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/**
 * *file* under the type that its first bytes say, or the reason why it is not sent.
 * @param {File} file
 */
async function readable(file) {
  const most = facts.limits.png_bytes;
  if (file.size > most) return say("drop_too_large", { size: megabytes(file.size), most: `${most / 2 ** 20} MiB` });
  const kind = await kindOf(file);
  const type = kind && TYPES[kind];
  if (type) return file.slice(0, file.size, type);
  return kind ? say("drop_other_kind", { kind }) : say("drop_no_picture");
}

/** @param {string} path */
const nameIn = (path) => path.split("/").at(-1) ?? "";

/**
 * The stored file of the picture of this server at *path*, or *copy* where it cannot be had any more.
 * @param {string} path
 * @param {File | undefined} copy
 * @param {AbortSignal} signal
 */
async function original(path, copy, signal) {
  const answer = await fetch(addressOf(path), { signal }).catch(() => null);
  return answer?.ok ? new File([await answer.blob()], nameIn(path)) : copy;
}

/**
 * The text of an error. A folder, or a file that was deleted meanwhile, makes the browser throw.
 * @param {unknown} error
 */
function trouble(error) {
  if (!(error instanceof Refused)) return say("drop_unreadable");
  return error.code === "invalid_request" ? say("drop_damaged", { reason: error.reason ?? "" }) : why(error);
}

/**
 * What of *info* goes into the form, and what else there is to say about the file.
 * @param {PngInfo} info
 */
function usable({ parameters, notes }) {
  const { negative_prompt, width, height, ...rest } = parameters;
  const sides = [width, height].filter((side) => typeof side === "number");
  const model = offered(parameters.model) ? parameters.model : form.values.model;
  const { min_side: least = 0, max_side: most = Number.POSITIVE_INFINITY } = facts.models[model] ?? {};
  const fits = sides.every((side) => side >= least && side <= most);
  // Without guidance a negative prompt has no effect: then an empty one is no reason to remove what was typed.
  const avoided = negative_prompt || Number(parameters.guidance_scale) > 0;
  return {
    taken: { ...rest, ...(avoided ? { negative_prompt } : {}), ...(fits && sides.length ? { width, height } : {}) },
    about: fits ? notes : [...notes, say("drop_size", { width: `${width}`, height: `${height}`, least, most })],
  };
}

/** @param {Parameters} parameters */
function ordered(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined);
  const place = (/** @type {string} */ name) =>
    facts.fields.includes(name) ? facts.fields.indexOf(name) : facts.fields.length;
  return given.sort(([one], [other]) => place(one) - place(other));
}

/** @param {[string, unknown]} setting */
function setting([name, value]) {
  const written = (name === "style" && styleTitle(String(value))) || String(value) || say("drop_empty");
  const className = LONG.includes(name) ? "zi-drop-long" : "";
  return make("div", { className }, make("dt", {}, has(name) ? say(name) : name), make("dd", {}, written));
}

/**
 * @param {DragEvent} event
 * @param {string} type
 */
const carries = (event, type) => event.dataTransfer?.types.includes(type) ?? false;
/** @param {Event} event */
const isWritable = (event) => inside(event, "textarea, input:not([type=file]), [contenteditable]") !== null;

/** @param {HTMLElement} root */
export function drop(root) {
  const chooser = find(root, "input", HTMLInputElement);
  const panel = find(root, ".zi-drop-panel", HTMLDialogElement);
  const picture = find(panel, "img", HTMLImageElement);
  const frame = find(panel, "figure");
  /** @type {AbortController | null} */
  let reading = null; // aborts the running upload
  /** @type {{ parameters: Parameters, image: string | null } | null} */
  let found = null; // the settings offered
  let ours = false; // the dragged object comes from this page

  /** @param {string} name */
  const part = (name) => find(root, `.zi-drop-${name}`);

  // ---- reading ----

  /** How a file came: how many *others* with it, and whether it may be a browser's copy, which has pixels alone. */
  /** @typedef {{ isCopy?: "drop_silent_pasted" | "drop_silent_dragged" | null, others?: number }} How */

  /**
   * @param {File} given what the panel shows meanwhile
   * @param {How} how
   * @param {(signal: AbortSignal) => Promise<File | undefined>} load returns the file to read, if there is one
   */
  async function read(given, how = {}, load = () => Promise.resolve(given)) {
    reading?.abort();
    const mine = new AbortController();
    reading = mine;
    over(false);
    show("reading", given, say("drop_reading"));
    const file = await load(mine.signal);
    if (mine.signal.aborted) return;
    if (!file) {
      show("refused", given, say("drop_gone"));
      return;
    }
    try {
      const checked = await readable(file);
      if (mine.signal.aborted) return;
      if (typeof checked === "string") {
        show("refused", file, checked);
        return;
      }
      const info = await server.post("/png-info", checked, { signal: mine.signal });
      if (!mine.signal.aborted) tell(file, info, how);
    } catch (error) {
      if (!mine.signal.aborted) show("refused", file, trouble(error));
    }
  }

  /**
   * @param {File} file
   * @param {PngInfo} info
   * @param {How} how
   */
  function tell(file, info, { isCopy = null, others = 0 }) {
    const { taken, about } = usable(info);
    if (Object.keys(taken).length) {
      found = { parameters: taken, image: info.image_url };
      const tool = say("drop_from", { tool: say(`tool_${info.source}`) });
      show("found", file, others ? `${tool} ${say("drop_others", { n: others })}` : tool);
    } else if (info.source) {
      show("silent", file, say("drop_nothing", { tool: say(`tool_${info.source}`) }));
    } else {
      show("silent", file, say(isCopy ?? "drop_silent"));
    }
    note(about);
    if (!found) return;
    part("settings").replaceChildren(...ordered(taken).map(setting));
    part("cached").textContent = info.cached ? say("drop_cached") : "";
    if (info.image_url) look(info.image_url);
    part("use").focus();
  }

  // ---- the panel ----

  /**
   * @param {"reading" | "refused" | "silent" | "found"} view
   * @param {File} file
   * @param {string} text
   */
  function show(view, file, text) {
    if (view !== "found") found = null;
    panel.dataset.view = view;
    panel.setAttribute("aria-busy", String(view === "reading"));
    part("title").textContent = file.name || say("drop_pasted");
    part("text").textContent = text;
    if (view === "reading") look(URL.createObjectURL(file));
    note([]);
    if (!panel.open) panel.showModal();
  }

  /** @param {string[]} about */
  function note(about) {
    part("about").hidden = about.length === 0;
    part("notes").replaceChildren(...about.map((text) => make("li", {}, text)));
  }

  /** @param {string} address */
  function look(address) {
    forget();
    frame.hidden = false;
    picture.src = address;
  }

  function forget() {
    if (picture.src.startsWith("blob:")) URL.revokeObjectURL(picture.src);
  }

  function use() {
    if (!found) return;
    const { parameters, image } = found;
    panel.close();
    openTab("create");
    void restore(parameters, { keep: true, ...(image ? { image } : {}) });
  }

  // The `close` event is delayed: by then the panel may be open again, with another file.
  function closed() {
    if (panel.open) return;
    reading?.abort();
    found = null;
    forget();
    picture.removeAttribute("src");
  }

  // ---- drop, paste and choose ----

  /** @param {boolean} is */
  function over(is) {
    part("over").hidden = !is;
  }

  function startOwn() {
    ours = true;
  }

  function endOwn() {
    ours = false;
    over(false);
  }

  /** @param {DragEvent} event */
  function dragged(event) {
    const files = carries(event, "Files") && !ours;
    // Text may be dropped into text fields; a link dropped elsewhere would leave the page.
    if (!files && isWritable(event)) return;
    event.preventDefault();
    // Which address it is can be read only when it is dropped.
    const addresses = carries(event, "text/uri-list") && !ours;
    if (event.dataTransfer) event.dataTransfer.dropEffect = files || addresses ? "copy" : "none";
    over(files);
  }

  /** @param {DragEvent} event */
  function dropped(event) {
    over(false);
    const files = carries(event, "Files") && !ours;
    if (!files && isWritable(event)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.dataTransfer && !ours) receive(event.dataTransfer);
  }

  /** @param {DataTransfer} carried */
  function receive(carried) {
    const [file, ...others] = carried.files;
    const address = carried.getData("text/uri-list");
    const path = ownPicture(address, location.origin + addressOf("/"));
    const isCopy = address ? "drop_silent_dragged" : null;
    if (path) void read(file ?? new File([], nameIn(path)), { isCopy }, (signal) => original(path, file, signal));
    else if (file) void read(file, { isCopy, others: others.length });
  }

  /** @param {ClipboardEvent} event */
  function pasted(event) {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    // A clipboard that holds both text and a picture is pasted as text.
    if (!file || event.clipboardData?.types.includes("text/plain")) return;
    event.preventDefault();
    void read(file, { isCopy: "drop_silent_pasted" });
  }

  function chosen() {
    const [file] = chooser.files ?? [];
    if (file) void read(file);
    chooser.value = ""; // the same file may be chosen again
  }

  part("close").setAttribute("aria-label", say("close"));
  picture.addEventListener("error", () => {
    frame.hidden = true;
  });
  // In the capture phase, because Gradio's widgets have drop handlers too.
  window.addEventListener("dragenter", dragged, true);
  window.addEventListener("dragover", dragged, true);
  window.addEventListener("drop", dropped, true);
  window.addEventListener("dragleave", (event) => void (event.relatedTarget === null && over(false)), true);
  window.addEventListener("dragstart", startOwn, true);
  // A drag that ended outside the window has no event; the next pointer event shows it.
  for (const name of ["dragend", "pointermove"]) window.addEventListener(name, endOwn, true);
  document.addEventListener("paste", pasted);
  document.addEventListener("click", (event) => void (inside(event, ".zi-read-file") && chooser.click()));
  chooser.addEventListener("change", chosen);
  panel.addEventListener("close", closed);
  panel.addEventListener("click", (event) => void (event.target === panel && panel.close()));
  // Esc closes the panel; it must not stop a run as well.
  panel.addEventListener("keydown", keepKeys);
  part("close").addEventListener("click", () => panel.close());
  part("other").addEventListener("click", () => chooser.click());
  part("use").addEventListener("click", use);
}
