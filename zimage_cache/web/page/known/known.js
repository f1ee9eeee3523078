// What of the form's request is stored, said by the button that asks for it, before it is pressed. The server is asked a
// moment after the last change, and after each result; nothing is counted there.
import { onResult } from "../card/card.js";
import { onDeletion } from "../lib/deletion.js";
import { facts, offerOf } from "../lib/facts.js";
import { form } from "../lib/form.js";
import { always } from "../lib/gradio.js";
import { onHealth } from "../lib/health.js";
import { say } from "../lib/i18n.js";
import { isRandom, onRolls, rolls } from "../lib/seeds.js";
import { aborted, refusal, server } from "../lib/server.js";
import { expanded, request } from "../lib/settings.js";
import { sitting } from "../lib/sitting.js";
import { isRight } from "../sizes/geometry.js";

/** @import { KnownImage, LookedUp } from "../lib/api.d.ts" */
/** @import { Fields } from "../lib/types.d.ts" */

const MOMENT = 250; // ms
const BUTTON = "#zi-generate";
const { max_pictures: MOST, max_seed: LAST } = facts.limits;

/** @type {string | null} */
let asked = ""; // the last request, as JSON; null: it is asked again
let about = ""; // the request that the button speaks of
let timer = 0;
let isReady = true; // whether the model can be asked for, as far as is known
/** @type {AbortController | null} */
let looking = null;
/** @type {{ known: number, n: number, keys: (string | null)[] } | null} */
let told = null; // how many of the pictures are stored

/**
 * @param {number | null} value
 * @param {number} least
 * @param {number} most
 */
const within = (value, least, most) => value !== null && Number.isInteger(value) && value >= least && value <= most;

/** @param {Fields} values */
function areRight(values) {
  const offer = offerOf(values);
  const { prompt, width, height, seed, n } = values;
  return (
    Boolean(prompt?.trim()) &&
    isRight(width, offer) &&
    isRight(height, offer) &&
    within(seed, 0, LAST) &&
    within(n, 1, MOST)
  );
}

/**
 * Whether a press would be answered from the cache where it can: not with a seed that is rolled then, nor to draw anew.
 * @param {Fields} values
 */
const isFixed = ({ seed, cache }) => !(rolls() || isRandom(seed)) && cache === "use";

/** The request of a press as JSON; "" where nothing can be said of it. */
function wanted() {
  const { values } = form;
  const isAnswerable = isReady && !document.hidden && isFixed(values) && areRight(values);
  return isAnswerable ? JSON.stringify(request(values)) : "";
}

/** @param {HTMLElement} button */
function write(button) {
  const { known, n } = told ?? { known: 0, n: 0 };
  const act = known === n ? say("known_show") : say("generate");
  const what = known === n ? say("known_all") : say("known_some", { known, n });
  const texts = { "data-act": act, "data-known": what, "aria-label": `${act} · ${what}` };
  for (const [name, text] of Object.entries(texts)) {
    if (known === 0) button.removeAttribute(name);
    else if (button.getAttribute(name) !== text) button.setAttribute(name, text);
  }
}

/**
 * Says how many of the pictures of the request *text* are stored; null: nothing.
 * @param {string} text
 * @param {KnownImage[] | null} images
 */
function show(text, images) {
  about = text;
  told = images && {
    known: images.filter(({ key, cached }) => cached && !sitting.isHidden({ key: key ?? "" })).length,
    n: images.length,
    keys: images.map(({ key }) => key),
  };
  for (const button of document.querySelectorAll(BUTTON)) write(/** @type {HTMLElement} */ (button));
}

/**
 * What is stored of the request *text*; null where the server refuses.
 * @param {string} text
 * @param {AbortSignal} signal
 */
async function lookUp(text, signal) {
  try {
    /** @type {LookedUp} */
    const { images } = await server.post("/lookup", await expanded(JSON.parse(text), signal), { signal });
    return images;
  } catch (error) {
    // A press says what is wrong.
    if (!aborted(error)) refusal(error);
    return null;
  }
}

async function look() {
  const text = wanted();
  if (text === asked) return;
  asked = text;
  looking?.abort();
  looking = new AbortController();
  const { signal } = looking;
  const images = text ? await lookUp(text, signal) : null;
  if (!signal.aborted) show(text, images);
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(look, MOMENT);
}

function changed() {
  // What was said of other values does not hold, and what is asked of them is not needed.
  const text = wanted();
  if (text !== asked) {
    looking?.abort();
    asked = null;
  }
  if (text !== about) show("", null);
  later();
}

/** Asks once more for the same values: what is stored may have changed. */
function lookAgain() {
  asked = null;
  later();
}

function forget() {
  looking?.abort();
  show("", null);
}

always(BUTTON, write);
form.changed(changed);
onRolls(changed);
onResult(lookAgain);
// A press carries out a deletion that could still be undone, and so would draw anew.
onDeletion({ gone: ({ key }) => void (told?.keys.includes(key) && forget()), back: lookAgain });
onHealth(({ status }) => {
  isReady = !["loading", "unreachable"].includes(status);
  changed();
});
document.addEventListener("visibilitychange", changed);
