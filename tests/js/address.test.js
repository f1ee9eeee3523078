import "./facts.js";
import assert from "node:assert/strict";
import { afterEach, it } from "node:test";
import { addressOf, withAddresses } from "../../zimage_cache/web/page/lib/address.js";

const { zimageFacts: facts } = globalThis;

/** Stands for the page's, or without a *document* for the worker's, at *href*. */
function at(href, document = {}) {
  Object.defineProperty(globalThis, "location", { value: { href }, configurable: true });
  Object.defineProperty(globalThis, "document", { value: document, configurable: true });
}

afterEach(() => {
  for (const name of ["location", "document"]) Reflect.deleteProperty(globalThis, name);
  facts.root_path = "";
});

it("paths are below the page's own", () => {
  at("https://img.example.com/zimage/#prompt=x");
  assert.equal(addressOf("/health"), "/zimage/health");
  at("https://img.example.com/images/"); // also where the proxy's path has the name of a route
  assert.equal(addressOf("/images/a.png"), "/images/images/a.png");
  at("http://127.0.0.1:7860/");
  assert.equal(addressOf("/health"), "/health");
});

it("the worker knows the path by its own file", () => {
  at("https://img.example.com/zimage/page/0123456789abcdef/worker.js", null);
  assert.equal(addressOf("/jobs/events"), "/zimage/jobs/events");
});

it("addresses in answers have the path that the server was told, and get the page's", () => {
  for (const [told, href, given, address] of [
    ["", "http://a/", "/images/a.png", "/images/a.png"],
    ["", "http://a/zimage/", "/images/a.png", "/zimage/images/a.png"],
    ["/zimage", "http://a/zimage/", "/zimage/images/a.png", "/zimage/images/a.png"],
    ["/zimage", "http://127.0.0.1:7860/", "/zimage/images/a.png", "/images/a.png"],
  ]) {
    facts.root_path = told;
    at(href);
    const text = JSON.stringify({ image_url: given, prompt: given, thumbnail_url: null });
    assert.deepEqual(JSON.parse(text, withAddresses), { image_url: address, prompt: given, thumbnail_url: null });
  }
});
