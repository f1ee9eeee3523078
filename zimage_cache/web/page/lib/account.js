// The account that the page's requests are sent by.
import { server } from "./server.js";

/** @typedef {{ name: string, administrator: boolean }} Me */

/** @type {Promise<Me> | null} */
let asked = null;

/** Asked once; where that fails, once more by the next call. @returns {Promise<Me>} */
function ask() {
  asked ??= server.get("/me").catch((error) => {
    asked = null;
    throw error;
  });
  return asked;
}

/** The account; without a name where there are no users, or no answer. */
export const me = () => ask().catch(() => ({ name: "", administrator: false }));

/** Whether this user may change the cache. Where the server does not say, it is tried and may be refused. */
export const administers = () =>
  ask().then(
    ({ administrator }) => administrator,
    () => true,
  );
