// From pressing Generate to the finished picture.
//
// Every request is sent first with `cache: "only"`: a stored picture arrives within milliseconds, without the queue.
// Only a miss becomes a job, whose event stream reports progress until the picture is finished.
"use strict";
zimage.card = (root, wires) => {
  const { form, jobs, link, say, server, tab, tell } = zimage;
  const DRAWN = -1; // the API's value for a random seed; the page itself chooses the seed it requests
  const SEEDS = 2 ** 32; // number of seeds; after the last one comes 0
  const PATIENCE = 120; // ms before the page shows that a look-up runs: hits are faster
  const NARROW = matchMedia("(max-width: 800px)");
  const DYNAMIC = /\{|__/; // may be {red|blue} or __wildcards__, which only the server can decide
  const views = zimage.cardViews(root, { again, forgotten, newSeed, stop, use });
  const listeners = [];
  let turn = 0; // number of the latest request for the card; results of older ones are ignored
  let current = null; // the running request: {ask, literal, id, job, looking}
  let shown = null; // the request whose pictures are on the card

  // ---- one request, from the button to the picture ----

  function begin(ask, id = null) {
    giveUp();
    tell("");
    turn += 1;
    shown = null;
    current = { ask, id, turn, looking: new AbortController() };
    document.body.classList.add("zi-busy");
    return current;
  }

  function end(show) {
    current = null;
    document.body.classList.remove("zi-busy");
    show();
    comeIntoView();
  }

  // Where the card is below the form, it is scrolled into view.
  function comeIntoView() {
    if (NARROW.matches) root.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  function finish(ask, answer) {
    shown = ask;
    form.mark(null);
    end(() => views.result(ask, answer));
    for (const listener of listeners) listener(ask, answer.images.filter(Boolean));
  }

  function fail(error) {
    form.mark(error.field);
    end(() => views.failed(error));
  }

  function giveUp() {
    current?.looking.abort();
    current?.job?.stop();
    current = null;
  }

  // *ask* with its prompts expanded: the server picks options of {red|blue} and wildcards from the seed.
  async function expanded(ask, signal) {
    const { prompt, negative_prompt, style, seed, model, max_sequence_length } = ask;
    if (!DYNAMIC.test(`${prompt} ${negative_prompt}`)) return ask;
    const body = { prompt, negative_prompt, style, seed, model, max_sequence_length };
    const info = await server.post("/prompt-info", body, { signal });
    return { ...ask, prompt: info.prompt, negative_prompt: info.negative_prompt };
  }

  // The stored pictures of *ask*, or null when they must be drawn. A loading model is not an error: the job waits.
  async function stored(ask, signal) {
    try {
      return await server.post("/generate", { ...ask, cache: "only" }, { signal });
    } catch (error) {
      if (["not_cached", "loading"].includes(error.code)) return null;
      throw error;
    }
  }

  // *literal*: the prompts of *ask* are already expanded.
  async function draw(ask, literal = false) {
    const mine = begin(ask);
    form.mark(null);
    setTimeout(() => {
      if (mine !== current || mine.heard) return;
      views.running(mine.ask, { phase: "asking", preview: null });
      comeIntoView();
    }, PATIENCE);
    try {
      mine.ask = literal ? ask : await expanded(ask, mine.looking.signal);
      mine.literal = true;
      const found = ask.cache === "use" ? await stored(mine.ask, mine.looking.signal) : null;
      if (mine !== current) return;
      if (found) finish(mine.ask, found);
      else mine.job = jobs.draw(mine.ask, hearing(mine));
    } catch (error) {
      if (mine === current) fail(error);
    }
  }

  // Callbacks that show a job's progress on the card, while no newer request has replaced it.
  function hearing(mine) {
    const ours = (act) => (news) => {
      if (mine !== current) return;
      const first = !mine.heard;
      mine.heard = true;
      act(news);
      if (first) comeIntoView();
    };
    return {
      state: ours((state) => {
        if (state.state === "done") finish(mine.ask, state);
        else if (state.state === "failed") fail(state.error);
        else if (state.state === "cancelled") fail(state.error ?? { code: "cancelled", message: say("cancelled_text") });
        else views.running(mine.ask, state);
      }),
      lost: ours(() => views.lost(mine.ask)),
      gone: ours(() => void settle(mine)),
      failed: ours(fail),
    };
  }

  // The server has no such job any more. Its picture may have been finished, so it is looked up.
  async function settle(mine) {
    const found = mine.ask.cache === "use" ? await stored(mine.ask, mine.looking.signal).catch(() => null) : null;
    if (mine !== current) return;
    if (found) finish(mine.ask, found);
    else fail({ code: "job_gone", message: say("error_job_gone_text") });
  }

  function generate(values) {
    if (values.seed == null || values.seed === DRAWN) {
      form.fill({ seed: form.drawSeed() }, generate);
      return;
    }
    try {
      void draw(form.request(values));
    } catch (error) {
      // In every case the previous request is ended.
      begin(null);
      fail(error);
    }
  }

  function stop() {
    if (!current) return;
    giveUp();
    end(views.stopped);
  }

  // ---- the buttons of a result ----

  function newSeed() {
    form.fill({ seed: form.drawSeed() }, generate);
  }

  function again() {
    if (shown) void draw({ ...shown, cache: "refresh" }, true);
  }

  function use(ask, seed) {
    form.fill(form.spelled(form.settings({ ...ask, seed, n: 1 })), () => tell(say("used")));
  }

  // The only picture on the card was deleted: the card becomes empty, also after a reload.
  function forgotten() {
    shown = null;
    views.deleted();
  }

  // ---- settings from a link, a file, the history, or from before a reload ----

  // The stored ones of several pictures, with null for each missing one; null when all are missing.
  async function storedSome(ask) {
    const seeds = Array.from({ length: ask.n }, (_, i) => (ask.seed + i) % SEEDS);
    const found = await Promise.all(seeds.map((seed) => stored({ ...ask, seed, n: 1 })));
    const images = found.map((one) => one?.images[0] ?? null);
    return images.some(Boolean) ? { images, warnings: found.flatMap((one) => one?.warnings ?? []) } : null;
  }

  // Shows the stored pictures of *ask*, where *before* (it was on the card) also an incomplete set; else the copy at
  // the URL *image*; else a message that there is no picture.
  async function lookUp(ask, { image, before = false } = {}) {
    turn += 1;
    const mine = turn;
    const found = (await stored(ask)) ?? (before && ask.n > 1 ? await storedSome(ask) : null);
    if (mine !== turn) return;
    const copy = { image_url: image, source: "history", key: "", ...ask };
    if (!found && !image) return tell(say("not_stored"));
    giveUp();
    finish(ask, found ?? { images: [copy], warnings: [] });
  }

  function restore(parameters, { image } = {}) {
    const fields = { ...form.settings(parameters), n: 1 };
    mention(parameters.model);
    return new Promise((done) => form.fill(form.spelled(fields), () => done(attempt(() => lookUp(form.request(fields), { image })))));
  }

  function opened({ parameters, error }) {
    link.clear();
    mention(parameters.model);
    if (error) complain(error);
    else void attempt(() => lookUp(form.request(form.settings(parameters))));
  }

  const mention = (model) => void (model && !form.offered(model) && tell(say("model_elsewhere", { model })));

  // Errors of such settings are shown on the card, unless it shows a running request.
  const complain = (error) => void (current ? tell(error.message) : fail(error));

  async function attempt(act) {
    try {
      await act();
    } catch (error) {
      complain(error);
    }
  }

  function resume({ ask, literal, id, shown: was }) {
    if (was) void attempt(() => lookUp(ask, { before: true }));
    else if (id) {
      const mine = begin(ask, id);
      views.running(ask, { phase: "asking", preview: null });
      mine.job = jobs.resume(id, hearing(mine));
    } else void draw(ask, literal);
  }

  function remembered() {
    if (current) return { ask: current.ask, literal: current.literal, id: current.job?.id ?? null };
    return shown && shown.cache !== "bypass" ? { ask: shown, shown: true } : null;
  }

  // ---- called by the page's widgets ----

  Object.assign(zimage, {
    generate,
    stop,
    restore,
    // Registers a callback (ask, images) for every result shown.
    onResult: (listener) => void listeners.push(listener),
  });

  document.addEventListener("keydown", (event) => {
    // In an open dialog, Esc closes the dialog.
    if (event.key === "Escape" && !event.defaultPrevented && !document.querySelector("dialog[open]")) stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      document.getElementById("zi-generate").click();
    }
  });
  addEventListener("hashchange", () => {
    const read = link.read();
    if (!read) return;
    link.clear();
    form.fill(form.spelled(form.settings(read.parameters)), () => opened(read));
  });
  form.wire(wires.fill);
  views.empty();
  void form.begun.then((read) => {
    tab.keepAsk(remembered);
    if (read) opened(read);
    else if (tab.ask) resume(tab.ask);
  });
};
