// Addresses of the server, which a proxy may offer below a path such as /zimage/: its documents are then below it too.

/** The server's own path, with a slash at its end. This script is in the page's document, or in the worker's file. */
function ownPath() {
  if (!globalThis.location) return "/";
  return new URL(globalThis.document ? "." : "../../", location.href).pathname;
}

/**
 * The address of a path of the HTTP API; one that is below the server's own path already stays as it is.
 * @param {string} path
 */
export function addressOf(path) {
  const own = ownPath();
  return path.startsWith(own) ? path : own + path.slice(1);
}

/**
 * For `JSON.parse` of answers, which have addresses in fields with names that end in "_url".
 * @param {string} name
 * @param {unknown} value
 */
export const withAddresses = (name, value) =>
  name.endsWith("_url") && typeof value === "string" ? addressOf(value) : value;
