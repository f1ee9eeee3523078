// Translates the server's messages, which are always English, to the page's language with `messages.toml`. A message
// without a translation is returned unchanged; the result is text, not HTML.
import { facts } from "./facts.js";
import { language, say } from "./i18n.js";

/**
 * @typedef {object} Pattern
 * @property {RegExp} pattern
 * @property {{ name: string, kind: string | undefined }[]} holes
 * @property {string} zh
 */

const SOLID = ["word", "field"]; // kinds of placeholders that match no spaces
const HAN = /\p{Script=Han}/u;
/**
 * Translations of a placeholder's text by kind; null: it cannot be, so the pattern does not fit the message.
 * @type {Record<string, (text: string) => string | null>}
 */
const fill = {
  word: (text) => text,
  field: (text) => (facts.fields.includes(text) ? say(text) : text),
  told: (text) => translated(text),
  any: (text) => translated(text) ?? text,
};
/** @type {Pattern[] | undefined} */
let messages;

/** @param {string} text */
const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/gu, "\\$&");

/** @param {[string, string]} message */
function compiled([en, zh]) {
  const [before = "", ...parts] = en.split(/\{(\w+)(?::(\w+))?\}/u);
  const holes = [];
  let source = escaped(before);
  for (let i = 0; i < parts.length; i += 3) {
    const [name = "", kind, after = ""] = parts.slice(i, i + 3);
    holes.push({ name, kind });
    source += `(${SOLID.includes(kind ?? "") ? "\\S" : "."}*?)${escaped(after)}`;
  }
  return { pattern: new RegExp(`^${source}$`, "su"), holes, zh };
}

/**
 * @param {string} zh
 * @param {Map<string, string>} values
 */
function written(zh, values) {
  return zh.replace(/( ?)\{(\w+)\}( ?)/gu, (_, before, name, after) => {
    const value = values.get(name) ?? "";
    return (HAN.test(value[0] ?? "") ? "" : before) + value + (HAN.test(value.at(-1) ?? "") ? "" : after);
  });
}

/**
 * @param {Pattern} pattern
 * @param {string} message
 */
function fitted({ pattern, holes, zh }, message) {
  const found = pattern.exec(message);
  if (!found) return null;
  const values = new Map();
  for (const [i, { name, kind }] of holes.entries()) {
    const part = found[i + 1] ?? "";
    const value = kind ? fill[kind]?.(part) : part;
    if (value === null) return null;
    values.set(name, value);
  }
  return written(zh, values);
}

/**
 * @param {string} message
 * @returns {string | null}
 */
function translated(message) {
  messages ??= facts.messages.map(compiled);
  for (const each of messages) {
    const found = fitted(each, message);
    if (found !== null) return found;
  }
  return null;
}

/**
 * @param {string | null | undefined} message
 * @returns {string}
 */
export const told = (message) => (language === "en" || !message ? (message ?? "") : (translated(message) ?? message));
