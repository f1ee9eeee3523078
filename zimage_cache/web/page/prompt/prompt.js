// Below the prompt: the number of its tokens, the expansion of {red|blue} and wildcards, and errors in them.
//
// The server counts and expands, because it has the tokenizer and the wildcard files. A request is sent shortly after
// the last change, not while the page is hidden; a newer request aborts the previous one.
import { find } from "../lib/dom.js";
import { facts } from "../lib/facts.js";
import { form } from "../lib/form.js";
import { say } from "../lib/i18n.js";
import { aborted, refusal, server } from "../lib/server.js";
import { isDynamic } from "../lib/settings.js";

/** @import { PromptInfo } from "../lib/api.d.ts" */
/** @import { Fields, Trouble } from "../lib/types.d.ts" */

const MOMENT = 250; // ms
const MOST = facts.limits.max_sequence_length;

/**
 * The body of `POST /prompt-info`.
 * @param {Fields} fields
 */
function question(fields) {
  return {
    prompt: fields.prompt ?? "",
    negative_prompt: fields.negative_prompt ?? "",
    style: fields.style || null,
    ...(isDynamic(fields) && { seed: fields.seed }),
    model: fields.model,
    max_sequence_length: fields.max_sequence_length,
  };
}

/** @param {HTMLElement} root */
export function prompt(root) {
  const count = find(root, ".zi-count");
  const raise = find(root, ".zi-raise");
  const expanded = find(root, ".zi-expanded");
  const notices = find(root, ".zi-notices");
  const trouble = find(root, ".zi-prompt-trouble");
  let asked = ""; // the last request, as JSON
  let timer = 0;
  /** @type {AbortController | null} */
  let looking = null;

  /** @param {PromptInfo} info */
  function showCount({ tokens, limit }) {
    const over = (tokens ?? 0) - limit;
    const values = { tokens: tokens ?? 0, limit, over };
    count.hidden = tokens == null || !form.values.prompt.trim();
    count.classList.toggle("zi-over", over > 0);
    find(count, ".zi-count-text").textContent = say(over > 0 ? "tokens_over" : "tokens", values);
    raise.hidden = over <= 0 || limit >= MOST;
  }

  /**
   * @param {PromptInfo} info
   * @param {{ prompt: string }} sent
   */
  function show(info, sent) {
    // The number is unknown while the tokenizer is being read: the next change sends a new request in any case.
    if (info.tokens == null) asked = "";
    showCount(info);
    expanded.hidden = info.prompt === sent.prompt;
    find(expanded, ".zi-expanded-text").textContent = info.prompt;
    notices.textContent = (info.notices ?? []).join("\n");
    notices.hidden = !notices.textContent;
    trouble.hidden = true;
  }

  /**
   * Only errors of the text itself are shown here; others are shown elsewhere.
   * @param {Trouble} error
   */
  function failed({ code, message, field, reason }) {
    count.hidden = true;
    expanded.hidden = true;
    notices.hidden = true;
    trouble.hidden = code !== "invalid_request";
    // Without the field's name, because it is shown below the field.
    trouble.textContent = (field === "prompt" && reason) || message;
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
      if (!aborted(error)) failed(refusal(error));
    }
  }

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(ask, MOMENT);
  }

  raise.textContent = say("raise_limit", { most: MOST });
  raise.addEventListener("click", () => form.fill({ max_sequence_length: MOST }));
  form.changed(soon);
  document.addEventListener("visibilitychange", soon);
  void form.begun.then(soon);
}
