// The viewer's row of thumbnails: all pictures of the row, the current one marked and in sight.
import { make } from "../lib/dom.js";
import { say } from "../lib/i18n.js";

/** @import { Shown } from "../lib/types.d.ts" */

/** @param {(index: number) => void} choose */
export function viewerStrip(choose) {
  const element = make("div", { className: "zi-viewer-strip", hidden: true, aria: { label: say("viewer_strip") } });
  element.setAttribute("role", "group");
  /** @type {Shown[]} */
  let pictures = [];

  /**
   * @param {Shown} picture
   * @param {number} index
   */
  function item({ image_url: url, thumbnail_url: small, alt }, index) {
    const image = make("img", { src: small ?? url, alt: "", loading: "lazy", draggable: false });
    const aria = { label: say("viewer_nth", { number: index + 1, alt }) };
    // Not in the order of Tab, which would stop at each of them; the arrow keys go through the pictures.
    const button = make("button", { type: "button", tabIndex: -1, title: alt, aria }, image);
    button.addEventListener("click", () => choose(index));
    return button;
  }

  return {
    element,
    /**
     * @param {Shown[]} wanted
     * @param {number} at
     */
    show(wanted, at) {
      // Pictures that were appended leave those before as they are.
      const isLonger = pictures.length > 0 && pictures.every((picture, i) => picture === wanted[i]);
      const known = isLonger ? pictures.length : 0;
      if (!isLonger) element.replaceChildren();
      element.append(...wanted.slice(known).map((picture, i) => item(picture, known + i)));
      pictures = wanted;
      element.hidden = wanted.length < 2;
      element.querySelector("[aria-current]")?.removeAttribute("aria-current");
      const current = element.children[at];
      current?.setAttribute("aria-current", "true");
      current?.scrollIntoView({ block: "nearest", inline: "center" });
    },
  };
}
