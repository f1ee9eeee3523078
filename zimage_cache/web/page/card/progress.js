// How far a request is, in words and in per cent.
import { say, time } from "../lib/i18n.js";

/** @import { Entry, Progress } from "../lib/queue.js" */

/** @typedef {{ phase: string, more: string, share: number | null, own: number }} Words */

/**
 * Where the run is: in the queue, at a step.
 * @param {Progress} progress
 */
export function place({ phase, detail, position, step = 0, steps = 0 }) {
  if (phase === "loading") return detail || say("loading_hint");
  if (phase === "queued") return position ? say("queued_ahead", { ahead: position }) : say("queued_next");
  return phase === "drawing" ? say("drawing_step", { step, steps }) : "";
}

/**
 * The progress as text, with the finished shares of all pictures (null while unknown) and of this one.
 * @param {Progress} progress
 * @param {number} n
 * @returns {Words}
 */
function worded(progress, n) {
  const { phase, step = 0, steps = 0, done = 0, eta_seconds: eta } = progress;
  const known = ["drawing", "decoding"].includes(phase) && steps > 0;
  const more = [
    place(progress),
    n > 1 && phase !== "queued" ? say("picture_of", { number: Math.min(done + 1, n), n }) : "",
    eta && eta >= 1 ? say("eta", { time: time(eta) }) : "",
  ];
  return {
    phase: say(phase),
    more: more.filter(Boolean).join(" · "),
    share: known ? Math.round((100 * (done + step / steps)) / n) : null,
    own: known ? Math.round((100 * step) / steps) : 0,
  };
}

/** @returns {Words} */
const lostWords = () => ({ phase: say("lost"), more: say("lost_text"), share: null, own: 0 });

/**
 * The progress of a request in words.
 * @param {Entry} entry
 */
export const wordsFor = ({ lost, progress, ask }) => (lost ? lostWords() : worded(progress, ask.n));

/**
 * One line about a request.
 * @param {Entry} entry
 */
export function wordsOf(entry) {
  const { phase, more } = wordsFor(entry);
  return entry.lost ? phase : [phase, more].filter(Boolean).join(" · ");
}

/**
 * The finished share of a request in per cent; null while unknown.
 * @param {Entry} entry
 */
export const shareOf = (entry) => wordsFor(entry).share;
