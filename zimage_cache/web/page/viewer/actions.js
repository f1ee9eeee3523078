// What can be done with the picture in the viewer: buttons, keys, and a panel with its prompt and settings.
import { compare } from "../compare/compare.js";
import { copy } from "../lib/clipboard.js";
import { askDeletion } from "../lib/deletion.js";
import { make } from "../lib/dom.js";
import { downloads, fileName } from "../lib/download.js";
import { form } from "../lib/form.js";
import { has, say } from "../lib/i18n.js";
import { link } from "../lib/link.js";
import { menuOf } from "../lib/menu.js";
import { tell } from "../lib/notice.js";
import { request, settings, spelled } from "../lib/settings.js";
import { putStar, star, starButton, unstar } from "../lib/star.js";
import { focusPrompt } from "../lib/tabs.js";
import { glyph } from "./glyphs.js";

/** @import { Parameters, Shown } from "../lib/types.d.ts" */
/** @import { Glyph } from "./glyphs.js" */

/** @typedef {{ close: () => void, before: () => Shown | undefined }} Viewer */

/** The settings in the panel, in order; the prompts are above them. */
const SETTINGS = ["style", "model", "steps", "guidance_scale", "sampler", "shift", "max_sequence_length"];

/**
 * @param {Glyph} name
 * @param {() => void} act
 */
function tool(name, act) {
  const button = make("button", { type: "button", ...labelled(name) }, glyph(name));
  button.addEventListener("click", act);
  return button;
}

/** @param {Glyph} name */
const labelled = (name) => ({
  className: `zi-viewer-${name}`,
  title: say(`viewer_${name}`),
  aria: { label: say(`viewer_${name}`) },
});

/**
 * @param {string} name
 * @param {string} value
 */
function copied(name, value) {
  const label = say("copy_what", { what: name });
  const button = make("button", { type: "button", title: label, aria: { label: `${value}: ${label}` } }, value);
  button.addEventListener("click", () => void copy(value, name));
  return button;
}

/**
 * A setting as a button that copies it.
 * @param {string} field
 * @param {unknown} value
 */
function setting(field, value) {
  const name = has(field) ? say(field) : field;
  return make("div", { dataset: { fact: field } }, make("dt", {}, name), make("dd", {}, copied(name, String(value))));
}

/** @param {Parameters | undefined} parameters */
const hasSettings = (parameters) => Boolean(parameters && Object.keys(parameters).length);

/**
 * What the panel says of a picture.
 * @param {Shown} picture
 */
function panelOf({ parameters = {}, seed, width, height, key, file }) {
  const prompts = ["prompt", "negative_prompt"].filter((field) => parameters[field]);
  const given = SETTINGS.filter((field) => parameters[field] != null && parameters[field] !== "");
  return [
    ...prompts.map((field) =>
      make("div", { className: "zi-viewer-words" }, ...worded(field, String(parameters[field]))),
    ),
    ...(hasSettings(parameters) ? [] : [make("p", {}, say("viewer_no_settings"))]),
    make(
      "dl",
      {},
      setting("seed", seed),
      setting("size", `${width}x${height}`),
      ...given.map((field) => setting(field, parameters[field])),
      ...(key ? [setting("key", key)] : []),
      ...(file ? [setting("viewer_file", file.name)] : []),
    ),
  ];
}

/**
 * @param {string} field
 * @param {string} text
 */
function worded(field, text) {
  const button = make("button", { type: "button", className: "zi-viewer-copy" }, say("viewer_copy"));
  button.setAttribute("aria-label", say("copy_what", { what: say(field) }));
  button.addEventListener("click", () => void copy(text, say(field)));
  return [make("h2", {}, say(field)), button, make("p", {}, text)];
}

/**
 * The actions on the picture that `show` was last called with.
 * @param {Viewer} viewer
 */
export function viewerActions({ close, before }) {
  /** @type {Shown | null} */
  let picture = null;

  const panel = make("aside", { className: "zi-viewer-panel", hidden: true, aria: { label: say("viewer_panel") } });
  const info = tool("info", togglePanel);
  info.setAttribute("aria-expanded", "false");
  const use = tool("use", applySettings);
  const starTool = starButton(null, "zi-viewer-star", glyph("star"));
  const comparison = tool("compare", compareBefore);
  const copyLink = tool("link", () => picture && void copy(linkOf(picture), say("link")));
  const save = make("a", labelled("download"), glyph("download"));
  const formats = make("button", { type: "button", ...labelled("formats") }, glyph("formats"));
  const list = menuOf(formats, () => (picture ? downloads(picture, Boolean(picture.cached)) : []));
  const remove = tool("remove", askToDelete);
  const bar = make(
    "div",
    { className: "zi-viewer-bar", aria: { label: say("viewer_actions") } },
    info,
    use,
    starTool,
    copyLink,
    comparison,
    make("span", { className: "zi-viewer-split" }, save, formats, list),
    remove,
  );
  bar.setAttribute("role", "group");

  /** @param {Shown} shown */
  const linkOf = ({ parameters, seed }) => link.of(request(settings(parameters ?? {})), Number(seed));

  function togglePanel() {
    panel.hidden = !panel.hidden;
    info.setAttribute("aria-expanded", String(!panel.hidden));
  }

  function applySettings() {
    if (!hasSettings(picture?.parameters)) return;
    const fields = { ...settings(picture?.parameters ?? {}), n: 1 };
    close();
    focusPrompt();
    form.fill(spelled(fields), () => tell(say("used")));
  }

  function changeStar() {
    if (starTool.hidden || !picture?.key) return;
    void (picture.pinned ? unstar(picture.key) : star(picture.key));
  }

  function compareBefore() {
    const other = before();
    if (other && picture) compare(other, picture);
  }

  function askToDelete() {
    if (!picture || remove.hidden) return;
    const { key = null, alt, parameters, image_url, thumbnail_url, file, cached } = picture;
    const about = { key, alt: String(parameters?.prompt || alt), thumbnail_url: thumbnail_url ?? image_url };
    void askDeletion(file ? { ...about, files: [file], cached: Boolean(cached) } : about);
  }

  return {
    bar,
    panel,
    /** What keys do, by their names. */
    keys: {
      i: togglePanel,
      u: applySettings,
      s: changeStar,
      l: () => copyLink.hidden || copyLink.click(),
      c: compareBefore,
      d: () => save.click(),
      Delete: askToDelete,
    },
    /** @param {Shown} shown */
    show(shown) {
      picture = shown;
      const known = hasSettings(shown.parameters);
      [use.hidden, copyLink.hidden] = [!known, !known];
      putStar(starTool, shown.key && shown.cached ? { key: shown.key, pinned: Boolean(shown.pinned) } : null);
      Object.assign(save, { href: shown.image_url, download: fileName(shown) });
      formats.hidden = !(shown.key && shown.cached);
      remove.hidden = !(shown.key || shown.file);
      comparison.hidden = !before();
      panel.replaceChildren(...panelOf(shown));
    },
  };
}
