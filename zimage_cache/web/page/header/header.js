// The line with the model's state, what does not work, and a note on the model, which can be closed.
import { me } from "../lib/account.js";
import { addressOf } from "../lib/address.js";
import { finishDeletion } from "../lib/deletion.js";
import { find, setAttributes, setText } from "../lib/dom.js";
import { facts } from "../lib/facts.js";
import { onHealth } from "../lib/health.js";
import { has, say } from "../lib/i18n.js";
import { chosen, prefer } from "../lib/preferences.js";
import { forget, keepUser } from "../lib/session.js";

/** @import { Known } from "../lib/health.js" */

/**
 * The text of *kind* for this model: ours, in the page's language, or the server's.
 * @param {"title" | "note"} kind
 */
function own(kind) {
  const key = `${kind}_${facts.model.name}`;
  return has(key) ? say(key) : facts.model[kind];
}

/** @param {HTMLElement} root */
function note(root) {
  const { name } = facts.model;
  const box = find(root, ".zi-note");
  find(box, ".zi-note-name").textContent = own("title");
  find(box, ".zi-note-text").textContent = own("note");
  // It may be cut off where the window is narrow.
  find(box, "p").title = own("note");
  box.hidden = !own("note") || chosen().unnoted.includes(name);
  setAttributes(find(box, ".zi-note-close"), { "aria-label": say("note_close"), title: say("note_close") });
  find(box, ".zi-note-close").addEventListener("click", () => {
    prefer({ unnoted: [...chosen().unnoted, name] });
    box.hidden = true;
  });
}

/** @param {HTMLElement} root */
export function header(root) {
  const line = find(root, ".zi-state");
  const title = own("title");

  /** @param {Known} health */
  function show({ status, phase, share, detail, device, model, troubles }) {
    const progress = [phase, share == null ? "" : `${Math.round(share * 100)} %`].filter(Boolean).join(" ");
    const more = [title, status === "loading" ? progress : device].filter(Boolean).join(" · ");
    const word = say(`state_${status}`);
    setAttributes(root, { "data-status": status });
    setAttributes(line, { "data-status": status, title: [word, more].filter(Boolean).join(" · ") });
    setText(find(line, ".zi-state-word"), word);
    setText(find(line, ".zi-state-more"), more);
    const lasting = (troubles ?? []).map((each) => each.detail);
    // Without an account, the server tells its status only.
    const signedOut = status !== "unreachable" && model === undefined ? say("signed_out") : "";
    const said = [signedOut, status === "error" ? detail : "", ...lasting].filter(Boolean).join("\n");
    setText(find(root, ".zi-trouble"), said);
  }

  async function greet() {
    const { name, administrator } = await me();
    document.body.classList.toggle("zi-administrator", administrator);
    find(root, ".zi-account", HTMLFormElement).action = addressOf("/logout");
    find(root, ".zi-account-name").textContent = name;
    find(root, ".zi-account").hidden = !name;
    if (name) keepUser(name);
  }

  note(root);
  const account = find(root, ".zi-account", HTMLFormElement);
  account.addEventListener("submit", async (event) => {
    event.preventDefault();
    forget();
    await finishDeletion(); // while there is still a right to it
    account.submit();
  });
  onHealth(show);
  void greet();
}
