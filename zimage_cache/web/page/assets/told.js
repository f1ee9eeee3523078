// Translates the server's messages, which are always English, to the page's language with `messages.toml`. A message
// without a translation is returned unchanged; the result is text, not HTML.
"use strict";
zimage.told = (() => {
  const { about, language, say } = zimage;
  const SOLID = ["word", "field"]; // kinds of placeholders that match no spaces
  const HAN = /\p{Script=Han}/u;
  // Translations of a placeholder's text by kind; undefined: it cannot be, so the pattern does not fit the message.
  const fill = {
    word: (text) => text,
    field: (text) => (about.fields.includes(text) ? say(text) : text),
    told: (text) => translated(text),
    any: (text) => translated(text) ?? text,
  };
  let messages = null;

  const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

  function compiled([en, zh]) {
    const [before, ...parts] = en.split(/\{(\w+)(?::(\w+))?\}/);
    const holes = [];
    let source = escaped(before);
    for (let i = 0; i < parts.length; i += 3) {
      holes.push({ name: parts[i], kind: parts[i + 1] });
      source += `(${SOLID.includes(parts[i + 1]) ? "\\S" : "."}*?)${escaped(parts[i + 2])}`;
    }
    return { pattern: new RegExp(`^${source}$`, "su"), holes, zh };
  }

  function written(zh, values) {
    return zh.replace(/( ?)\{(\w+)\}( ?)/g, (_, before, name, after) => {
      const value = values.get(name);
      return (HAN.test(value[0]) ? "" : before) + value + (HAN.test(value.at(-1)) ? "" : after);
    });
  }

  function fitted({ pattern, holes, zh }, message) {
    const found = pattern.exec(message);
    if (!found) return undefined;
    const values = new Map();
    for (const [i, { name, kind }] of holes.entries()) {
      const value = kind ? fill[kind](found[i + 1]) : found[i + 1];
      if (value === undefined) return undefined;
      values.set(name, value);
    }
    return written(zh, values);
  }

  function translated(message) {
    messages ??= about.messages.map(compiled);
    for (const each of messages) {
      const found = fitted(each, message);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  return (message) => (language === "en" || !message ? message : (translated(message) ?? message));
})();
