// The rule for the side lengths that are typed as numbers, and the nearest ones that follow it.
import { find, make, setAttributes } from "../lib/dom.js";
import { facts, offerOf } from "../lib/facts.js";
import { form } from "../lib/form.js";
import { inputOf } from "../lib/gradio.js";
import { say } from "../lib/i18n.js";
import { isRight, mended } from "../sizes/geometry.js";

/** @import { Fields, Offer } from "../lib/types.d.ts" */

/** @type {("width" | "height")[]} */
const SIDES = ["width", "height"];
const GRID = facts.limits.grid;

/** @param {Offer} offer */
const rule = ({ min_side: least, max_side: most }) => say("side_rule", { least, most, step: GRID });

/**
 * @param {"width" | "height"} name
 * @param {number | null} side
 * @param {Offer} offer
 */
function complaint(name, side, offer) {
  const told = `${say(name)}: ${rule(offer)}`;
  if (side == null) return [told];
  const better = mended(side, offer);
  const use = make("button", { type: "button", className: "zi-link" }, say("side_nearest", { side: better }));
  use.addEventListener("click", () => {
    form.fill({ [name]: better });
    inputOf(name)?.focus();
  });
  return [`${told} `, use];
}

/** @param {HTMLElement} root */
export function sides(root) {
  const hint = find(root, ".zi-side-hint");
  let shown = "";

  /** @param {Fields} values */
  function judge(values) {
    const offer = offerOf(values);
    const wrong = SIDES.filter((name) => !isRight(values[name], offer));
    for (const name of SIDES) {
      const invalid = String(wrong.includes(name));
      setAttributes(inputOf(name), { "aria-describedby": hint.id, "aria-invalid": invalid });
    }
    // Only changed values are written.
    const told = JSON.stringify([wrong.map((name) => [name, values[name]]), values.model]);
    if (told === shown) return;
    shown = told;
    hint.classList.toggle("zi-off", wrong.length > 0);
    const complaints = wrong.map((name) => make("span", {}, ...complaint(name, values[name], offer)));
    hint.replaceChildren(...(wrong.length ? complaints : [rule(offer)]));
  }

  form.changed(judge);
}
