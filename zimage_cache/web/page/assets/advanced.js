// The button that shows and hides the fields of "Advanced".
"use strict";
zimage.advanced = (root) => {
  const button = root.querySelector("button");

  button.addEventListener("click", () => {
    const open = document.body.classList.toggle("zi-advanced-open");
    button.setAttribute("aria-expanded", String(open));
  });
  zimage.translate(root);
};
