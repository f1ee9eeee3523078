// Short notices: one line that screen readers announce. One that offers an action has a place of its own, so that a
// later notice does not take the offer away.
import { make } from "./dom.js";
import { container } from "./gradio.js";
import { isTyping } from "./keys.js";

/**
 * An offer: *act* is called when its button, with the text *action*, is pressed, or Ctrl+Z.
 * @typedef {{ action: string, act: () => void, seconds: number }} Offer
 */

const SECONDS = 6;

/**
 * Where a notice can be seen and pressed: nothing below an open dialog can, nor what is outside of a full screen.
 * @returns {Element}
 */
const home = () => document.fullscreenElement ?? [...document.querySelectorAll("dialog:modal")].at(-1) ?? container();

/** @param {string} className */
function noticeLine(className) {
  /** @type {HTMLElement | null} */
  let line = null;
  let timer = 0;
  /** @type {EventTarget | null} */
  let before = null; // what had the focus before the notice's button

  function hide() {
    clearTimeout(timer);
    if (line?.contains(document.activeElement)) giveFocusBack(line);
    line?.classList.remove("zi-there");
  }

  /** Without the focus, no key would reach a dialog. @param {HTMLElement} from */
  function giveFocusBack(from) {
    if (before instanceof HTMLElement) before.focus();
    if (from.contains(document.activeElement)) from.parentElement?.focus();
  }

  /**
   * @param {(Node | string)[]} content
   * @param {number} seconds
   */
  function show(content, seconds) {
    line ??= made();
    if (line.parentElement !== home()) home().append(line);
    clearTimeout(timer);
    line.classList.add("zi-there");
    line.replaceChildren(...content);
    timer = setTimeout(hide, seconds * 1000);
  }

  function made() {
    const box = make("div", { className: `zi-told ${className}`, role: "status" });
    box.addEventListener("focusin", ({ relatedTarget }) => {
      before = relatedTarget;
    });
    return box;
  }

  /** From a dialog that was closed, to where it can be seen. */
  function move() {
    if (line?.classList.contains("zi-there") && line.parentElement !== home()) home().append(line);
  }

  return { show, hide, move };
}

const plain = noticeLine("zi-told-plain");
const offering = noticeLine("zi-told-offer");
/** @type {Offer | null} */
let offered = null;

function accept() {
  const offer = offered;
  withdraw();
  offer?.act();
}

/** Takes the offer away. */
export function withdraw() {
  offered = null;
  offering.hide();
}

/**
 * Shows *text*, with an *offer* in a second line beside that of plain notices; "" hides the plain one.
 * @param {string} text
 * @param {Offer | null} offer
 */
export function tell(text, offer = null) {
  if (offer) {
    const button = make("button", { type: "button", className: "zi-told-act" }, offer.action);
    button.addEventListener("click", accept);
    offered = offer;
    plain.hide();
    offering.show([make("span", {}, text), button], offer.seconds);
  } else if (text) plain.show([text], SECONDS);
  else plain.hide();
}

/** @param {KeyboardEvent} event */
function undoKey(event) {
  if (!offered || isTyping(event.target) || event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey))
    return;
  event.preventDefault();
  accept();
}

function moveAll() {
  for (const { move } of [plain, offering]) move();
}

// Before the keys of a dialog, which may be the only ones that it lets through.
addEventListener("keydown", undoKey, { capture: true });
for (const name of ["close", "fullscreenchange"]) {
  document.addEventListener(name, moveAll, { capture: true });
}
