import "./facts.js";
import assert from "node:assert/strict";
import { beforeEach, it } from "node:test";
import { startJob } from "../../zimage_cache/web/page/lib/jobs.js";

/** Pictures that were asked for, in order. */
let asked = [];

globalThis.Image = class extends EventTarget {
  complete = false;

  constructor() {
    super();
    asked.push(this);
  }
};

/** Everything that is done without a timer. */
const settled = () => new Promise((done) => setImmediate(done));

/**
 * Starts a job that is answered with *state*, and returns the states that its callback is told.
 * @param {object} state
 */
function started(state) {
  globalThis.fetch = async () => ({ status: 202, ok: true, text: async () => JSON.stringify(state) });
  const told = [];
  const other = () => told.push("another call");
  const callbacks = { lost: other, gone: other, failed: other };
  startJob({ prompt: "a fox" }, { ...callbacks, state: (each) => told.push(each.state) });
  return told;
}

beforeEach(() => {
  asked = [];
});

it("a stored picture is requested before the card is told, and shown together with it", async () => {
  const told = started({ id: "a", state: "done", images: [{ image_url: "/images/a.png" }, null] });
  await settled();
  assert.deepEqual(
    asked.map(({ src, fetchPriority }) => [src, fetchPriority]),
    [["/images/a.png", "high"]],
  );
  assert.deepEqual(told, []);
  asked[0].dispatchEvent(new Event("load"));
  await settled();
  assert.deepEqual(told, ["done"]);
});

it("a picture that cannot be had does not keep the card waiting", async () => {
  const told = started({ id: "a", state: "done", images: [{ image_url: "/images/a.png" }] });
  await settled();
  asked[0].dispatchEvent(new Event("error"));
  await settled();
  assert.deepEqual(told, ["done"]);
});

it("nor does one that takes long", async ({ mock }) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const told = started({ id: "a", state: "done", images: [{ image_url: "/images/a.png" }] });
  await settled();
  mock.timers.tick(49);
  await settled();
  assert.deepEqual(told, []);
  mock.timers.tick(1);
  await settled();
  assert.deepEqual(told, ["done"]);
});

it("a refusal has no pictures to wait for", async () => {
  assert.deepEqual(started({ id: "a", state: "failed", error: { code: "x", message: "" } }).length, 0);
  await settled();
  assert.deepEqual(asked, []);
});
