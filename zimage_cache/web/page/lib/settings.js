// Conversions between the form's values, requests, and parameters from links, files and the history.
import { facts } from "./facts.js";
import { say } from "./i18n.js";
import { drawSeed } from "./seeds.js";
import { Refused, server } from "./server.js";

/** @import { Ask, Fields, Parameters } from "./types.d.ts" */

// A prompt with these may have {red|blue}, __wildcards__ or the escape \_\_, which only the server can decide.
const DYNAMIC = /\{|__|\\_\\_/u;

/** @param {{ prompt: string | null, negative_prompt: string | null }} fields */
export const isDynamic = ({ prompt, negative_prompt }) => DYNAMIC.test(`${prompt} ${negative_prompt}`);

/**
 * Whether the server offers a model of this name.
 * @param {unknown} model
 * @returns {model is string}
 */
export const offered = (model) => typeof model === "string" && Object.hasOwn(facts.defaults, model);

/**
 * The value of every field for a request's *parameters*: missing ones are the model's defaults, invalid numbers (NaN)
 * are left empty.
 * @param {Parameters} parameters
 * @returns {Fields}
 */
export function settings(parameters) {
  const model = offered(parameters.model) ? parameters.model : facts.default_model;
  const whole = { ...facts.defaults[model], seed: drawSeed(), n: 1, model, cache: "use" };
  const given = { ...parameters, model, cache: "use", style: parameters.style ?? "" };
  const fields = Object.entries(whole).map(([name, usual]) => {
    const value = given[/** @type {keyof typeof given} */ (name)] ?? usual;
    return [name, Number.isNaN(value) ? null : value];
  });
  return Object.fromEntries(fields);
}

/**
 * The values of the fields that *parameters* name; null is a field's default. A model that is not offered is left out.
 * @param {Parameters} parameters
 * @returns {Partial<Fields>}
 */
export function givenFields(parameters) {
  const named = Object.entries(settings(parameters)).filter(([name]) => name in parameters);
  return Object.fromEntries(named.filter(([name]) => name !== "model" || offered(parameters.model)));
}

/**
 * *fields* with prompts escaped for the form, where {red|blue} and __wildcards__ would be expanded.
 * @template {Partial<Pick<Fields, "prompt" | "negative_prompt">>} Spelled
 * @param {Spelled} fields
 * @returns {Spelled}
 */
export function spelled(fields) {
  const written = { ...fields };
  if (fields.prompt) written.prompt = escaped(fields.prompt);
  if (fields.negative_prompt) written.negative_prompt = escaped(fields.negative_prompt);
  return written;
}

/**
 * Only where these characters have a meaning: braces without | or $$ are text, as are two underscores alone. The escape
 * \_\_ is parted by an alternative between nothing and nothing, for a backslash has no escape of its own.
 * @param {string} text
 */
export function escaped(text) {
  const braces = /\||\$\$|\\[{}]/u.test(text) ? text.replace(/[{}]/gu, "\\$&") : text;
  const signs = /__.*__|\\__/su.test(text) ? braces.replace(/__/gu, "\\__") : braces;
  return signs.replace(/\\_(?=\\_)/gu, "\\_{|}");
}

/**
 * The body of `POST /generate`. Values are not corrected here; the server validates them.
 * @param {Fields} fields
 * @returns {Ask}
 */
export function request({ style, width, height, seed, ...fields }) {
  const sides = { width: pixels("width", width), height: pixels("height", height) };
  return { ...fields, ...sides, seed: seed ?? facts.limits.random_seed, style: style || null };
}

/**
 * @param {string} field
 * @param {number | null} side
 */
function pixels(field, side) {
  if (side === null || side === undefined) {
    throw new Refused({ code: "invalid_request", field, message: say("side_missing", { step: facts.limits.grid }) });
  }
  return side;
}

/**
 * *ask* with its prompts expanded: the server picks options of {red|blue} and wildcards from the seed.
 * @param {Ask} ask
 * @param {AbortSignal} signal
 * @returns {Promise<Ask>}
 */
export async function expanded(ask, signal) {
  if (!isDynamic(ask)) return ask;
  const { prompt, negative_prompt, style, seed, model, max_sequence_length } = ask;
  const body = { prompt, negative_prompt, style, seed, model, max_sequence_length };
  const info = await server.post("/prompt-info", body, { signal });
  return { ...ask, prompt: info.prompt, negative_prompt: info.negative_prompt };
}
