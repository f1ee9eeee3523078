// Short notices of a button's result: one line at the bottom of the window, announced by screen readers.
"use strict";
zimage.tell = (() => {
  const { make } = zimage;
  const SECONDS = 6;
  let line = null;
  let timer = 0;

  // "" hides the line.
  return (text) => {
    // Inside Gradio's container, so that its style sheet applies.
    line ??= document.querySelector(".gradio-container").appendChild(make("p", { className: "zi-told", role: "status" }));
    clearTimeout(timer);
    line.classList.toggle("zi-there", text !== "");
    if (text === "") return;
    line.textContent = text;
    timer = setTimeout(() => line.classList.remove("zi-there"), SECONDS * 1000);
  };
})();

// Copies *text* and shows a notice that names it *what*. Pages over plain HTTP have no `navigator.clipboard` and use
// `execCommand`.
zimage.copy = async (text, what) => {
  const { make, say, tell } = zimage;

  async function modern() {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false; // missing or refused
    }
  }

  function old() {
    const before = document.activeElement;
    const field = make("textarea", { value: text, readOnly: true, className: "zi-offstage" });
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    before?.focus();
    return done;
  }

  const done = (navigator.clipboard && (await modern())) || old();
  tell(done ? say("copied", { what }) : say("copy_refused", { text }));
};
