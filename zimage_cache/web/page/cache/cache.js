// The Cache tab: what the result cache did and holds, up to date while it can be seen. For administrators.
import { find, make, setText } from "../lib/dom.js";
import { deviceKind, onHealth } from "../lib/health.js";
import { bytes, count, moment, say, share, span } from "../lib/i18n.js";
import { why } from "../lib/server.js";
import { askStatistics, hits, onStatistics, tiers } from "../lib/statistics.js";
import { onSeen, seen } from "../lib/tabs.js";

/** @import { Held, Span, Stats } from "../lib/api.d.ts" */

const EVERY = 2000; // ms

/**
 * What became of the pictures that were asked for, each counted once: the name of the colour, and the number.
 * @param {Span} counts
 * @returns {[string, number][]}
 */
const answers = (counts) => [
  ...tiers(counts),
  ["shared", counts.shared],
  ["generated", counts.misses],
  ["bypassed", counts.bypasses],
  ["failed", counts.failures],
  ["abandoned", counts.abandoned],
];

/** @param {[string, number][]} all */
const sum = (all) => all.reduce((total, [, value]) => total + value, 0);

/**
 * @param {Span} counts
 * @returns {[string, string]}
 */
function rate(counts) {
  const { found, asked } = hits(counts);
  if (!asked) return ["–", say("cache_none")];
  return [share(found / asked), say("cache_rate_of", { found: count(found), asked: count(asked) })];
}

/**
 * @param {number} size
 * @param {number} most
 */
const room = (size, most) => (most ? say("cache_room", { size: bytes(size), most: bytes(most) }) : bytes(size));

/**
 * @param {Held} now
 * @returns {Record<string, string>}
 */
function held({ disk_entries = 0, disk_bytes = 0, disk_max_bytes = 0, pinned = 0, ...memory }) {
  const { memory_entries = 0, memory_bytes = 0, memory_max_bytes = 0 } = memory;
  const kept = pinned ? ` · ${say("cache_pinned", { n: count(pinned) })}` : "";
  return {
    disk: say("cache_pictures", { n: count(disk_entries) }),
    disk_bytes: room(disk_bytes, disk_max_bytes) + kept,
    memory: say("cache_pictures", { n: count(memory_entries) }),
    memory_bytes: room(memory_bytes, memory_max_bytes),
  };
}

/**
 * The texts of the tiles, by the name in the template.
 * @param {Stats} stats
 * @returns {Record<string, string>}
 */
function texts({ now, lifetime }) {
  const [of_all, of_how_many] = rate(lifetime);
  return {
    ...held(now),
    rate: of_all,
    rate_of: of_how_many,
    saved_title: say(`cache_saved_${deviceKind()}`),
    saved: span(lifetime.gpu_seconds_saved),
    spent: say("cache_spent", { time: span(lifetime.gpu_seconds) }),
  };
}

/** @param {Stats} stats */
function rows({ lifetime, this_process: here }) {
  const all = answers(lifetime);
  const total = sum(all);
  const present = new Map(answers(here));
  return all.map(([name, value]) => {
    const part = total ? value / total : 0;
    const bar = make("span", { className: "zi-c-bar", hidden: !value, dataset: { source: name } });
    bar.style.setProperty("--part", String(part));
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, say(name)),
      make("td", {}, count(present.get(name) ?? 0)),
      make("td", {}, count(value)),
      make("td", { className: "zi-c-share" }, bar, make("span", {}, share(part))),
    );
  });
}

/** @param {HTMLElement} part */
export function cache(part) {
  const root = find(part, ".zi-cache");
  const notice = find(root, ".zi-c-notice");
  /** @type {Stats | null} */
  let known = null;
  let at = new Date(); // when these numbers arrived
  let timer = 0;

  function show() {
    if (!known) return;
    root.dataset.view = "numbers";
    for (const [name, text] of Object.entries(texts(known))) {
      setText(find(root, `[data-number="${name}"]`), text);
    }
    find(root, "tbody").replaceChildren(...rows(known));
    const { lifetime, this_process: here } = known;
    const times = { lifetime: moment(lifetime.since), process: moment(here.since) };
    setText(find(root, ".zi-c-since"), say("cache_since", times));
  }

  async function turn() {
    clearTimeout(timer);
    if (!seen(root)) return;
    await askStatistics();
    clearTimeout(timer);
    timer = setTimeout(turn, EVERY);
  }

  onStatistics((stats, error) => {
    known = stats;
    if (!error) at = new Date();
    setText(notice, error ? `${why(error)} ${stats ? say("cache_old", { time: moment(at) }) : ""}` : "");
    show();
  });
  onHealth(show);
  onSeen(root, () => void turn());
}
