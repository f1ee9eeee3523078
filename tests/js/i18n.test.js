import "./facts.js";
import assert from "node:assert/strict";
import { it } from "node:test";
import {
  age,
  bytes,
  count,
  has,
  language,
  say,
  share,
  span,
  styleTitle,
  time,
} from "../../zimage_cache/web/page/lib/i18n.js";

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

it("numbers, shares and sizes are written for people", () => {
  assert.deepEqual([0, 1234, 1_234_567].map(count), ["0", "1,234", "1,234,567"]);
  assert.deepEqual([0, 0.5, 2 / 3, 1].map(share), ["0%", "50%", "66.7%", "100%"]);
  const sizes = [0, 1, 1023, 1024, 1536, 2 ** 20, 2.5 * 2 ** 30, 2 ** 50];
  const written = ["0 B", "1 B", "1,023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "2.5 GiB", "1,024.0 TiB"];
  assert.deepEqual(sizes.map(bytes), written);
});

it("sums of times have one unit", () => {
  const sums = [0, 0.44, 12, 89, 90, 600, 5399, 5400, 86_400, 172_800, 1e7].map(span);
  const written = ["0.0 s", "0.4 s", "12 s", "89 s", "1.5 min", "10 min", "90 min", "1.5 h", "24 h", "2.0 d", "116 d"];
  assert.deepEqual(sums, written);
});
