// The form as an object by field name: its values, changing them, and callbacks for changes.
//
// Widgets can be changed only inside an event of Gradio: `fill` queues the values and triggers an event that applies
// them. All access to the form goes through this script, so no other one depends on the order of the widgets.
"use strict";
zimage.form = (() => {
  const { about, language, link, say, tab } = zimage;
  const named = (names, values) => Object.fromEntries(names.map((name, i) => [name, values[i]]));
  const skip = { __type__: "update" };
  const listeners = [];
  let values = {};
  let wishes = []; // queued values for the form, with their callbacks
  let trigger = () => {};
  let settled = false; // whether the widgets have their first values, from `begin`, which would overwrite earlier fills
  let start;
  const begun = new Promise((resolve) => void (start = resolve));

  const choices = {
    style: () => [[say("style_none"), ""], ...about.styles[language]],
    cache: () => ["use", "refresh", "bypass"].map((mode) => [say(`cache_${mode}`), mode]),
  };

  const drawSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

  // *how* the values changed: "begun" at start, "filled" by a script, or "typed" by the user in any way.
  function heard(names, held, how = "typed") {
    values = named(names, held);
    document.body.classList.toggle("zi-guided", values.guidance_scale > 0);
    tab.keepForm(values);
    for (const listener of listeners) listener(values, how);
  }

  // The first values are the defaults with a concrete seed, so that a repeated request is the same, and choices in the
  // page's language; then the values from before a reload; then those of a link.
  function begin(names, held) {
    const opened = link.read();
    const said = opened && spelled(settings(opened.parameters));
    const first = { ...named(names, held), seed: drawSeed(), style: "", ...tab.form, ...said };
    // Kept values may be from a server that offered other choices.
    if (!offered(first.model)) first.model = about.default_model;
    heard(names, names.map((name) => first[name]), "begun");
    start(opened);
    return names.map((name) =>
      name in choices ? { ...skip, choices: choices[name](), value: first[name] } : first[name]);
  }

  function filled(names, held) {
    const granted = wishes;
    wishes = [];
    const fields = Object.assign({}, ...granted.map((wish) => wish.fields));
    const form = { ...named(names, held), ...fields };
    heard(names, names.map((name) => form[name]), "filled");
    for (const { then } of granted) then?.(form);
    // Fields without new values are not written, because the user may be typing in them.
    return names.map((name) => (name in fields ? fields[name] : skip));
  }

  const offered = (model) => Object.hasOwn(about.defaults, model ?? "");

  // The value of every field for a request's *parameters*: missing ones are the model's defaults, invalid numbers (NaN)
  // are left empty.
  function settings(parameters) {
    const model = offered(parameters.model) ? parameters.model : about.default_model;
    const whole = { ...about.defaults[model], seed: drawSeed(), n: 1, model, cache: "use" };
    const given = { ...parameters, model, cache: "use", style: parameters.style ?? "" };
    return Object.fromEntries(Object.entries(whole).map(([name, usual]) => {
      const value = given[name] ?? usual;
      return [name, Number.isNaN(value) ? null : value];
    }));
  }

  // *fields* of a request with prompts escaped for the form, where {red|blue} and __wildcards__ would be expanded.
  function spelled(fields) {
    const { prompt, negative_prompt } = fields;
    return { ...fields, prompt: escaped(prompt), negative_prompt: escaped(negative_prompt) };
  }

  // Only where these characters have a meaning: braces without | or $$ are text, as are two underscores alone.
  function escaped(text) {
    const braces = /\||\$\$|\\[{}]/.test(text) ? text.replace(/[{}]/g, "\\$&") : text;
    return /__[^]*__|\\__/.test(text) ? braces.replace(/__/g, "\\__") : braces;
  }

  // The body of `POST /generate`. Values are not corrected here; the server validates them.
  function request({ style, ...fields }) {
    for (const side of ["width", "height"]) {
      if (fields[side] == null) throw { code: "invalid_request", field: side, message: say("side_missing") };
    }
    return { ...fields, style: style || null };
  }

  // Marks the field of an error; null: no field.
  function mark(field) {
    for (const old of document.querySelectorAll(".zi-wrong")) old.classList.remove("zi-wrong");
    if (field) document.getElementById(`zi-${field}`)?.classList.add("zi-wrong");
  }

  return {
    named,
    begin,
    filled,
    heard,
    drawSeed,
    request,
    settings,
    spelled,
    offered,
    mark,
    // Fulfilled once the form has its first values, with the result of `link.read`.
    begun,
    // The latest values, by field name.
    get values() {
      return values;
    },
    // Set fields by name; `then` is called with the whole form.
    fill(fields, then) {
      wishes.push({ fields, then });
      if (settled) trigger();
    },
    // From now on the form can be filled; queued values are applied.
    settle() {
      settled = true;
      if (wishes.length) trigger();
    },
    // Registers a callback for the values after each change, and how they changed.
    changed: (listener) => void listeners.push(listener),
    // The page's Gradio event that calls `filled`.
    wire: (event) => void (trigger = event),
  };
})();
