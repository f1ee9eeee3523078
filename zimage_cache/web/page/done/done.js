// Tells of a picture that took a while, or came or failed while the tab was out of sight: by a notification and a sound, where a
// person has switched them on.
import { onResult } from "../card/card.js";
import { say } from "../lib/i18n.js";
import { chosen } from "../lib/preferences.js";
import { queue } from "../lib/queue.js";
import { chime } from "./chime.js";
import { notice } from "./notices.js";

/** @import { Entry } from "../lib/queue.js" */
/** @import { Ask, Picture } from "../lib/types.d.ts" */

const LONG = 3; // seconds that are waited for without looking elsewhere
const SHOWN = 120; // characters of the prompt

/** @param {string} prompt */
const excerpt = (prompt) => ([...prompt].length > SHOWN ? `${[...prompt].slice(0, SHOWN).join("")}…` : prompt);

/**
 * Whether pictures were waited for: stored ones are there at once, also those that a reload or the history brings back.
 * @param {Picture[]} images
 */
function awaited(images) {
  const drawn = images.filter(({ source }) => source === "generated" || source === "shared");
  const longest = Math.max(...drawn.map(({ seconds }) => seconds ?? 0));
  return drawn.length > 0 && (document.hidden || longest > LONG);
}

/**
 * @param {Ask} ask
 * @param {Picture[]} images
 */
function done(ask, images) {
  if (!awaited(images)) return;
  const title = images.length > 1 ? say("done_several", { n: images.length }) : say("done_one");
  inform(title, ask, images[0]?.image_url);
}

/** Where the page can be seen, it says so itself. @param {Entry} entry */
function failed({ state, ask }) {
  if (state === "failed" && document.hidden) inform(say("done_failed"), ask);
}

/**
 * @param {string} title
 * @param {Ask} ask
 */
function inform(title, ask, icon = "") {
  const { notify, sound } = chosen();
  if (notify) notice(title, { body: excerpt(ask.prompt), icon });
  if (sound) chime();
}

onResult(done);
queue.changed(failed);
