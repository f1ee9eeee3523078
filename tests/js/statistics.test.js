import "./facts.js";
import assert from "node:assert/strict";
import { it } from "node:test";
import { hits, tiers } from "../../zimage_cache/web/page/lib/statistics.js";

const SPAN = { since: "", hits_memory: 5, hits_disk: 3, hits_elsewhere: 1, misses: 10, shared: 1, bypasses: 7 };

it("tiers are those that the counters name, also ones that are added later", () => {
  assert.deepEqual(tiers(SPAN), [
    ["memory", 5],
    ["disk", 3],
    ["elsewhere", 1],
  ]);
});

it("the hit rate is of pictures that were looked up and delivered", () => {
  assert.deepEqual(hits(SPAN), { found: 9, asked: 20 });
});
