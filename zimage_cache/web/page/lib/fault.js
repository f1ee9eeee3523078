// An error of one field, said at that field.
import { find, make } from "./dom.js";
import { form } from "./form.js";

/** @import { Fields, Trouble } from "./types.d.ts" */

const INPUT = "textarea, input";
/** @type {{ field: keyof Fields, value: unknown, line: HTMLElement } | null} */
let shown = null;

/** @param {HTMLElement} block */
function reveal(block) {
  const isFolded = block.closest("#zi-advanced") && !block.checkVisibility();
  if (isFolded) find(document, ".zi-part-advanced button").click();
}

export const fault = {
  /**
   * Says an error at its field, and moves the focus there; returns whether there is such a field to be seen.
   * @param {Trouble} error
   */
  show({ field, reason, message }) {
    fault.clear();
    form.mark(field);
    const block = field ? document.getElementById(`zi-${field}`) : null;
    if (!block) return false;
    reveal(block);
    if (!block.checkVisibility()) return false;
    const line = make("p", { className: "zi-fault", role: "alert" }, reason || message);
    block.append(line);
    const name = /** @type {keyof Fields} */ (field);
    shown = { field: name, value: form.values[name], line };
    const input = block.querySelector(INPUT);
    if (input instanceof HTMLElement) input.focus();
    return true;
  },

  clear() {
    form.mark(null);
    shown?.line.remove();
    shown = null;
  },
};

form.changed((values) => shown && values[shown.field] !== shown.value && fault.clear());
