// When the user chooses another model, its defaults are set, except in fields with values other than the previous
// model's defaults. Not when a script fills the form, because it sets the other fields itself.
import { facts } from "./facts.js";
import { form } from "./form.js";

/** @import { Fields } from "./types.d.ts" */

const SIDES = ["width", "height"];

/**
 * The fields to set for the model in *now*, where those in *before* were for another one.
 * @param {Fields} before
 * @param {Fields} now
 * @returns {Partial<Fields>}
 */
function following(before, now) {
  const old = facts.defaults[before.model] ?? {};
  const alike = (/** @type {string} */ name) => now[/** @type {keyof Fields} */ (name)] === old[name];
  const follows = (/** @type {string} */ name) => (SIDES.includes(name) ? SIDES.every(alike) : alike(name));
  const own = Object.entries(facts.defaults[now.model] ?? {});
  return Object.fromEntries(own.filter(([name, value]) => value !== old[name] && follows(name)));
}

/** @type {Fields | null} */
let last = null;
form.changed((values, how) => {
  if (how === "typed" && last && last.model !== values.model) {
    const fields = following(last, values);
    if (Object.keys(fields).length) form.fill(fields);
  }
  last = values;
});
