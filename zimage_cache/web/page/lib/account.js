// Whose requests this page sends.
import { server } from "./server.js";

/** @type {Promise<boolean> | null} */
let asked = null;

/** Whether this user may change the cache; asked once. Where the server does not say, it is tried and may be refused. */
export function administers() {
  asked ??= server.get("/me").then(
    ({ administrator }) => administrator,
    () => true,
  );
  return asked;
}
