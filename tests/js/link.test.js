import "./facts.js";
import assert from "node:assert/strict";
import { it } from "node:test";
import { fragment, parsed } from "../../zimage_cache/web/page/lib/link.js";

const ASK = { prompt: "a & b = #c 红", style: null, width: 640, height: 512, n: 4, cache: "refresh", shift: 0.5 };

it("a link says the request of one picture, and reads as it was written", () => {
  const { parameters, error } = parsed(fragment(ASK, 42));
  assert.equal(error, null);
  assert.deepEqual(parameters, { prompt: ASK.prompt, width: 640, height: 512, n: 1, shift: 0.5, seed: 42 });
});

it("a fragment without a prompt is no link of ours", () => {
  assert.equal(parsed(""), null);
  assert.equal(parsed("history"), null);
});

it("the first text that should be a number is reported, in at most 80 characters", () => {
  const { parameters, error } = parsed(`prompt=x&width=${"9x".repeat(60)}&steps=&seed=7`);
  assert.deepEqual([parameters.width, parameters.steps, parameters.seed], [Number.NaN, Number.NaN, 7]);
  assert.equal(error.field, "width");
  assert.equal(error.message, `not a number: ${"9x".repeat(40)}`);
});

it("infinite numbers are no numbers", () => {
  assert.equal(parsed("prompt=x&shift=Infinity").error.field, "shift");
});
