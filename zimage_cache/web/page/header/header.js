// The line with the model's state, and what does not work. Requests /health often while the state changes, else rarely, and not while hidden.
import { addressOf } from "../lib/address.js";
import { find } from "../lib/dom.js";
import { facts } from "../lib/facts.js";
import { has, say } from "../lib/i18n.js";
import { server } from "../lib/server.js";
import { forget, keepUser } from "../lib/session.js";

/** @import { Health } from "../lib/api.d.ts" */

const OFTEN = 1000; // ms
const SELDOM = 10_000;
const AT_REST = ["healthy", "sleeping"];

/**
 * The text of *kind* for this model: ours, in the page's language, or the server's.
 * @param {"title" | "note"} kind
 */
function own(kind) {
  const key = `${kind}_${facts.model.name}`;
  return has(key) ? say(key) : facts.model[kind];
}

/** @param {HTMLElement} root */
export function header(root) {
  const line = find(root, ".zi-state");
  const title = own("title");
  let timer = 0;

  /** @param {Partial<Omit<Health, "status">> & { status: string }} health */
  function show({ status, phase, share, detail, device, model, troubles }) {
    const progress = [phase, share == null ? "" : `${Math.round(share * 100)} %`].filter(Boolean).join(" ");
    root.dataset.status = status;
    line.dataset.status = status;
    find(line, ".zi-state-word").textContent = say(`state_${status}`);
    find(line, ".zi-state-more").textContent = [title, status === "loading" ? progress : device]
      .filter(Boolean)
      .join(" · ");
    const trouble = find(root, ".zi-trouble");
    const lasting = (troubles ?? []).map((each) => each.detail);
    // Without an account, the server tells its status only.
    const signedOut = status !== "unreachable" && model === undefined ? say("signed_out") : "";
    const said = [signedOut, status === "error" ? detail : "", ...lasting].filter(Boolean).join("\n");
    // Only when it changes: screen readers read it each time it is set.
    if (trouble.textContent !== said) trouble.textContent = said;
  }

  async function greet() {
    const me = await server.get("/me").catch(() => ({ name: "" }));
    find(root, ".zi-account", HTMLFormElement).action = addressOf("/logout");
    find(root, ".zi-account-name").textContent = me.name;
    find(root, ".zi-account").hidden = !me.name;
    if (me.name) keepUser(me.name);
  }

  async function ask() {
    clearTimeout(timer);
    if (document.hidden) return;
    let wait = OFTEN;
    try {
      const health = await server.get("/health");
      show(health);
      if (AT_REST.includes(health.status)) wait = SELDOM;
    } catch {
      show({ status: "unreachable" });
    }
    clearTimeout(timer);
    timer = setTimeout(ask, wait);
  }

  find(root, ".zi-note-name").textContent = title;
  find(root, ".zi-note-text").textContent = own("note");
  find(root, ".zi-note").hidden = !own("note");
  find(root, ".zi-account").addEventListener("submit", forget);
  document.addEventListener("visibilitychange", ask);
  void ask();
  void greet();
}
