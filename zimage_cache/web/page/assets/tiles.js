// The pictures of one request as tiles that are filled as they arrive: one figure each, replaced only when it changes.
"use strict";
zimage.tiles = (box, made) => {
  const { age, make, say, time } = zimage;
  const HOLES = { pending: "tile_waiting", deleted: "tile_deleted" };
  let ask = null; // the request of these pictures
  let tiles = []; // {state, figure, image?}
  let last = null; // the last preview, of any tile

  // ---- finished pictures ----

  function badge({ source, seconds, seconds_saved: saved, cached, age_seconds: old }) {
    const more = [
      seconds == null ? "" : say("in_time", { time: time(seconds) }),
      cached && old != null ? age(old) : "",
      saved > 0 ? say("saved", { time: time(saved) }) : "",
    ].filter(Boolean).join(" · ");
    return make("p", { className: "zi-badge", dataset: { source, cached: Boolean(cached) } },
      make("strong", {}, make("span", { className: "zi-glyph" }), say(source === "history" ? "from_history" : source)),
      make("span", { className: "zi-badge-more", title: ask.n > 1 ? more : "" }, more));
  }

  const alt = () => say("picture_alt", { prompt: ask.prompt });

  // Opens the viewer with all finished pictures; without a viewer, the picture in a new browser tab.
  function view(event, image) {
    if (!zimage.viewer || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const there = tiles.filter((tile) => tile.state === "there").map((tile) => tile.image);
    const shown = there.map(({ image_url, seed, width, height }) => ({ image_url, alt: alt(), seed, width, height }));
    zimage.viewer.open(shown, there.indexOf(image));
  }

  function picture(image) {
    const shown = make("img", {
      src: image.image_url,
      width: image.width,
      height: image.height,
      alt: alt(),
      className: image.width < 256 ? "zi-small" : "",
    });
    shown.style.setProperty("--own", `${image.width}px`);
    const open = make("a", { href: image.image_url, target: "_blank", className: "zi-open", title: say("view") }, shown);
    open.addEventListener("click", (event) => view(event, image));
    return make("figure", { dataset: { state: "there" } }, open,
      make("figcaption", {}, badge(image), ask.n > 1 ? made(ask, image) : null));
  }

  // ---- unfinished pictures ----

  function hole(state, words) {
    const image = make("img", { className: "zi-tile-preview", alt: "", hidden: true });
    const bar = make("div", { className: "zi-bar" }, make("span"));
    return make("figure", { dataset: { state } },
      make("div", { className: "zi-hole" }, image),
      make("figcaption", {}, make("p", { className: "zi-tile-words" }, words), bar));
  }

  function put(i, state, figure, image) {
    const old = tiles[i]?.figure;
    tiles[i] = { state, figure, image };
    if (old) old.replaceWith(figure);
    else box.append(figure);
  }

  // The one being drawn shows its progress and the preview: undefined keeps the last one, null shows none.
  function drawing({ figure }, { words, share, preview }) {
    figure.dataset.state = "drawing";
    figure.querySelector(".zi-tile-words").textContent = words;
    figure.querySelector(".zi-bar span").style.width = `${share}%`;
    const image = figure.querySelector(".zi-tile-preview");
    if (preview !== undefined) last = preview;
    image.hidden = !last;
    if (last) image.src = last;
    else image.removeAttribute("src");
  }

  function shape({ width, height, n }) {
    box.style.setProperty("--ratio", `${width} / ${height}`);
    box.style.setProperty("--wide", String(width / height));
    box.dataset.count = String(n);
  }

  function begin(next) {
    if (ask === next) return;
    ask = next;
    tiles = [];
    last = null;
    box.replaceChildren();
  }

  return {
    // Shows *images* of *next*; *progress* {words, share, preview} is of the first missing one. With progress, a
    // missing image (null) is not finished yet; without, it was deleted.
    show(next, images, progress = null) {
      begin(next);
      shape({ ...images.find(Boolean) ?? next, n: images.length });
      const first = images.findIndex((image) => !image);
      images.forEach((image, i) => {
        const state = image ? "there" : progress ? "pending" : "deleted";
        if (tiles[i]?.state !== state) put(i, state, image ? picture(image) : hole(state, say(HOLES[state])), image);
        if (i === first && progress) drawing(tiles[i], progress);
      });
    },
    // Replaces *image* by an empty tile.
    remove(image) {
      const i = tiles.findIndex((tile) => tile.image === image);
      if (i >= 0) put(i, "deleted", hole("deleted", say(HOLES.deleted)));
    },
  };
};
