// Calls the HTTP API: returns the body of an answer, whose texts for people are in the page's language; throws the
// server's error, or an error of the same form where no server answers.
"use strict";
zimage.server = (() => {
  const { language, say } = zimage;

  // Throws {code, message, field?, reason?, request_id?}; an AbortError is thrown unchanged.
  async function ask(method, path, { body, signal, keepalive } = {}) {
    const answer = await answered(path, {
      method,
      signal,
      keepalive,
      ...written(body),
    });
    const said = answer.status === 204 ? null : await answer.json().catch(() => null);
    if (answer.ok) return said;
    throw said?.error ?? { code: `http_${answer.status}`, message: say("error_strange_text", { status: answer.status }) };
  }

  // Headers and body: a file is sent unchanged, every other body as JSON.
  function written(body) {
    const headers = { "Accept-Language": language };
    if (!body) return { headers };
    if (body instanceof Blob) return { headers: { ...headers, "Content-Type": "image/png" }, body };
    return { headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) };
  }

  async function answered(path, options) {
    try {
      return await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw { code: "unreachable", message: say("error_unreachable_text") };
    }
  }

  // The text of *error* for places without a Generate button.
  const why = ({ code, message }) => (code === "unreachable" ? say("try_again_text") : message);

  return {
    why,
    get: (path, options) => ask("GET", path, options),
    post: (path, body, options) => ask("POST", path, { body, ...options }),
    drop: (path, options) => ask("DELETE", path, options),
  };
})();
