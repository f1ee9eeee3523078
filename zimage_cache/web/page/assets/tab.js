// Keeps a browser tab's form, and the request that it shows or waits for, over a reload.
//
// The request is stored only when the page is left: a duplicated tab must not find the job of the original one, and
// cancel it.
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

  // If the browser's storage is full or disabled, values are not kept, without an error.
  function write(name, value) {
    try {
      if (value) sessionStorage.setItem(name, JSON.stringify(value));
      else sessionStorage.removeItem(name);
    } catch {}
  }

  const found = read(ASK);
  write(ASK, null);
  addEventListener("pagehide", () => write(ASK, asked()));
  // The page was restored from the back/forward cache: its scripts still follow the job.
  addEventListener("pageshow", ({ persisted }) => void (persisted && write(ASK, null)));

  return {
    // The form's values before the reload, by field name; null in a new tab.
    form: read(FORM),
    // {ask, id, shown}: the card before the reload; `id` is its job, if that was still running.
    ask: found,
    keepForm: (values) => write(FORM, values),
    // *source* returns the value to store as `ask` when the page is left.
    keepAsk: (source) => void (asked = source),
  };
})();
