// What the server knows and the page needs: texts, models, limits. It stands before the modules, see bundle.py.
/** @import { Facts, Fields, Offer } from "./types.d.ts" */

export const facts = /** @type {{ zimageFacts: Facts }} */ (/** @type {unknown} */ (globalThis)).zimageFacts;

/**
 * What the model in the form offers.
 * @param {Pick<Fields, "model">} values
 * @returns {Offer}
 */
export const offerOf = ({ model }) => facts.models[model] ?? /** @type {Offer} */ (facts.models[facts.default_model]);
