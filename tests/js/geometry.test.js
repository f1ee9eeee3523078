import "./facts.js";
import assert from "node:assert/strict";
import { it } from "node:test";
import { offerOf } from "../../zimage_cache/web/page/lib/facts.js";
import { followed, isRight, mended, placed, sized } from "../../zimage_cache/web/page/sizes/geometry.js";

const { sizes } = offerOf({ model: "turbo" });

it("a size of the table is found in both orientations", () => {
  assert.deepEqual(placed(sizes, { width: 1152, height: 896 }), { side: "1024", place: 1, exact: true });
  assert.deepEqual(placed(sizes, { width: 896, height: 1152 }), { side: "1024", place: 1, exact: true });
});

it("another size has the nearest place", () => {
  assert.deepEqual(placed(sizes, { width: 1280, height: 720 }), { side: "1024", place: 2, exact: false });
  assert.deepEqual(placed(sizes, { width: null, height: null }), { side: "512", place: 0, exact: false });
});

it("where a class has no such size, the class or the ratio is kept", () => {
  assert.deepEqual(sized(sizes, { side: "512", place: 2, keep: "place" }), [1344, 768]);
  assert.deepEqual(sized(sizes, { side: "512", place: 2, keep: "side" }), [576, 448]);
  assert.deepEqual(sized(sizes, { side: "512", place: 1, keep: "side" }), [576, 448]);
  assert.equal(sized({ 512: [[512, 512], null, null] }, { side: "512", place: 2, keep: "place" }), null);
  assert.deepEqual(sized(sizes, { side: "2048", place: 1, keep: "side" }), [1152, 896]);
});

it("a choice is followed while the form has its size, in both orientations", () => {
  const choice = /** @type {const} */ ({ side: "512", place: 2, keep: "place" });
  assert.equal(followed(sizes, choice, { width: 1344, height: 768 }), choice);
  assert.equal(followed(sizes, choice, { width: 768, height: 1344 }), choice);
  const back = { ...choice, place: 0 };
  assert.deepEqual(sized(sizes, back), [512, 512]);
  const tried = /** @type {const} */ ({ side: "512", place: 2, keep: "side" });
  assert.equal(followed(sizes, tried, { width: 576, height: 448 }), tried);
});

it("a choice ends when the form has another size, or the model other classes", () => {
  const choice = /** @type {const} */ ({ side: "512", place: 2, keep: "place" });
  const now = { width: 1024, height: 1024 };
  assert.deepEqual(followed(sizes, choice, now), { side: "1024", place: 0, keep: "place" });
  assert.deepEqual(followed(sizes, null, now), { side: "1024", place: 0, keep: "place" });
  assert.deepEqual(followed(sizes, { ...choice, side: "64" }, { width: 1344, height: 768 }), {
    side: "1024",
    place: 2,
    keep: "place",
  });
  assert.deepEqual(followed(sizes, choice, { width: null, height: 768 }).keep, "place");
});

it("a side is a multiple within the model's bounds; another one is mended", () => {
  const offer = offerOf({ model: "turbo" });
  assert.deepEqual(
    [1024, 64, 2048, 1001, 48, 2064, 1.5, null].map((side) => isRight(side, offer)),
    [true, true, true, false, false, false, false, false],
  );
  assert.deepEqual(
    [1001, 12, 5000, 1032].map((side) => mended(side, offer)),
    [1008, 64, 2048, 1040],
  );
});

it("an unknown model has the sizes of the usual one", () => {
  assert.equal(offerOf({ model: "gone" }).sizes, sizes);
});
