// Links that carry a whole request. In the fragment, which browsers keep to themselves: prompts stay out of every log.
"use strict";
zimage.link = (() => {
  const { say } = zimage;
  const NUMBERS = ["width", "height", "steps", "guidance_scale", "seed", "n", "shift", "max_sequence_length"];

  // The address of this page with *ask* and the seed of one of its pictures.
  function of(ask, seed) {
    const { cache, ...fields } = { ...ask, seed, n: 1 };
    const said = Object.entries(fields).filter(([, value]) => value != null && value !== "");
    return `${location.origin}${location.pathname}#${new URLSearchParams(said)}`;
  }

  // {parameters, error} of the address, or null where it carries no request. *error* is about the first text that
  // should be a number; it is NaN among the parameters.
  function read() {
    const text = new URLSearchParams(location.hash.slice(1));
    if (!text.has("prompt")) return null;
    const parameters = Object.fromEntries(text);
    let error = null;
    for (const field of NUMBERS.filter((name) => text.has(name))) {
      const number = text.get(field).trim() === "" ? NaN : Number(text.get(field));
      if (Number.isFinite(number)) parameters[field] = number;
      else {
        parameters[field] = NaN;
        error ??= { code: "invalid_request", field, message: say("link_number", { got: text.get(field).slice(0, 80) }) };
      }
    }
    return { parameters, error };
  }

  // What a link said is in the form; left in the address, a reload would bring it back over what was typed since.
  const clear = () => history.replaceState(history.state, "", location.pathname + location.search);

  return { of, read, clear };
})();
