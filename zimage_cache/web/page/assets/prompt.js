// Below the prompt: the number of its tokens, the expansion of {red|blue} and wildcards, and errors in them.
//
// The server counts and expands, because it has the tokenizer and the wildcard files. A request is sent shortly after
// the last change, not while the page is hidden; a newer request aborts the previous one.
"use strict";
zimage.prompt = (root) => {
  const { form, say, server, translate } = zimage;
  const MOMENT = 250; // ms
  const MOST = 1024; // the largest `max_sequence_length`
  const DYNAMIC = /\{|__/;
  const find = (name) => root.querySelector(`.zi-${name}`);
  let asked = ""; // the last request, as JSON
  let timer = 0;
  let looking = null;

  function question({ prompt, negative_prompt, style, seed, model, max_sequence_length: limit }) {
    const dynamic = DYNAMIC.test(`${prompt} ${negative_prompt}`);
    return {
      prompt: prompt ?? "",
      negative_prompt: negative_prompt ?? "",
      style: style || null,
      ...(dynamic && { seed }),
      model,
      max_sequence_length: limit,
    };
  }

  function count({ tokens, limit }) {
    const over = tokens - limit;
    find("count").hidden = tokens == null || !form.values.prompt.trim();
    find("count").classList.toggle("zi-over", over > 0);
    find("count-text").textContent = over > 0 ? say("tokens_over", { tokens, limit, over }) : say("tokens", { tokens, limit });
    find("raise").hidden = over <= 0 || limit >= MOST;
  }

  function show(info, { prompt }) {
    // The number is unknown while the tokenizer is being read: the next change sends a new request in any case.
    if (info.tokens == null) asked = "";
    count(info);
    find("expanded").hidden = info.prompt === prompt;
    find("expanded-text").textContent = info.prompt;
    find("prompt-trouble").hidden = true;
  }

  // Only errors of the text itself are shown here; others are shown elsewhere.
  function trouble({ code, message, field, reason }) {
    find("count").hidden = true;
    find("expanded").hidden = true;
    find("prompt-trouble").hidden = code !== "invalid_request";
    // Without the field's name, because it is shown below the field.
    find("prompt-trouble").textContent = field === "prompt" ? reason : message;
  }

  async function ask() {
    const now = question(form.values);
    const text = JSON.stringify(now);
    if (document.hidden || text === asked) return;
    asked = text;
    looking?.abort();
    looking = new AbortController();
    try {
      show(await server.post("/prompt-info", now, { signal: looking.signal }), now);
    } catch (error) {
      if (error.name !== "AbortError") trouble(error);
    }
  }

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(ask, MOMENT);
  }

  translate(root);
  find("raise").addEventListener("click", () => form.fill({ max_sequence_length: MOST }));
  form.changed(soon);
  document.addEventListener("visibilitychange", soon);
  void form.begun.then(soon);
};
