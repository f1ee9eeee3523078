import "./facts.js";
import assert from "node:assert/strict";
import { it } from "node:test";
import { aborted, Refused, server } from "../../zimage_cache/web/page/lib/server.js";

/**
 * Answers every request with this.
 * @param {number} status
 * @param {() => Promise<string>} text
 */
const answering = (status, text) => {
  globalThis.fetch = () => Promise.resolve(/** @type {Response} */ ({ status, ok: status < 400, text }));
};

it("the body of an answer is its value", async () => {
  answering(200, () => Promise.resolve('{"tokens": 3}'));
  assert.deepEqual(await server.get("/"), { tokens: 3 });
  answering(204, () => Promise.resolve(""));
  assert.equal(await server.drop("/"), null);
});

it("a request that is aborted while its answer arrives is aborted", async () => {
  answering(200, () => Promise.reject(new DOMException("aborted", "AbortError")));
  await assert.rejects(server.get("/"), aborted);
});

it("a connection that is lost while an answer arrives is no answer", async () => {
  answering(200, () => Promise.reject(new TypeError("network error")));
  await assert.rejects(server.get("/"), (error) => error instanceof Refused && error.code === "unreachable");
});

it("what is no JSON is no answer of this server", async () => {
  answering(200, () => Promise.resolve("<html>"));
  await assert.rejects(server.get("/"), (error) => error instanceof Refused && error.code === "http_200");
  answering(502, () => Promise.resolve("<html>"));
  await assert.rejects(server.get("/"), (error) => error instanceof Refused && error.code === "http_502");
});

it("the server's error is thrown as it is", async () => {
  answering(422, () =>
    Promise.resolve('{"error": {"code": "invalid_request", "field": "n", "message": "n: no", "reason": "no"}}'),
  );
  await assert.rejects(
    server.post("/", {}),
    (error) => error instanceof Refused && error.field === "n" && error.reason === "no",
  );
});
