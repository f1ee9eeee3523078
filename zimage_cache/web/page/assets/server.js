// Calls the HTTP API: returns the body of an answer; throws the server's error, or an error of the same form where no
// server answers.
"use strict";
zimage.server = (() => {
  const { say, told } = zimage;

  // Throws {code, message, field?, request_id?}; an AbortError is thrown unchanged.
  async function ask(method, path, { body, signal, keepalive } = {}) {
    const answer = await answered(path, {
      method,
      signal,
      keepalive,
      ...(body && written(body)),
    });
    const said = answer.status === 204 ? null : await answer.json().catch(() => null);
    if (answer.ok) return said;
    throw said?.error ?? { code: `http_${answer.status}`, message: say("error_strange_text", { status: answer.status }) };
  }

  // A file is sent unchanged, every other body as JSON.
  const written = (body) =>
    body instanceof Blob
      ? { headers: { "Content-Type": "image/png" }, body }
      : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };

  async function answered(path, options) {
    try {
      return await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw { code: "unreachable", message: say("error_unreachable_text") };
    }
  }

  // The text of *error* for places without a Generate button.
  const why = ({ code, message }) => (code === "unreachable" ? say("try_again_text") : told(message));

  return {
    why,
    get: (path, options) => ask("GET", path, options),
    post: (path, body, options) => ask("POST", path, { body, ...options }),
    drop: (path, options) => ask("DELETE", path, options),
  };
})();
