// Calls the HTTP API: returns the body of an answer, whose texts for people are in the page's language; throws the
// server's error, or an error of the same form where no server answers.
import { addressOf, withAddresses } from "./address.js";
import { language, say } from "./i18n.js";

/** @import { Trouble } from "./types.d.ts" */

/** An error of the HTTP API; `code` is "unreachable" where no server answers. */
export class Refused extends Error {
  /**
   * @param {Trouble} trouble
   * @param {ErrorOptions} [options]
   */
  constructor({ code, message, field, reason, request_id }, options) {
    super(message, options);
    this.code = code;
    this.field = field;
    this.reason = reason;
    this.request_id = request_id;
  }
}

/** @type {(() => void)[]} */
const unanswered = [];

/**
 * Calls *listener* each time no server answers a request.
 * @param {() => void} listener
 */
export const onUnreachable = (listener) => void unanswered.push(listener);

/** @typedef {{ signal?: AbortSignal, keepalive?: boolean }} Options */

/**
 * Throws `Refused`; an AbortError is thrown unchanged.
 * @param {string} method
 * @param {string} path
 * @param {Options & { body?: unknown }} options
 */
async function ask(method, path, { body, ...options } = {}) {
  const answer = await arrived(fetch(addressOf(path), { method, ...options, ...written(body) }));
  const said = read(await arrived(answer.text()));
  if (answer.ok && (said !== null || answer.status === 204)) return said;
  const strange = { code: `http_${answer.status}`, message: say("error_strange_text", { status: answer.status }) };
  throw new Refused(said?.error ?? strange);
}

/**
 * Headers and body: a file is sent unchanged, under its type, every other body as JSON.
 * @param {unknown} body
 * @returns {RequestInit}
 */
function written(body) {
  const headers = { "Accept-Language": language };
  if (body === undefined) return { headers };
  if (body instanceof Blob) return { headers: { ...headers, "Content-Type": body.type }, body };
  return { headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

/**
 * The value of a JSON text; null where it is none, such as a page of a proxy.
 * @param {string} text
 */
function read(text) {
  try {
    return JSON.parse(text, withAddresses);
  } catch {
    return null;
  }
}

/**
 * The head or the body of an answer. The connection may be lost, or the request aborted, before either.
 * @template Part
 * @param {Promise<Part>} part
 */
async function arrived(part) {
  try {
    return await part;
  } catch (error) {
    if (aborted(error)) throw error;
    for (const listener of unanswered) listener();
    throw new Refused({ code: "unreachable", message: say("error_unreachable_text") }, { cause: error });
  }
}

/** @param {unknown} error */
export const aborted = (error) => error instanceof DOMException && error.name === "AbortError";

/**
 * The server's error in *error*; every other error is a fault of the page, and thrown on.
 * @param {unknown} error
 */
export function refusal(error) {
  if (error instanceof Refused) return error;
  throw error;
}

/**
 * The text of an error for places without a Generate button.
 * @param {Trouble} trouble
 */
export const why = ({ code, message }) => (code === "unreachable" ? say("try_again_text") : message);

// An object, so that tests can replace one of its functions.
export const server = {
  /**
   * @param {string} path
   * @param {Options} [options]
   */
  get: (path, options) => ask("GET", path, options),
  /**
   * @param {string} path
   * @param {unknown} [body]
   * @param {Options} [options]
   */
  post: (path, body, options) => ask("POST", path, { body, ...options }),
  /**
   * @param {string} path
   * @param {Options} [options]
   */
  drop: (path, options) => ask("DELETE", path, options),
};
