// What a tab remembers over a reload: its form, and the ask whose picture it shows or waits for.
//
// The ask is written down only while the page goes away: a tab that is duplicated meanwhile must not find the job of the
// one it was copied from, and end it.
"use strict";
zimage.tab = (() => {
  const FORM = "zimage.form";
  const ASK = "zimage.ask";
  let asked = () => found;

  function read(name) {
    try {
      const value = JSON.parse(sessionStorage.getItem(name));
      return value && typeof value === "object" ? value : null;
    } catch {
      return null;
    }
  }

  // A browser that keeps nothing for us (full, or forbidden) costs a person this comfort, nothing else.
  function write(name, value) {
    try {
      if (value) sessionStorage.setItem(name, JSON.stringify(value));
      else sessionStorage.removeItem(name);
    } catch {}
  }

  const found = read(ASK);
  write(ASK, null);
  addEventListener("pagehide", () => write(ASK, asked()));
  // Back as it was, out of the browser's memory: it has its job still.
  addEventListener("pageshow", ({ persisted }) => void (persisted && write(ASK, null)));

  return {
    // What the form held before the reload, by field name; null in a fresh tab.
    form: read(FORM),
    // {ask, id, shown}: what was on the card before the reload; `id` is its job, if that was still going on.
    ask: found,
    keepForm: (values) => write(FORM, values),
    // *source* returns what to remember as `ask` when the page goes away.
    keepAsk: (source) => void (asked = source),
  };
})();
