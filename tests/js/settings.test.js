import "./facts.js";
import assert from "node:assert/strict";
import { it } from "node:test";
import {
  escaped,
  givenFields,
  isDynamic,
  offered,
  request,
  settings,
  spelled,
} from "../../zimage_cache/web/page/lib/settings.js";

it("missing parameters are the defaults of the model that is named", () => {
  const { seed, ...rest } = settings({ prompt: "a fox", model: "base", steps: 30 });
  const defaults = { negative_prompt: "", style: "", width: 512, height: 512, guidance_scale: 4 };
  assert.deepEqual(rest, { ...defaults, prompt: "a fox", model: "base", steps: 30, n: 1, cache: "use" });
  assert.ok(seed >= 0 && seed < 2 ** 32);
});

it("a model that is not offered is replaced by the usual one, and a number that is none by an empty field", () => {
  const { model, width } = settings({ model: "gone", width: Number.NaN });
  assert.deepEqual([model, width], ["turbo", null]);
  assert.ok(!offered("toString"));
});

it("parameters that are no fields are left out", () => {
  assert.ok(!("unknown" in settings({ unknown: 1 })));
});

it("only what the parameters name is given, and nothing for a model that is not offered", () => {
  assert.deepEqual(givenFields({ prompt: "a fox", steps: 30, model: "gone", unknown: 1 }), {
    prompt: "a fox",
    steps: 30,
  });
  assert.deepEqual(givenFields({ style: null, negative_prompt: "", model: "base" }), {
    style: "",
    negative_prompt: "",
    model: "base",
  });
  assert.deepEqual(givenFields({}), {});
});

it("prompts are escaped only where characters have a meaning", () => {
  const kept = ["", "{a}", "snake_case", "a __ b", '{"json": 1}', "a\\b"];
  assert.deepEqual(kept.map(escaped), kept);
  assert.equal(escaped("{red|blue}"), "\\{red|blue\\}");
  assert.equal(escaped("{2$$a}"), "\\{2$$a\\}");
  assert.equal(escaped("__animal__"), "\\__animal\\__");
  assert.equal(escaped("a\n__b\nc__"), "a\n\\__b\nc\\__");
  assert.equal(escaped("\\_\\_a"), "\\_{|}\\_a");
  assert.deepEqual(spelled({ prompt: "{a|b}", negative_prompt: "x", n: 1 }), {
    prompt: "\\{a|b\\}",
    negative_prompt: "x",
    n: 1,
  });
  assert.deepEqual(spelled({ negative_prompt: "__a__" }), { negative_prompt: "\\__a\\__" });
});

it("only braces and double underscores need the server", () => {
  assert.ok(isDynamic({ prompt: "{a|b}", negative_prompt: "" }));
  assert.ok(isDynamic({ prompt: "", negative_prompt: "__x__" }));
  assert.ok(isDynamic({ prompt: "\\_\\_x", negative_prompt: "" }));
  assert.ok(!isDynamic({ prompt: "a_b \\_", negative_prompt: null }));
});

it("a request has both sides, and no style instead of an empty one", () => {
  const fields = { prompt: "x", style: "", width: 64, height: 80, seed: 3 };
  assert.deepEqual(request(fields), { ...fields, style: null });
  assert.throws(() => request({ ...fields, height: null }), { code: "invalid_request", field: "height" });
});
