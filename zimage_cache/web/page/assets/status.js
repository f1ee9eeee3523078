// The line with the model's state. Requests /health often while the state changes, else rarely, and not while hidden.
"use strict";
zimage.header = (root) => {
  const { about, has, say, server, translate } = zimage;
  const OFTEN = 1000;
  const SELDOM = 10000;
  const line = root.querySelector(".zi-state");
  const note = root.querySelector(".zi-note");
  const named = (kind) => `${kind}_${about.model.name}`;
  const title = has(named("title")) ? say(named("title")) : about.model.title;
  let timer = 0;

  function show({ status, phase, share, detail, device }) {
    const progress = [phase, share == null ? "" : `${Math.round(share * 100)} %`].filter(Boolean).join(" ");
    root.dataset.status = status;
    line.dataset.status = status;
    line.querySelector(".zi-state-word").textContent = say(`state_${status}`);
    line.querySelector(".zi-state-more").textContent = [title, status === "loading" ? progress : device]
      .filter(Boolean)
      .join(" · ");
    root.querySelector(".zi-trouble").textContent = status === "error" ? detail : "";
  }

  async function ask() {
    clearTimeout(timer);
    if (document.hidden) return;
    let wait = OFTEN;
    try {
      const health = await server.get("/health");
      show(health);
      if (health.status === "healthy" || health.status === "sleeping") wait = SELDOM;
    } catch {
      show({ status: "unreachable" });
    }
    clearTimeout(timer);
    timer = setTimeout(ask, wait);
  }

  translate(root);
  const text = has(named("note")) ? say(named("note")) : about.model.note;
  note.querySelector(".zi-note-name").textContent = title;
  note.querySelector(".zi-note-text").textContent = text;
  note.hidden = !text;
  document.addEventListener("visibilitychange", ask);
  ask();
};
