// The form as an object by field name: its values, changing them, and callbacks for changes.
//
// Widgets can be changed only inside an event of Gradio: `fill` queues the values and triggers an event that applies
// them. All access to the form goes through this module, so no other one depends on the order of the widgets.
import { facts } from "./facts.js";
import { applyFills } from "./gradio.js";
import { say, styles } from "./i18n.js";
import { link } from "./link.js";
import { drawSeed, onRolls, rolls, setRolls } from "./seeds.js";
import { keepForm, keptForm } from "./session.js";
import { offered, settings, spelled } from "./settings.js";

/** @import { Fields, How } from "./types.d.ts" */
/** @import { Opened } from "./link.js" */

/** @typedef {(values: Fields, how: How) => void} Listener */
/** @typedef {{ fields: Partial<Fields>, then: ((form: Fields) => void) | undefined, isRoll?: boolean }} Wish */

const SKIP = { __type__: "update" }; // Gradio's word for a widget that stays as it is
/** @type {Listener[]} */
const listeners = [];
/** @type {((field: string | null) => void)[]} */
const markers = [];
let values = /** @type {Fields} */ ({});
/** @type {Wish[]} */
let wishes = []; // queued values for the form, with their callbacks
let settled = false; // whether the widgets have their first values, from `begin`, which would overwrite earlier fills
/** @type {PromiseWithResolvers<Opened | null>} */
const begun = Promise.withResolvers();

/** @type {Record<string, () => [string, string][]>} */
const choices = {
  style: () => [[say("style_none"), ""], ...styles],
  cache: () => facts.limits.cache_modes.map((mode) => [say(`cache_${mode}`), mode]),
};

/**
 * @param {string[]} names
 * @param {unknown[]} held
 * @returns {Fields}
 */
export const named = (names, held) =>
  /** @type {Fields} */ (/** @type {unknown} */ (Object.fromEntries(names.map((name, i) => [name, held[i]]))));

/**
 * @param {string[]} names
 * @param {Fields} fields
 */
const listed = (names, fields) => names.map((name) => fields[/** @type {keyof Fields} */ (name)]);

/**
 * @param {Fields} next
 * @param {How} how
 */
function hear(next, how) {
  values = next;
  document.body.classList.toggle("zi-guided", values.guidance_scale > 0);
  keepForm(values);
  for (const listener of listeners) listener(values, how);
}

/** @param {Wish} wish */
function want(wish) {
  wishes.push(wish);
  if (settled) applyFills();
}

export const form = {
  /** The latest values, by field name. */
  get values() {
    return values;
  },

  /** Fulfilled once the form has its first values, with what the page's URL said. */
  begun: begun.promise,

  /**
   * Sets fields by name; *then* is called with the whole form. A seed that is given is not rolled at the next press.
   * @param {Partial<Fields>} fields
   * @param {(form: Fields) => void} [then]
   */
  fill: (fields, then) => want({ fields, then }),

  /**
   * Sets a new random seed; whether seeds are rolled stays as it is.
   * @param {(form: Fields) => void} [then]
   */
  roll: (then) => want({ fields: { seed: drawSeed() }, then, isRoll: true }),

  /**
   * Calls *listener* with the values now, if the form has them, and after each change.
   * @param {Listener} listener
   */
  changed(listener) {
    listeners.push(listener);
    if ("prompt" in values) listener(values, "begun");
  },

  /**
   * Marks the field of an error; null: no field.
   * @param {string | null | undefined} field
   */
  mark(field) {
    for (const old of document.querySelectorAll(".zi-wrong")) old.classList.remove("zi-wrong");
    if (field) document.getElementById(`zi-${field}`)?.classList.add("zi-wrong");
    for (const marker of markers) marker(field ?? null);
  },

  /**
   * Calls *marker* with each field that is marked, so that a part of the form that hides it can show it.
   * @param {(field: string | null) => void} marker
   */
  marked(marker) {
    markers.push(marker);
  },
};

onRolls(() => keepForm({ rolls: rolls() }));

// What Gradio's events call, with the names of the widgets and their values in the same order; the values returned are
// written into the widgets. See `_wire` in create.py.
export const events = {
  /**
   * The first values are the defaults with a concrete seed, and choices in the page's language; then the values from
   * before a reload; then those of a link.
   * @param {string[]} names
   * @param {unknown[]} held
   */
  begin(names, held) {
    const opened = link.read();
    const said = opened && spelled(settings(opened.parameters));
    setRolls(!opened && keptForm?.rolls === true);
    const first = { ...named(names, held), seed: drawSeed(), style: "", ...keptForm, ...said };
    // Kept values may be from a server that offered other choices.
    if (!offered(first.model)) first.model = facts.default_model;
    hear(named(names, listed(names, first)), "begun");
    begun.resolve(opened);
    return names.map((name, i) => {
      const value = listed(names, first)[i];
      return choices[name] ? { ...SKIP, choices: choices[name](), value } : value;
    });
  },

  /** From now on the form can be filled; queued values are applied. */
  settle() {
    settled = true;
    if (wishes.length) applyFills();
  },

  /**
   * @param {string[]} names
   * @param {unknown[]} held
   */
  heard: (names, held) => hear(named(names, held), "typed"),

  /**
   * @param {string[]} names
   * @param {unknown[]} held
   */
  filled(names, held) {
    const granted = wishes;
    wishes = [];
    const fields = Object.assign({}, ...granted.map((wish) => wish.fields));
    const next = { ...named(names, held), ...fields };
    if (granted.some((wish) => "seed" in wish.fields && !wish.isRoll)) setRolls(false);
    hear(named(names, listed(names, next)), "filled");
    for (const { then } of granted) then?.(next);
    // Fields without new values are not written, because the user may be typing in them.
    return names.map((name) => (name in fields ? fields[name] : SKIP));
  },

  drawSeed,
};
