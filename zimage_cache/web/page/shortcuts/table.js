// All keys of the page, in one place. The act of those that are pressed anywhere is here; the others belong to the
// component that has the focus.
import { tabButton } from "../lib/gradio.js";
import { focusPrompt, openTab } from "../lib/tabs.js";

/**
 * Keys and what they do. *keys*: ways to do it, each of keys that are held together; *inTurn*: each is pressed after the
 * one before. *act*: done where no text is typed and no dialog is open. *tab*: only where this tab can be seen.
 * @typedef {{ keys: string[][], does: string, inTurn?: boolean, act?: () => void, tab?: string }} Shortcut
 */

/** How the list of shortcuts is opened; set by shortcuts.js, which needs this table. @type {{ open: () => void }} */
export const list = { open: () => undefined };

/** @type {[string, Shortcut[]][]} */
export const SHORTCUTS = [
  [
    "keys_page",
    [
      { keys: [["Ctrl", "Enter"]], does: "key_generate" },
      { keys: [["Esc"]], does: "key_stop" },
      { keys: [["Ctrl", "Z"]], does: "key_undo" },
      { keys: [["/"]], does: "key_prompt", act: focusPrompt },
      { keys: [["g", "c"]], inTurn: true, does: "key_create", act: () => openTab("create") },
      { keys: [["g", "h"]], inTurn: true, does: "key_history", act: () => openTab("history") },
      { keys: [["g", "s"]], inTurn: true, does: "key_cache", tab: "cache", act: () => openTab("cache") },
      { keys: [["?"]], does: "key_list", act: () => list.open() },
    ],
  ],
  [
    "keys_groups",
    [
      { keys: [["←"], ["→"]], does: "key_tabs" },
      { keys: [["Home"], ["End"]], does: "key_ends" },
    ],
  ],
  ["sitting", [{ keys: [["←"], ["→"]], does: "key_turn" }]],
  ["tab_history", [{ keys: [["Delete"]], does: "key_delete" }]],
  [
    "viewer",
    [
      { keys: [["←"], ["→"]], does: "key_turn" },
      { keys: [["Home"], ["End"]], does: "key_first" },
      { keys: [["+"], ["−"]], does: "key_zoom" },
      { keys: [["0"]], does: "key_fit" },
      { keys: [["↑"], ["↓"], ["Shift", "←"], ["Shift", "→"]], does: "key_move" },
      { keys: [["F"]], does: "key_full" },
      { keys: [["I"]], does: "key_info" },
      { keys: [["U"]], does: "key_use" },
      { keys: [["S"]], does: "key_star" },
      { keys: [["L"]], does: "key_link" },
      { keys: [["C"]], does: "key_compare" },
      { keys: [["D"]], does: "key_download" },
      { keys: [["Delete"]], does: "key_remove" },
      { keys: [["Esc"]], does: "key_close" },
    ],
  ],
];

/** @param {Shortcut} shortcut */
export const usable = ({ tab }) => tab === undefined || tabButton(tab).checkVisibility();

/**
 * The shortcut of *keys* that were pressed one after the other, where it has an act.
 * @param {string} keys
 */
export function pressed(keys) {
  const all = SHORTCUTS.flatMap(([, group]) => group);
  return all.find((each) => each.act && each.keys.some((way) => way.join(" ") === keys) && usable(each)) ?? null;
}
