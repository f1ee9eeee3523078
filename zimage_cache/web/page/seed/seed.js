// Beside the seed: whether it stays, or is rolled anew at each press of Generate.
import { find, inside } from "../lib/dom.js";
import { say } from "../lib/i18n.js";
import { onRolls, rolls, setRolls } from "../lib/seeds.js";

/** @param {HTMLElement} root */
export function seed(root) {
  const group = find(root, ".zi-rolls");

  function show() {
    const chosen = rolls() ? "random" : "fixed";
    for (const radio of group.querySelectorAll("input")) radio.checked = radio.value === chosen;
    document.body.classList.toggle("zi-rolling", rolls());
  }

  // By hand only: values that scripts write cause no such event.
  /** @param {Event} event */
  function typed(event) {
    if (inside(event, "#zi-seed input")) setRolls(false);
  }

  group.setAttribute("aria-label", say("seed_choice"));
  group.addEventListener("change", ({ target }) =>
    setRolls(/** @type {HTMLInputElement} */ (target).value === "random"),
  );
  document.addEventListener("input", typed);
  onRolls(show);
  show();
}
