import "./facts.js";
import assert from "node:assert/strict";
import { it } from "node:test";
import { offerOf } from "../../zimage_cache/web/page/lib/facts.js";
import { placed, sized } from "../../zimage_cache/web/page/sizes/geometry.js";

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
  assert.deepEqual(sized(sizes, "512", 2, "place"), [1344, 768]);
  assert.deepEqual(sized(sizes, "512", 2, "side"), [576, 448]);
  assert.deepEqual(sized(sizes, "512", 1, "side"), [576, 448]);
});

it("an unknown model has the sizes of the usual one", () => {
  assert.equal(offerOf({ model: "gone" }).sizes, sizes);
});
