// The result card: one view for each state of a request (empty, running, result, error, stopped); display only.
"use strict";
zimage.cardViews = (root, { again, forgotten, newSeed, stop, use }) => {
  const { about, form, has, language, make, say, time } = zimage;
  const card = root.querySelector(".zi-card");
  const find = (name) => card.querySelector(`.zi-${name}`);
  const { fact, tools } = zimage.actions({ use, remove });
  const tiles = zimage.tiles(find("pictures"), caption);

  function view(name) {
    card.dataset.view = name;
    card.setAttribute("aria-busy", String(["running", "filling"].includes(name)));
  }

  function rest(title, text) {
    find("empty-title").textContent = say(title);
    find("empty-text").textContent = say(text);
    find("examples").hidden = title !== "empty_title" || about.examples.length === 0;
    view("empty");
  }

  // Example prompts, shown in the place of the picture until the first one is drawn.
  function example(prompt) {
    const chip = make("button", { type: "button", className: "zi-chip" }, prompt);
    chip.addEventListener("click", () => form.fill({ prompt }));
    return chip;
  }

  // ---- while a request runs ----

  function place({ phase, detail, position, step, steps }) {
    if (phase === "loading") return detail || say("loading_hint");
    if (phase === "queued") return position ? say("queued_ahead", { ahead: position }) : say("queued_next");
    return phase === "drawing" ? say("drawing_step", { step, steps }) : "";
  }

  // The preview. Progress without a preview keeps the last one; null removes it.
  function grow(preview, ask) {
    const image = find("preview");
    if (preview === undefined && !image.hidden) return;
    image.hidden = !preview;
    if (preview) Object.assign(image, { src: preview, width: ask.width, height: ask.height });
    else image.removeAttribute("src");
  }

  // {phase, more, share}: the progress as text, and the finished share (null while unknown).
  function worded({ n, done = 0, eta_seconds: eta, ...progress }) {
    const { phase, step = 0, steps = 0 } = progress;
    const known = ["drawing", "decoding"].includes(phase) && steps > 0;
    const more = [
      place({ ...progress, step, steps }),
      n > 1 ? say("picture_of", { number: Math.min(done + 1, n), n }) : "",
      eta >= 1 ? say("eta", { time: time(eta) }) : "",
    ];
    return {
      phase: say(phase),
      more: more.filter(Boolean).join(" · "),
      share: known ? Math.round((100 * (done + step / steps)) / n) : null,
      own: known ? Math.round((100 * step) / steps) : 0,
    };
  }

  function course(box, { phase, more, share }) {
    box.querySelector(".zi-phase").textContent = phase;
    box.querySelector(".zi-phase-more").textContent = more;
    const bar = box.querySelector(".zi-bar");
    bar.classList.toggle("zi-unknown", share === null);
    bar.firstElementChild.style.width = `${share ?? 0}%`;
    bar.setAttribute("aria-label", phase);
    if (share === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", String(share));
  }

  // *progress* is the job's state, or {phase: "asking", preview: null} before the first state.
  function running(ask, progress) {
    const { n = 1 } = ask;
    const words = worded({ ...progress, n });
    if (n > 1) {
      const images = progress.images ?? Array(n).fill(null);
      const drawn = { words: [words.phase, place(progress)].filter(Boolean).join(" · "), share: words.own };
      tiles.show(ask, images, { ...drawn, preview: progress.preview });
      course(find("course"), words);
      return view("filling");
    }
    const box = find("running");
    grow(progress.preview, ask);
    box.style.setProperty("--ratio", `${ask.width ?? 1} / ${ask.height ?? 1}`);
    box.style.setProperty("--wide", String((ask.width ?? 1) / (ask.height ?? 1)));
    box.style.setProperty("--cap", `${ask.width < 256 ? 512 : ask.width}px`); // the width of the finished picture
    course(box, words);
    return view("running");
  }

  // The connection was lost; the last progress stays on the card, and the next one removes this message.
  function lost({ n = 1 }) {
    course(find(n > 1 ? "course" : "running"), { phase: say("lost"), more: say("lost_text"), share: null });
    view(n > 1 ? "filling" : "running");
  }

  // ---- after a request has ended ----

  function failed({ code, message, field, reason, request_id: id }) {
    const title = has(`error_${code}`) ? say(`error_${code}`) : say("error_other");
    const named = field && has(field);
    find("error-title").textContent = named ? say("error_about", { title, field: say(field) }) : title;
    find("error-text").textContent = (named && reason) || message;
    find("error-id").textContent = id ? `${say("request_id")} ${id} · ${code}` : code;
    view("error");
  }

  // Each of several pictures has its own caption; that of a single one is on the card.
  function caption(ask, image) {
    const seed = make("dl", { className: "zi-facts" }, fact(say("seed"), String(image.seed)));
    return make("div", { className: "zi-own" }, seed, tools(ask, image));
  }

  function key(image) {
    const shown = fact(say("key"), image.key.slice(0, 12), image.key);
    shown.classList.add("zi-code");
    return shown;
  }

  function plain(name, value) {
    return make("div", {}, make("dt", {}, name), make("dd", {}, value));
  }

  function facts(ask, images) {
    const alone = images.length === 1;
    const first = images.find(Boolean);
    const last = (ask.seed + images.length - 1) % 2 ** 32;
    const style = about.styles[language].find(([, name]) => name === ask.style);
    return [
      alone ? fact(say("seed"), String(first.seed)) : plain(say("seed"), `${ask.seed} – ${last}`),
      fact(say("size"), `${first.width} × ${first.height}`, `${first.width}x${first.height}`),
      ...(ask.steps ? [fact(say("steps"), String(ask.steps))] : []),
      ...(style ? [plain(say("style"), style[0])] : []),
      ...(alone && first.key ? [key(first)] : []),
    ];
  }

  function result(ask, { images, warnings }) {
    const alone = images.length === 1;
    tiles.show(ask, images);
    find("warnings").replaceChildren(...warnings.map((text) => make("li", {}, text)));
    find("asked").textContent = ask.prompt;
    find("facts-all").replaceChildren(...facts(ask, images));
    find("own-tools").replaceChildren(...(alone ? [tools(ask, images[0])] : []));
    view("result");
  }

  function remove(image) {
    if (find("pictures").dataset.count === "1") forgotten();
    else tiles.remove(image);
  }

  zimage.translate(root);
  find("examples").setAttribute("aria-label", say("examples"));
  find("examples").replaceChildren(...about.examples.map(example));
  find("new-seed").addEventListener("click", newSeed);
  find("again").addEventListener("click", again);
  for (const halt of card.querySelectorAll(".zi-halt")) halt.addEventListener("click", stop);
  return {
    empty: () => rest("empty_title", "empty_text"),
    stopped: () => rest("stopped_title", "stopped_text"),
    deleted: () => rest("deleted_title", "deleted_text"),
    running,
    lost,
    failed,
    result,
  };
};
