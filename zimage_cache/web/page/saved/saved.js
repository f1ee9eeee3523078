// What the cache has saved so far, in the head; it opens the Cache tab.
import { onResult } from "../card/card.js";
import { find, setText } from "../lib/dom.js";
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
    const { found, asked } = known ? hits(known.lifetime) : { found: 0, asked: 0 };
    if (button.hidden !== (found === 0)) button.hidden = found === 0;
    if (!known) return;
    setText(find(root, ".zi-saved-hits"), say("saved_hits", { found: count(found), asked: count(asked) }));
    const time = span(known.lifetime.gpu_seconds_saved);
    setText(find(root, ".zi-saved-time"), say(`saved_on_${deviceKind()}`, { time }));
  }

  onStatistics((stats, error) => {
    // A user who may not see them any more; while the server is gone, the last numbers stay.
    known = error && error.code !== "unreachable" ? null : stats;
    show();
  });
  onHealth(show);
  onResult(() => void askStatistics());
  document.addEventListener("visibilitychange", () => void (document.hidden || askStatistics()));
  button.title = say("saved_open");
  button.addEventListener("click", () => openTab("cache"));
  void askStatistics();
}
