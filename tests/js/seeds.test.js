import "./facts.js";
import assert from "node:assert/strict";
import { it } from "node:test";
import { drawSeed, isRandom, onRolls, rolls, seedsOf, setRolls } from "../../zimage_cache/web/page/lib/seeds.js";

it("after the largest seed comes 0", () => {
  assert.deepEqual(seedsOf(2 ** 32 - 2, 4), [2 ** 32 - 2, 2 ** 32 - 1, 0, 1]);
});

it("a missing seed and the API's value for a random one must be drawn, 0 not", () => {
  assert.deepEqual([null, undefined, -1, 0, 7].map(isRandom), [true, true, true, false, false]);
});

it("drawn seeds are whole, in range, and not all the same", () => {
  const drawn = Array.from({ length: 8 }, drawSeed);
  assert.ok(drawn.every((seed) => Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32));
  assert.ok(new Set(drawn).size > 1);
});

it("seeds are not rolled at first, and each change is told once", () => {
  const told = [];
  onRolls(() => told.push(rolls()));
  assert.equal(rolls(), false);
  for (const wanted of [false, true, true, false]) setRolls(wanted);
  assert.deepEqual(told, [true, false]);
});
