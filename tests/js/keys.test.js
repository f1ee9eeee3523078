import assert from "node:assert/strict";
import { it } from "node:test";
import { isComposing, isTyping, keepKeys, pageAct, panOf, step } from "../../zimage_cache/web/page/lib/keys.js";

it("Esc stops, Ctrl+Enter and Cmd+Enter generate", () => {
  assert.equal(pageAct({ key: "Escape" }), "stop");
  assert.equal(pageAct({ key: "Enter", ctrlKey: true }), "generate");
  assert.equal(pageAct({ key: "Enter", metaKey: true }), "generate");
  assert.equal(pageAct({ key: "Enter" }), null);
});

it("keys of an input method are known, also WebKit's last one", () => {
  assert.equal(isComposing({ isComposing: true, keyCode: 27 }), true);
  assert.equal(isComposing({ isComposing: false, keyCode: 229 }), true);
  assert.equal(isComposing({ isComposing: false, keyCode: 27 }), false);
});

it("a place of its own keeps the page's keys, and no others", () => {
  const stopped = [];
  for (const key of ["Escape", "a"]) keepKeys({ key, stopPropagation: () => stopped.push(key) });
  assert.deepEqual(stopped, ["Escape"]);
});

it("arrows move round a row, Home and End to its ends", () => {
  assert.deepEqual(
    ["ArrowRight", "ArrowLeft", "Home", "End", "x"].map((key) => step(key, 0, 3)),
    [1, 2, 0, 2, null],
  );
  assert.equal(step("ArrowRight", 2, 3), 0);
});

it("Shift with arrows moves an enlarged picture sideways; up and down need none", () => {
  assert.deepEqual(panOf({ key: "ArrowLeft", shiftKey: true }), [80, 0]);
  assert.equal(panOf({ key: "ArrowLeft", shiftKey: false }), null);
  assert.deepEqual(panOf({ key: "ArrowUp", shiftKey: false }), [0, 80]);
  assert.equal(panOf({ key: "PageUp", shiftKey: false }), null);
});

it("what is no element is no place to type in", () => {
  globalThis.Element = class {
    closest = (selector) => (selector.includes("textarea") ? this : null);
  };
  assert.equal(isTyping(null), false);
  assert.equal(isTyping({}), false);
  assert.equal(isTyping(new globalThis.Element()), true);
});
