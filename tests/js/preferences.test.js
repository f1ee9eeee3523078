import assert from "node:assert/strict";
import { it } from "node:test";

const kept = new Map();
/** @type {((event: { key: string }) => void)[]} */
const heard = [];
globalThis.localStorage = {
  getItem: (name) => kept.get(name) ?? null,
  setItem: (name, value) => kept.set(name, value),
};
globalThis.addEventListener = (_name, listener) => heard.push(listener);
const NAME = "zimage.preferences";
kept.set(NAME, '{"theme": "dark", "language": "fr", "sound": "yes", "unnoted": ["demo"], "of a later version": 1}');
const { chosen, onPreferences, prefer } = await import("../../zimage_cache/web/page/lib/preferences.js");

it("what was chosen is known, and what is no choice of this version is none", () => {
  assert.deepEqual(chosen(), { language: "", theme: "dark", notify: false, sound: false, unnoted: ["demo"] });
});

it("a choice is kept, and told", () => {
  const told = [];
  onPreferences((now) => told.push(now));
  prefer({ language: "zh" });
  assert.equal(JSON.parse(kept.get(NAME)).language, "zh");
  assert.equal(JSON.parse(kept.get(NAME)).theme, "dark");
  assert.deepEqual(told, [chosen()]);
});

it("what is chosen in another tab counts, and other values of the storage do not", () => {
  kept.set(NAME, '{"theme": "light"}');
  for (const listener of heard) listener({ key: "another" });
  assert.equal(chosen().theme, "dark");
  for (const listener of heard) listener({ key: NAME });
  assert.equal(chosen().theme, "light");
});

it("damaged values count as none", () => {
  for (const value of ["", "{", "null", "7", '"text"', "[]", '{"theme": ["dark"]}']) {
    kept.set(NAME, value);
    for (const listener of heard) listener({ key: NAME });
    assert.deepEqual(chosen(), { language: "", theme: "", notify: false, sound: false, unnoted: [] });
  }
});

it("a storage that refuses keeps the choice for this page", () => {
  globalThis.localStorage.setItem = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  prefer({ theme: "dark" });
  assert.equal(chosen().theme, "dark");
});
