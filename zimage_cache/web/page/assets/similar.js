// A row of the user's earlier pictures with prompts similar to the text being typed.
"use strict";
zimage.similar = (root) => {
  const { form, make, say, server, tablist } = zimage;
  const QUIET = 400; // ms without typing
  const LEAST = 8; // characters; a Chinese one counts as two
  const OFFERED = 6;
  const CARD = 8; // pictures the card shows at most
  const MOST = 1000; // characters of a prompt that are sent
  const strip = root.querySelector(".zi-similar");
  const row = strip.querySelector("ul");
  let text = ""; // the prompt in the form
  let asked = ""; // the prompt that the row was found for
  let found = []; // pictures
  let shown = []; // pictures on the card
  let asking = null; // aborts the running request
  let quiet = 0;

  const weight = (words) => [...words].reduce((sum, letter) => sum + (letter >= "\u2e80" ? 2 : 1), 0);
  const long = (words) => weight(words) >= LEAST;

  function show(pictures) {
    found = pictures;
    draw();
  }

  // Pictures on the card are left out. A copy from the history has no key there, but a URL.
  function draw() {
    const there = ({ key, image_url: url }) => shown.some((image) => (image.key ? image.key === key : image.image_url === url));
    const offered = found.filter((picture) => !there(picture)).slice(0, OFFERED);
    row.replaceChildren(...offered.map(item));
    strip.hidden = offered.length === 0;
  }

  function item(picture) {
    const { prompt = "", seed } = picture.parameters;
    const image = make("img", { src: picture.thumbnail_url, alt: prompt, width: picture.width, height: picture.height });
    const button = make("button", { type: "button", title: `${prompt}\n${say("seed")} ${seed ?? "–"}` }, image);
    const listed = make("li", {}, button);
    // The picture was deleted meanwhile, so its suggestion is removed.
    image.addEventListener("error", () => {
      listed.remove();
      strip.hidden = !row.children.length;
    });
    button.addEventListener("click", () => void zimage.restore(picture.parameters, { image: picture.image_url }));
    return listed;
  }

  function drop() {
    clearTimeout(quiet);
    asking?.abort();
    asked = "";
    show([]);
  }

  async function ask() {
    clearTimeout(quiet);
    if (!long(text) || text === asked || !tablist.seen(root)) return;
    asking?.abort();
    const mine = (asking = new AbortController());
    asked = text;
    const wanted = new URLSearchParams({ similar: text.slice(0, MOST), limit: OFFERED + CARD });
    try {
      const { pictures } = await server.get(`/history?${wanted}`, { signal: mine.signal });
      if (!mine.signal.aborted) show(pictures);
    } catch {
      if (mine.signal.aborted) return;
      // Errors are ignored, because the row is optional; the next change sends a new request.
      asked = "";
      show([]);
    }
  }

  function typed({ prompt }) {
    const now = (prompt ?? "").trim();
    if (now === text) return;
    text = now;
    if (!long(text)) {
      drop();
      return;
    }
    clearTimeout(quiet);
    quiet = setTimeout(ask, QUIET);
  }

  zimage.translate(root);
  form.changed(typed);
  typed(form.values);
  tablist.onSeen(root, () => void ask());
  zimage.onResult((_ask, images) => {
    shown = images;
    draw();
  });
};
