// The page's texts in the chosen language or the browser's, and formatted numbers.
import { facts } from "./facts.js";
import { chosen } from "./preferences.js";

/** @import { Language } from "./types.d.ts" */

const own = navigator.language || "en";
/** The value of `navigator.language` for each choice. */
const CHOICES = { "": own, zh: "zh-CN", en: own.startsWith("en") ? own : "en-GB" };
const choice = chosen().language;
const asked = CHOICES[choice];
// Gradio takes the language of its own texts, and of those that labels.py gives it, from there.
if (choice) Object.defineProperty(navigator, "language", { value: asked, configurable: true });

/**
 * The language that the page has once *other* is chosen.
 * @param {keyof typeof CHOICES} other
 * @returns {Language}
 */
export const languageOf = (other) => (CHOICES[other].toLowerCase().startsWith("zh") ? "zh" : "en");

export const language = languageOf(choice);
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

const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const shares = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 });

/** @param {number} number */
export const count = (number) => whole.format(number);

/** @param {number} part */
export const share = (part) => shares.format(part);

const days = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });

/**
 * A date with its time of the day, as people write it.
 * @param {string | Date} when
 */
export const moment = (when) => days.format(new Date(when));

/**
 * A size as `zimage cache stats` writes it: 512 B, 1.2 GiB.
 * @param {number} size
 */
export function bytes(size) {
  const power = Math.min(4, Math.max(0, Math.floor(Math.log2(size || 1) / 10)));
  return `${(power ? tenths : whole).format(size / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/** Units of sums of times, with the seconds of one, and from how many seconds on. @type {[string, number, number][]} */
const SPANS = [
  ["days", 86_400, 172_800],
  ["hours", 3600, 5400],
  ["minutes", 60, 90],
  ["seconds", 1, 0],
];

/**
 * A sum of times in one unit: 0.4 s, 5 min, 3.2 h.
 * @param {number} seconds
 */
export function span(seconds) {
  const [unit, size] = SPANS.find(([, , least]) => seconds >= least) ?? ["seconds", 1];
  const n = seconds / size;
  return say(unit, { n: (n < 10 ? tenths : whole).format(n) });
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
