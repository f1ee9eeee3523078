// Links with a whole request, in the fragment, which browsers do not send: prompts appear in no log.
"use strict";
zimage.link = (() => {
  const { about, say } = zimage;

  // The URL of this page with *ask* and the seed of one of its pictures.
  function of(ask, seed) {
    const { cache, ...fields } = { ...ask, seed, n: 1 };
    const said = Object.entries(fields).filter(([, value]) => value != null && value !== "");
    return `${location.origin}${location.pathname}#${new URLSearchParams(said)}`;
  }

  // {parameters, error} of the URL, or null where it has no request. *error* is about the first text that should be a
  // number; that parameter is NaN.
  function read() {
    const text = new URLSearchParams(location.hash.slice(1));
    if (!text.has("prompt")) return null;
    const parameters = Object.fromEntries(text);
    let error = null;
    for (const field of about.numbers.filter((name) => text.has(name))) {
      const number = text.get(field).trim() === "" ? NaN : Number(text.get(field));
      if (Number.isFinite(number)) parameters[field] = number;
      else {
        parameters[field] = NaN;
        error ??= { code: "invalid_request", field, message: say("link_number", { got: text.get(field).slice(0, 80) }) };
      }
    }
    return { parameters, error };
  }

  // The link's values are in the form now; if they stayed in the URL, a reload would overwrite later input with them.
  const clear = () => history.replaceState(history.state, "", location.pathname + location.search);

  return { of, read, clear };
})();
