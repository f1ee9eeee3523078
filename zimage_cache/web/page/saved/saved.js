// What the cache has saved so far, in the head; it opens the Cache tab.
import { onResult } from "../card/card.js";
import { find } from "../lib/dom.js";
import { deviceKind, onHealth } from "../lib/health.js";
import { count, say, span } from "../lib/i18n.js";
import { askStatistics, hits, onStatistics } from "../lib/statistics.js";
import { openTab } from "../lib/tabs.js";

/** @import { Stats } from "../lib/api.d.ts" */

/** @param {HTMLElement} root */
export function saved(root) {
  const button = find(root, ".zi-saved");
  /** @type {Stats | null} */
  let known = null;

  function show() {
    if (!known) return;
    const { lifetime } = known;
    const { found, asked } = hits(lifetime);
    button.hidden = found === 0;
    find(root, ".zi-saved-hits").textContent = say("saved_hits", { found: count(found), asked: count(asked) });
    const time = span(lifetime.gpu_seconds_saved);
    find(root, ".zi-saved-time").textContent = say(`saved_on_${deviceKind()}`, { time });
    button.title = say("saved_open");
  }

  onStatistics((stats, error) => {
    // A user who may not see them any more; while the server is gone, the last numbers stay.
    known = error && error.code !== "unreachable" ? null : stats;
    button.hidden = known === null;
    show();
  });
  onHealth(show);
  onResult(() => void askStatistics());
  document.addEventListener("visibilitychange", () => void (document.hidden || askStatistics()));
  button.addEventListener("click", () => openTab("cache"));
  void askStatistics();
}
