// Addresses of the server, which a proxy may offer below a path such as /zimage/: its documents are then below it too.
import { facts } from "./facts.js";

/** The path of this page, with a slash at its end. This script is in the page's document, or in the worker's file. */
function pagePath() {
  if (!globalThis.location) return "/";
  return new URL(globalThis.document ? "." : "../../", location.href).pathname;
}

/**
 * The address of a path of the HTTP API, which begins with a slash.
 * @param {string} path
 */
export const addressOf = (path) => pagePath() + path.slice(1);

/**
 * For `JSON.parse` of answers, which have addresses in fields with names that end in "_url". They are below the path
 * that the server was told, which may be another one than the page's.
 * @param {string} name
 * @param {unknown} value
 */
export const withAddresses = (name, value) =>
  name.endsWith("_url") && typeof value === "string" ? addressOf(value.slice(facts.root_path.length)) : value;
