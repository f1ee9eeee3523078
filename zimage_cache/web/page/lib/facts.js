// What the server knows and the page needs: texts, models, limits. It stands before the modules, see bundle.py.
/** @import { Facts } from "./types.d.ts" */

export const facts = /** @type {{ zimageFacts: Facts }} */ (/** @type {unknown} */ (globalThis)).zimageFacts;
