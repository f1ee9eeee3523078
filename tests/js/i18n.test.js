import "./facts.js";
import assert from "node:assert/strict";
import { it } from "node:test";
import { age, has, language, say, styleTitle, time } from "../../zimage_cache/web/page/lib/i18n.js";

it("places are filled, unknown ones and unknown texts stay", () => {
  assert.equal(language, "en");
  assert.equal(say("hello", { name: "Ann" }), "Hello Ann");
  assert.equal(say("hello"), "Hello {name}");
  assert.equal(say("no such text"), "no such text");
  assert.deepEqual([has("hello"), has("nothing")], [true, false]);
});

it("times have a unit that fits", () => {
  const times = [0, 0.0004, 0.05, 0.5, 5, 45, 125].map(time);
  assert.deepEqual(times, ["1 ms", "1 ms", "50 ms", "0.50 s", "5.0 s", "45 s", "2 min 5 s"]);
});

it("ages are told in the largest unit", () => {
  assert.deepEqual([5, 185, 7300, 90_000].map(age), ["5 sec ago", "3 min ago", "2 hr ago", "yesterday"]);
});

it("a style is named by its title", () => {
  assert.equal(styleTitle("photo"), "Photograph");
  assert.equal(styleTitle(null), undefined);
});
