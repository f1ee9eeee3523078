// What a person chose on the page, in this browser: kept over visits, and the same in all of its tabs. Used before the
// first paint too, so nothing is imported here.

/**
 * *language* and *theme*: "" = the browser's, and the system's. *unnoted*: models whose note was closed.
 * @typedef {object} Preferences
 * @property {"" | "en" | "zh"} language
 * @property {"" | "light" | "dark"} theme
 * @property {boolean} notify
 * @property {boolean} sound
 * @property {string[]} unnoted
 */

const NAME = "zimage.preferences";
/** @type {Preferences} */
const DEFAULTS = { language: "", theme: "", notify: false, sound: false, unnoted: [] };
/** Values that may be chosen; all others in the browser's storage are of another version. */
const CHOICES = {
  language: ["", "en", "zh"],
  theme: ["", "light", "dark"],
  notify: [true, false],
  sound: [true, false],
};

/** @param {Record<string, unknown>} found */
function valid(found) {
  const known = Object.entries(CHOICES).filter(([name, choices]) =>
    /** @type {unknown[]} */ (choices).includes(found[name]),
  );
  const unnoted = Array.isArray(found.unnoted) ? found.unnoted.map(String) : [];
  return { ...DEFAULTS, ...Object.fromEntries(known.map(([name]) => [name, found[name]])), unnoted };
}

/**
 * If the browser's storage is disabled, the choices hold until the page is left.
 * @returns {Preferences}
 */
function read() {
  try {
    return valid(JSON.parse(localStorage.getItem(NAME) ?? "{}") ?? {});
  } catch {
    return DEFAULTS;
  }
}

/** @type {((now: Preferences) => void)[]} */
const listeners = [];
let now = read();

export const chosen = () => now;

/** @param {Preferences} next */
function take(next) {
  now = next;
  for (const listener of listeners) listener(now);
}

/** @param {Partial<Preferences>} choice */
export function prefer(choice) {
  const next = { ...now, ...choice };
  try {
    localStorage.setItem(NAME, JSON.stringify(next));
  } catch {
    // not kept
  }
  take(next);
}

/**
 * Calls *listener* after each change, in another tab too.
 * @param {(now: Preferences) => void} listener
 */
export const onPreferences = (listener) => void listeners.push(listener);

globalThis.addEventListener?.("storage", ({ key }) => void (key === NAME && take(read())));
