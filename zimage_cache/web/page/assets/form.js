// The form as an object by field name: what it holds, how to change it, and who hears of its changes.
//
// Gradio alone may change its widgets, and only from inside one of its events: `fill` leaves a wish and triggers an
// event whose answer fetches it. Everything that acts on the form goes through here, so no other script knows an order
// of widgets.
"use strict";
zimage.form = (() => {
  const { about, language, link, say, tab } = zimage;
  const named = (names, values) => Object.fromEntries(names.map((name, i) => [name, values[i]]));
  const skip = { __type__: "update" };
  const listeners = [];
  let values = {};
  let wishes = []; // what the form is about to be filled with, and what then
  let trigger = () => {};
  let settled = false; // the widgets hold what `begin` gave them; before, they would lose what a fill gives them
  let start;
  const begun = new Promise((resolve) => void (start = resolve));

  const choices = {
    style: () => [[say("style_none"), ""], ...about.styles[language]],
    cache: () => ["use", "refresh", "bypass"].map((mode) => [say(`cache_${mode}`), mode]),
  };

  const drawSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

  // *how* the form came to hold this: "begun", "filled" by a script, or "typed", which is all a person does to it.
  function heard(names, held, how = "typed") {
    values = named(names, held);
    document.body.classList.toggle("zi-guided", values.guidance_scale > 0);
    tab.keepForm(values);
    for (const listener of listeners) listener(values, how);
  }

  // A page begins with a concrete seed, so that asking twice is asking for the same; and with choices in its language.
  // What stood in the form before a reload stands there again, and what a link says goes over both.
  function begin(names, held) {
    const opened = link.read();
    const said = opened && spelled(settings(opened.parameters));
    const first = { ...named(names, held), seed: drawSeed(), style: "", ...tab.form, ...said };
    // What was kept may be of a server that offered others.
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
    // Fields nobody wished for are left alone: somebody may be typing in them.
    return names.map((name) => (name in fields ? fields[name] : skip));
  }

  const offered = (model) => Object.hasOwn(about.defaults, model ?? "");

  // The value of every field for a request's *parameters*: what they leave out is the model's default, what they do not
  // know how to write (NaN) is left empty.
  function settings(parameters) {
    const model = offered(parameters.model) ? parameters.model : about.default_model;
    const whole = { ...about.defaults[model], seed: drawSeed(), n: 1, model, cache: "use" };
    const given = { ...parameters, model, cache: "use", style: parameters.style ?? "" };
    return Object.fromEntries(Object.entries(whole).map(([name, usual]) => {
      const value = given[name] ?? usual;
      return [name, Number.isNaN(value) ? null : value];
    }));
  }

  // *fields* of a request as they are to stand in the form: what a person would have to type to ask for just these
  // words, where {red|blue} and __wildcards__ would be expanded.
  function spelled(fields) {
    const { prompt, negative_prompt } = fields;
    return { ...fields, prompt: escaped(prompt), negative_prompt: escaped(negative_prompt) };
  }

  // Only where the signs would mean something: braces without | or $$ are text, as are two lone underscores.
  function escaped(text) {
    const braces = /\||\$\$|\\[{}]/.test(text) ? text.replace(/[{}]/g, "\\$&") : text;
    return /__[^]*__|\\__/.test(text) ? braces.replace(/__/g, "\\__") : braces;
  }

  // The body of `POST /generate`. Nothing is mended here: the server's rules judge what people typed.
  function request({ style, ...fields }) {
    for (const side of ["width", "height"]) {
      if (fields[side] == null) throw { code: "invalid_request", field: side, message: say("side_missing") };
    }
    return { ...fields, style: style || null };
  }

  // Shows which field an error is about; null: none.
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
    // Kept once the form holds its first values, with what `link.read` found.
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
    // From now on the form can be filled; what was wished for until now is granted.
    settle() {
      settled = true;
      if (wishes.length) trigger();
    },
    // Be told of the values after each change, and how it came about.
    changed: (listener) => void listeners.push(listener),
    // The page's Gradio event that calls `filled`.
    wire: (event) => void (trigger = event),
  };
})();
