// The card: one view for each state of an ask (empty, running, result, error, stopped). Draws, decides nothing.
"use strict";
zimage.cardViews = (root) => {
  const { about, has, language, make, say, time } = zimage;
  const card = root.querySelector(".zi-card");
  const find = (name) => card.querySelector(`.zi-${name}`);

  function view(name) {
    card.dataset.view = name;
    card.setAttribute("aria-busy", String(name === "running"));
  }

  function rest(title, text) {
    find("empty-title").textContent = say(title);
    find("empty-text").textContent = say(text);
    view("empty");
  }

  function phase({ phase, detail, ahead, step, steps }) {
    if (phase === "loading") return zimage.told(detail) || say("loading_hint");
    if (phase === "queued") return ahead ? say("queued_ahead", { ahead }) : say("queued_next");
    return phase === "drawing" ? say("drawing_step", { step, steps }) : "";
  }

  // The picture growing. News without a preview leave the last one; null takes it away.
  function grow(preview, ask) {
    const image = find("preview");
    if (preview === undefined && !image.hidden) return;
    image.hidden = !preview;
    if (preview) Object.assign(image, { src: preview, width: ask.width, height: ask.height });
    else image.removeAttribute("src");
  }

  // *progress* is the service's, or only {phase: "asking"} before there is any.
  function running(ask, progress) {
    const { phase: name, step = 0, steps = 0, done = 0, n = 1, eta_seconds: eta } = progress;
    const known = ["drawing", "decoding"].includes(name) && steps > 0;
    const share = known ? Math.round((100 * (done + step / steps)) / n) : 0;
    grow(progress.preview, ask);
    find("running").style.setProperty("--ratio", `${ask.width ?? 1} / ${ask.height ?? 1}`);
    find("running").style.setProperty("--wide", String((ask.width ?? 1) / (ask.height ?? 1)));
    find("phase").textContent = say(name);
    find("phase-more").textContent = [
      phase({ ...progress, step, steps }),
      n > 1 ? say("picture_of", { number: Math.min(done + 1, n), n }) : "",
      eta ? say("eta", { time: time(eta) }) : "",
    ].filter(Boolean).join(" · ");
    const bar = find("bar");
    bar.classList.toggle("zi-unknown", !known);
    bar.firstElementChild.style.width = `${share}%`;
    if (known) bar.setAttribute("aria-valuenow", String(share));
    else bar.removeAttribute("aria-valuenow");
    view("running");
  }

  function failed({ code, message, field, request_id: id }) {
    const title = has(`error_${code}`) ? say(`error_${code}`) : say("error_other");
    const named = field && has(field);
    find("error-title").textContent = named ? `${title}: ${say(field)}` : title;
    const text = named && message.startsWith(`${field}: `) ? message.slice(field.length + 2) : message;
    find("error-text").textContent = zimage.told(text);
    find("error-id").textContent = id ? `${say("request_id")} ${id} · ${code}` : code;
    view("error");
  }

  function badge({ source, seconds, seconds_saved: saved, cached }) {
    const more = [say("in_time", { time: time(seconds) }), saved > 0 ? say("saved", { time: time(saved) }) : ""];
    return make("p", { className: "zi-badge", dataset: { source, cached } },
      make("strong", {}, make("span", { className: "zi-glyph" }), say(source)),
      make("span", { className: "zi-badge-more" }, more.filter(Boolean).join(" · ")));
  }

  const fileName = (image) => `zimage_${image.key.slice(0, 8)}_${image.seed}.png`;

  function picture(ask, image, alone) {
    const shown = make("img", {
      src: image.image_url,
      width: image.width,
      height: image.height,
      alt: say("picture_alt", { prompt: ask.prompt }),
      className: image.width < 256 ? "zi-small" : "",
    });
    const link = make("a", { href: image.image_url, download: fileName(image), className: "zi-tile-save" },
      `${say("seed")} ${image.seed}`, make("span", { className: "zi-glyph zi-glyph-save" }));
    return make("figure", {}, shown, make("figcaption", {}, badge(image), alone ? null : link));
  }

  function fact(name, value, title = "") {
    return make("div", { className: title ? "zi-code" : "" }, make("dt", {}, name), make("dd", { title }, value));
  }

  function result(ask, { images, warnings }) {
    const alone = images.length === 1;
    const [first] = images;
    const pictures = find("pictures");
    pictures.style.setProperty("--ratio", `${first.width} / ${first.height}`);
    pictures.style.setProperty("--wide", String(first.width / first.height));
    pictures.dataset.count = String(images.length);
    pictures.replaceChildren(...images.map((image) => picture(ask, image, alone)));
    find("warnings").replaceChildren(...warnings.map((text) => make("li", {}, zimage.told(text))));
    find("asked").textContent = ask.prompt;
    const style = about.styles[language].find(([, name]) => name === ask.style);
    find("facts").replaceChildren(
      fact(say("seed"), alone ? String(first.seed) : `${first.seed} – ${images.at(-1).seed}`),
      fact(say("size"), `${first.width} × ${first.height}`),
      fact(say("steps"), String(ask.steps)),
      ...(style ? [fact(say("style"), style[0])] : []),
      ...(alone ? [fact(say("key"), first.key.slice(0, 12), first.key)] : []));
    const save = find("download");
    save.hidden = !alone;
    save.href = first.image_url;
    save.download = fileName(first);
    view("result");
  }

  zimage.translate(root);
  return {
    empty: () => rest("empty_title", "empty_text"),
    stopped: () => rest("stopped_title", "stopped_text"),
    running,
    failed,
    result,
    newSeed: find("new-seed"),
    halt: find("halt"),
  };
};
