// Short news of what a button did: one line at the foot of the window, read out to those who cannot see it.
"use strict";
zimage.tell = (() => {
  const { make } = zimage;
  const SECONDS = 6;
  let line = null;
  let timer = 0;

  return (text) => {
    // Inside Gradio's container, whose style it shares.
    line ??= document.querySelector(".gradio-container").appendChild(make("p", { className: "zi-told", role: "status" }));
    line.textContent = text;
    line.classList.add("zi-there");
    clearTimeout(timer);
    timer = setTimeout(() => line.classList.remove("zi-there"), SECONDS * 1000);
  };
})();

// Copies *text* and says so; *what* names it. Pages over plain http have no `navigator.clipboard`: there, the old way.
zimage.copy = async (text, what) => {
  const { make, say, tell } = zimage;

  async function modern() {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false; // not there, or refused
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
