// What Gradio's widgets lack for people without a mouse or a screen, put right as often as they are drawn.
"use strict";
zimage.access = (() => {
  const { say } = zimage;
  const GROUP = ".gradio-container fieldset.block";
  const repairs = [];
  let due = 0;

  // What the repairs themselves change is no reason for another round: a repair that always writes would run for ever.
  function repair() {
    due = 0;
    for (const [selector, act] of repairs) for (const element of document.querySelectorAll(selector)) act(element);
    observer.takeRecords();
  }

  const soon = () => void (due ||= requestAnimationFrame(repair));

  // Calls *act* with every element of *selector* there is or will be, and again after changes: it must bear that.
  function always(selector, act) {
    repairs.push([selector, act]);
    soon();
  }

  function set(element, attributes) {
    for (const [name, value] of Object.entries(attributes)) {
      if (element && element.getAttribute(name) !== value) element.setAttribute(name, value);
    }
  }

  const title = (block) => block.querySelector('[data-testid="block-info"]')?.textContent.trim() ?? "";

  // Gradio gives each radio a name of its own, again after each choice: then they are no group, arrows do nothing and
  // Tab stops at every one.
  function group(fieldset) {
    set(fieldset, { role: "radiogroup", "aria-label": title(fieldset) });
    for (const radio of fieldset.querySelectorAll('input[type="radio"]')) {
      set(radio, { name: `${fieldset.id}-choice` });
      radio.removeAttribute("aria-checked");
    }
  }

  function slider(range) {
    const block = range.closest(".block");
    const field = title(block);
    set(range, { "aria-label": say("slider_of", { field }) });
    set(block.querySelector('input[type="number"]'), { "aria-label": field });
    set(block.querySelector(".reset-button"), { "aria-label": say("reset_of", { field }), title: say("reset_of", { field }) });
  }

  // Dim while there is nothing to stop: then it says so, and Tab passes it by.
  function stop(button) {
    const idle = !document.body.classList.contains("zi-busy");
    set(button, { "aria-disabled": String(idle), tabindex: idle ? "-1" : "0" });
  }

  // Groups are repaired before the next event: an arrow key pressed until the next frame would be lost.
  function changed(records) {
    for (const fieldset of new Set(records.map(({ target }) => target.closest?.(GROUP)))) if (fieldset) group(fieldset);
    soon();
  }

  const watched = { childList: true, characterData: true, attributeFilter: ["class", "name"], subtree: true };
  const observer = new MutationObserver(changed);
  observer.observe(document.documentElement, watched);
  always(GROUP, group);
  always('.gradio-container input[type="range"]', slider);
  always("#zi-stop", stop);
  always('.zi-card [role="progressbar"]', (bar) => set(bar, { "aria-label": say("progress") }));
  return { always, set };
})();
