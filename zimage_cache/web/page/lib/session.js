// Keeps a browser tab's form, and the request that it shows or waits for, over a reload.
//
// The request is stored only when the page is left: a duplicated tab must not find the job of the original one, and
// cancel it.
/** @import { Kept, KeptForm, Remembered } from "./types.d.ts" */

const FORM = "zimage.form";
const ASK = "zimage.ask";
const SITTING = "zimage.sitting";
const SEARCH = "zimage.search";
const USER = "zimage.user"; // whose the kept values are
const NEXT = "zimage.next"; // who has signed in since, as typed on the page to sign in on

let isLeft = false; // whether the user has signed out: nothing is kept any more

/**
 * If the browser's storage is full or disabled, values are neither found nor kept, without an error.
 * @param {string} name
 */
export function stored(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {string | null} text
 */
export function store(name, text) {
  try {
    if (isLeft && text !== null) return;
    if (text === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, text);
  } catch {
    // not kept
  }
}

/** @param {string} name */
function read(name) {
  try {
    const value = JSON.parse(stored(name) ?? "null");
    return value && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {object | null} value
 */
const write = (name, value) => store(name, value && JSON.stringify(value));

/** Removes what the tab keeps of another user, whose session has ended by itself. */
function dropOther() {
  const [user, next] = [USER, NEXT].map((name) => stored(name)?.trim().normalize());
  if (user && next && user !== next) for (const name of [FORM, ASK, SEARCH, SITTING]) store(name, null);
}

dropOther();
/**
 * The form before the reload; null in a new tab.
 * @type {Partial<KeptForm> | null}
 */
export const keptForm = read(FORM);
/**
 * The card and the queue before the reload.
 * @type {Remembered | null}
 */
export const keptAsk = read(ASK);
/**
 * The pictures of this sitting.
 * @type {Kept[] | null}
 */
export const keptSitting = read(SITTING);
/** The search in the history before the reload. */
export const keptSearch = stored(SEARCH);
/** @type {() => Remembered | null} */
let asked = () => keptAsk;

let form = { ...keptForm };

/**
 * Keeps these parts of the form, beside those kept before.
 * @param {Partial<KeptForm>} parts
 */
export function keepForm(parts) {
  form = { ...form, ...parts };
  write(FORM, form);
}

/** @param {Kept[]} pictures */
export const keepSitting = (pictures) => write(SITTING, pictures);

/** @param {string} query */
export const keepSearch = (query) => store(SEARCH, query || null);

/**
 * *source* returns the value to keep when the page is left.
 * @param {() => Remembered | null} source
 */
export function keepAsk(source) {
  asked = source;
}

/**
 * Says whose the kept values are.
 * @param {string} user
 */
export const keepUser = (user) => store(USER, user);

/** Removes the form, the requests, the search and the pictures; the name stays, to be compared at the next sign-in. */
export function forget() {
  isLeft = true;
  asked = () => null;
  form = {};
  for (const name of [FORM, SEARCH, SITTING]) store(name, null);
}

write(ASK, null);
addEventListener("pagehide", () => write(ASK, asked()));
// The page was restored from the back/forward cache: its scripts still follow the job.
addEventListener("pageshow", ({ persisted }) => void (persisted && write(ASK, null)));
