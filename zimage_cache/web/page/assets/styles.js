// The styles as tiles: two rows, the others shown by "more". The tiles are Gradio's radio buttons, see swatches.css.
"use strict";
zimage.styles = (root) => {
  const { about, access, form, language, say, translate } = zimage;
  const ROWS = 2;
  const more = root.querySelector(".zi-styles-more");
  const chosen = root.querySelector(".zi-style-chosen");
  const resized = new ResizeObserver(fold);
  let open = false;
  let tiles = null;
  let last = "";

  function fold() {
    if (!tiles) return;
    const columns = getComputedStyle(tiles).gridTemplateColumns.split(" ").length;
    const hidden = tiles.children.length - ROWS * columns;
    more.hidden = hidden <= 0;
    more.textContent = open ? say("styles_fewer") : say("styles_more", { n: hidden });
    more.setAttribute("aria-expanded", String(open));
    tiles.classList.toggle("zi-open", open);
    for (const [i, tile] of [...tiles.children].entries()) tile.dataset.folded = String(!open && i >= ROWS * columns);
  }

  function turn(wanted) {
    open = wanted;
    fold();
  }

  // When a hidden tile is chosen, by an arrow key or because the form was filled, all tiles are shown.
  function reveal(radio) {
    const tile = radio?.closest("label");
    if (tile?.dataset.folded === "true") turn(true);
  }

  function found(element) {
    if (tiles !== element) {
      resized.disconnect();
      resized.observe(element);
      tiles = element;
      tiles.addEventListener("focusin", (event) => reveal(event.target));
    }
    fold();
    reveal(tiles.querySelector("input:checked"));
  }

  form.changed(({ style }) => {
    chosen.textContent = about.styles[language].find(([, name]) => name === style)?.[0] ?? "";
    if (style !== last) requestAnimationFrame(() => reveal(tiles?.querySelector("input:checked")));
    last = style;
  });
  more.addEventListener("click", () => turn(!open));
  translate(root);
  access.always("#zi-style > .wrap:not([data-testid])", found);
};
