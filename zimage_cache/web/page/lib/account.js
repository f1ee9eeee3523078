// The account that the page's requests are sent by.
import { server } from "./server.js";

/** @typedef {{ name: string, administrator: boolean }} Me */

/** @type {Promise<Me> | null} */
let asked = null;

/** Asked once; where that fails, once more by the next call. @returns {Promise<Me>} */
export function me() {
  asked ??= server.get("/me").catch(() => {
    asked = null;
    return { name: "", administrator: false };
  });
  return asked;
}
