// The menu in the head: language, theme, what happens when a picture is done, and the way to the list of shortcuts.
import { chime } from "../done/chime.js";
import { allowNotices, noticesAllowed } from "../done/notices.js";
import { find, setAttributes } from "../lib/dom.js";
import { language, languageOf, say } from "../lib/i18n.js";
import { keepKeys } from "../lib/keys.js";
import { chosen, onPreferences, prefer } from "../lib/preferences.js";
import { followSystem, paint } from "../lib/theme.js";
import { openShortcuts } from "../shortcuts/shortcuts.js";

/** @import { Preferences } from "../lib/preferences.js" */

/** @param {HTMLElement} root */
export function preferences(root) {
  const menu = find(root, ".zi-menu");
  const opener = find(root, ".zi-menu-open");
  const refused = find(root, ".zi-menu-refused");
  const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (menu.querySelectorAll("[data-preference]"));

  function show() {
    const now = chosen();
    for (const input of inputs) {
      const value = now[/** @type {keyof Preferences} */ (input.dataset.preference)];
      input.checked = input.type === "radio" ? value === input.value : value === true;
    }
    // The permission may have been taken back in the browser.
    find(menu, "[data-preference=notify]", HTMLInputElement).checked &&= noticesAllowed();
  }

  // Below its button, whatever the window's size.
  function place() {
    const { bottom, right } = opener.getBoundingClientRect();
    const top = Math.max(8, bottom + 6);
    menu.style.top = `${top}px`;
    menu.style.maxHeight = `calc(100dvh - ${top + 8}px)`;
    menu.style.right = `${Math.max(8, document.documentElement.clientWidth - right)}px`;
    refused.textContent = "";
    show();
  }

  /** @param {boolean} on */
  async function notify(on) {
    const allowed = on && (await allowNotices());
    refused.textContent = on && !allowed ? say("notify_refused") : "";
    prefer({ notify: allowed });
  }

  /** @param {HTMLInputElement} input */
  function choose({ dataset: { preference: name }, value, checked }) {
    if (name === "language") {
      prefer({ language: /** @type {Preferences["language"]} */ (value) });
      // Every text of the page is another one. The form and the card are kept over a reload.
      if (languageOf(chosen().language) !== language) location.reload();
    } else if (name === "theme") prefer({ theme: /** @type {Preferences["theme"]} */ (value) });
    else if (name === "notify") void notify(checked);
    else {
      prefer({ sound: checked });
      if (checked) chime();
    }
  }

  setAttributes(opener, { "aria-label": say("preferences"), title: say("preferences") });
  setAttributes(menu, { "aria-label": say("preferences") });
  // Not `toggle`, which comes after the menu was seen.
  menu.addEventListener("beforetoggle", place);
  menu.addEventListener("change", ({ target }) => void (target instanceof HTMLInputElement && choose(target)));
  // Esc closes the menu only.
  root.addEventListener("keydown", (event) => void (menu.matches(":popover-open") && keepKeys(event)));
  find(menu, ".zi-menu-act").addEventListener("click", () => {
    menu.hidePopover();
    openShortcuts();
  });
  onPreferences(paint);
  onPreferences(show);
  followSystem();
}
