// What happens between Generate and the picture.
//
// Every ask goes to our own API first, with `cache: "only"`: a stored picture is there within milliseconds and waits
// behind nobody. Only a miss becomes the page's Gradio event, which tells how it goes until the picture is there.
"use strict";
zimage.card = (root, wires) => {
  const { form, say } = zimage;
  const PATIENCE = 120; // ms before a look-up is worth a change of the page: hits are faster
  const NARROW = matchMedia("(max-width: 800px)");
  const views = zimage.cardViews(root);
  let number = 0; // of the latest ask; news of any other is old
  let running = null; // the ask under way
  let looking = null; // aborts the look-up under way

  // ---- one ask, from press to picture ----

  function begin(ask) {
    running = ask;
    form.mark(null);
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
    form.mark(error.field);
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

  async function generate(values) {
    if (values.seed == null) {
      form.fill({ seed: form.drawSeed() }, generate);
      return;
    }
    // First of all: whatever comes of this press, the ask before it is over.
    giveUp();
    number += 1;
    const mine = number;
    try {
      const ask = form.request(values);
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

  Object.assign(zimage, {
    generate: (values) => void generate(values),
    stop,
    // The server is gone: its stream cannot say so.
    heard: (status) => void (status === "unreachable" && running && fail(lost())),
  });

  views.newSeed.addEventListener("click", () => form.fill({ seed: form.drawSeed() }, generate));
  views.halt.addEventListener("click", stop);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      document.getElementById("zi-generate").click();
    }
  });
  form.wire(wires.fill);
  wires.listen(told);
  views.empty();
};
