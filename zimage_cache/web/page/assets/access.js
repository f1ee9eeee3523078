// Repairs of Gradio's widgets for keyboards and screen readers, applied again whenever Gradio redraws them.
"use strict";
zimage.access = (() => {
  const { say } = zimage;
  const GROUP = ".gradio-container fieldset.block";
  const repairs = [];
  let due = 0;

  // Changes made by the repairs themselves do not start another round, which could repeat endlessly.
  function repair() {
    due = 0;
    for (const [selector, act] of repairs) for (const element of document.querySelectorAll(selector)) act(element);
    observer.takeRecords();
  }

  const soon = () => void (due ||= requestAnimationFrame(repair));

  // Calls *act* with every present and future element of *selector*, and again after changes; it must be idempotent.
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

  // Gradio gives each radio button a different name, again after each choice: then they are no group, arrow keys have
  // no effect, and Tab stops at every one.
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

  // Disabled while no run can be stopped: marked for screen readers, and skipped by Tab.
  function stop(button) {
    const idle = !document.body.classList.contains("zi-busy");
    set(button, { "aria-disabled": String(idle), tabindex: idle ? "-1" : "0" });
  }

  // Groups are repaired before the next event; otherwise an arrow key pressed before the next frame would be lost.
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
