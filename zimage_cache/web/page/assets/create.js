// What happens between Generate and the picture.
//
// Every ask goes to our own API first, with `cache: "only"`: a stored picture is there within milliseconds and waits
// behind nobody. Only a miss becomes the page's Gradio event, which tells how it goes until the picture is there.
"use strict";
zimage.card = (root, wires) => {
  const { about, language, say } = zimage;
  const PATIENCE = 120; // ms before a look-up is worth a change of the page: hits are faster
  const NARROW = matchMedia("(max-width: 800px)");
  const views = zimage.cardViews(root);
  let number = 0; // of the latest ask; news of any other is old
  let running = null; // the ask under way
  let wanted = null; // what the form is about to be filled with, and whether to generate then
  let looking = null; // aborts the look-up under way

  // ---- the form, as an object by field name ----

  const named = (names, values) => Object.fromEntries(names.map((name, i) => [name, values[i]]));

  function drawSeed() {
    return crypto.getRandomValues(new Uint32Array(1))[0];
  }

  // The body of `POST /generate`. Nothing is mended here: the server's rules judge what people typed.
  function request({ size, width, height, style, ...form }) {
    const sides = size === "custom" ? [width, height] : size.split("x").map(Number);
    for (const [i, side] of ["width", "height"].entries()) {
      if (sides[i] == null) throw { code: "invalid_request", field: side, message: say("side_missing") };
    }
    return { ...form, style: style || null, width: sides[0], height: sides[1] };
  }

  function mark(field) {
    for (const old of document.querySelectorAll(".zi-wrong")) old.classList.remove("zi-wrong");
    if (field) document.getElementById(`zi-${field}`)?.classList.add("zi-wrong");
  }

  // ---- one ask, from press to picture ----

  function begin(ask) {
    running = ask;
    mark(null);
    document.body.classList.add("zi-busy");
  }

  function end(show) {
    running = null;
    document.body.classList.remove("zi-busy");
    show();
    comeIntoView();
  }

  // Where the card stands below the form, what became of the ask would be out of sight.
  function comeIntoView() {
    if (NARROW.matches) root.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  function fail(error) {
    mark(error.field);
    end(() => views.failed(error));
  }

  function giveUp() {
    looking?.abort();
    if (running) wires.stop(number);
    running = null;
  }

  // The stored pictures of *ask*, or null when they must be drawn. A loading model is no error here: the event waits.
  async function stored(ask, signal) {
    const answer = await fetch("/generate", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...ask, cache: "only" }),
      signal,
    });
    const body = await answer.json();
    if (answer.ok) return body;
    if (["not_cached", "loading"].includes(body.error.code)) return null;
    throw body.error;
  }

  async function generate(form) {
    if (form.seed == null) {
      fill({ seed: drawSeed() }, true);
      return;
    }
    // First of all: whatever comes of this press, the ask before it is over.
    giveUp();
    number += 1;
    const mine = number;
    try {
      const ask = request(form);
      begin(ask);
      const patience = setTimeout(() => {
        if (mine !== number || !running) return;
        views.running(ask, { phase: "asking" });
        comeIntoView();
      }, PATIENCE);
      looking = new AbortController();
      const found = ask.cache === "use" ? await stored(ask, looking.signal) : null;
      if (mine !== number || !running) return;
      if (found) {
        clearTimeout(patience);
        end(() => views.result(ask, found));
      } else {
        wires.draw({ number: mine, ask });
      }
    } catch (error) {
      if (error.name === "AbortError" || mine !== number) return;
      fail(error.code ? error : lost());
    }
  }

  const lost = () => ({ code: "unreachable", message: say("error_unreachable_text") });

  function told(news) {
    if (!running || news?.number !== number) return;
    if (news.progress) views.running(running, news.progress);
    else if (news.error) fail(news.error);
    else {
      const ask = running;
      end(() => views.result(ask, news.answer));
    }
  }

  // ---- what the page's widgets call ----

  function stop() {
    if (!running) return;
    giveUp();
    end(views.stopped);
  }

  // Gradio alone may change its widgets: leave a wish, and let its event fetch it.
  function fill(fields, then = false) {
    wanted = { fields, then };
    wires.fill();
  }

  function filled(names, values) {
    const { fields = {}, then = false } = wanted ?? {};
    wanted = null;
    const form = { ...named(names, values), ...fields };
    if (then) generate(form);
    return names.map((name) => form[name]);
  }

  // A page begins with a concrete seed, so that asking twice is asking for the same; and with choices in its language.
  function start(names, values) {
    const choices = {
      style: [[say("style_none"), ""], ...about.styles[language]],
      size: [...about.sizes, [say("size_custom"), "custom"]],
      cache: ["use", "refresh", "bypass"].map((mode) => [say(`cache_${mode}`), mode]),
    };
    const form = { ...named(names, values), seed: drawSeed(), style: "" };
    const update = (name) => ({ __type__: "update", choices: choices[name], value: form[name] });
    return names.map((name) => (name in choices ? update(name) : form[name]));
  }

  Object.assign(zimage, {
    begin: start,
    generate: (names, values) => void generate(named(names, values)),
    stop,
    fill: filled,
    seed: drawSeed,
    sized: (size) => void document.body.classList.toggle("zi-custom-size", size === "custom"),
    guided: (guidance) => ({ __type__: "update", info: say(guidance > 0 ? "negative_acts" : "negative_idle") }),
    // The server is gone: its stream cannot say so.
    heard: (status) => void (status === "unreachable" && running && fail(lost())),
  });

  views.newSeed.addEventListener("click", () => fill({ seed: drawSeed() }, true));
  views.halt.addEventListener("click", stop);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      document.getElementById("zi-generate").click();
    }
  });
  wires.listen(told);
  views.empty();
};
