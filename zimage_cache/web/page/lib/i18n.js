// The page's texts in the browser's language, and formatted numbers.
import { facts } from "./facts.js";

/** @import { Language } from "./types.d.ts" */

const asked = navigator.language || "en";
/** @type {Language} */
export const language = asked.toLowerCase().startsWith("zh") ? "zh" : "en";
/** The language as browsers name it. */
export const locale = language === "zh" ? "zh-CN" : englishOr("en-GB");
export const styles = facts.styles[language];
const strings = facts.strings[language];

/** @param {string} other */
function englishOr(other) {
  return asked.startsWith("en") ? asked : other;
}

/** @param {string} key */
export const has = (key) => key in strings;

/**
 * Returns a text with its {holes} filled; the key itself if there is no such text.
 * @param {string} key
 * @param {Record<string, string | number>} values
 */
export function say(key, values = {}) {
  return (strings[key] ?? key).replace(/\{(\w+)\}/gu, (hole, name) => (name in values ? String(values[name]) : hole));
}

/** @param {string | null | undefined} name */
export const styleTitle = (name) => styles.find(([, known]) => known === name)?.[0];

/** @param {number} seconds */
export function time(seconds) {
  if (seconds < 0.1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const AGES = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["week", 604_800],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];
const ages = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });

/**
 * Returns a number of seconds as a relative time: "3 min ago".
 * @param {number} seconds
 */
export function age(seconds) {
  const [unit, size] = AGES.find(([, each]) => seconds >= each) ?? ["second", 1];
  return ages.format(-Math.floor(seconds / size), unit);
}

/**
 * Sets the text of every [data-say] element below *root*.
 * @param {ParentNode} root
 */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-say]")) {
    element.textContent = say(element.getAttribute("data-say") ?? "");
  }
}
