// The actions of a finished picture: small labelled buttons with an icon, and values to copy.
"use strict";
zimage.actions = ({ use, remove }) => {
  const { copy, link, make, say, server, tell } = zimage;

  const glyph = (name) => make("span", { className: `zi-glyph zi-glyph-${name}`, aria: { hidden: true } });
  const labelled = (word) => ({ className: "zi-tool", title: say(word), aria: { label: say(word) } });

  function tool(name, word, act) {
    const button = make("button", { type: "button", ...labelled(word), dataset: { tool: name } }, glyph(name));
    button.addEventListener("click", () => void act(button));
    return button;
  }

  // A value as a button that copies its whole text.
  function fact(name, value, whole = value) {
    const label = say("copy_what", { what: name });
    const aria = { label: `${name} ${value}: ${label}` };
    const button = make("button", { type: "button", className: "zi-copy", title: label, aria }, value, glyph("copy"));
    button.addEventListener("click", () => void copy(String(whole), name));
    return make("div", { dataset: { fact: name } }, make("dt", {}, name), make("dd", {}, button));
  }

  // ---- actions on the server ----

  const trouble = ({ message, request_id: id }) =>
    tell(id ? say("error_of_request", { message, id }) : message);

  async function pin(image, button) {
    const to = image.pinned ? "unpin" : "pin";
    try {
      image.pinned = (await server.post(`/cache/${image.key}/${to}`)).pinned;
      tell(say(image.pinned ? "pinned" : "unpinned"));
    } catch (error) {
      if (error.code === "not_found") tell(say("pin_unstored"));
      else trouble(error);
    }
    pinned(image, button);
  }

  function pinned(image, button) {
    const word = say(image.pinned ? "unpin" : "pin");
    button.title = word;
    button.setAttribute("aria-label", word);
    button.classList.toggle("zi-on", Boolean(image.pinned));
  }

  async function drop(image) {
    try {
      await server.drop(`/cache/${image.key}`);
      tell(say("deleted"));
    } catch (error) {
      if (error.code !== "not_found") return trouble(error);
      tell(say("deleted_before"));
    }
    remove(image);
  }

  // Deleting cannot be undone, so a dialog asks for confirmation; "Keep" has the focus.
  function confirm(image) {
    const form = make("form", { method: "dialog" },
      make("h2", {}, say("delete_title")),
      make("p", {}, say(image.pinned ? "delete_pinned" : "delete_text")),
      make("div", { className: "zi-answers" },
        make("button", { className: "zi-button zi-quiet", value: "keep", autofocus: true }, say("delete_keep")),
        make("button", { className: "zi-button zi-danger", value: "delete" }, say("delete_do"))));
    const dialog = make("dialog", { className: "zi-dialog", aria: { label: say("delete_title") } }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (dialog.returnValue === "delete") void drop(image);
    });
    document.querySelector(".gradio-container").append(dialog);
    dialog.showModal();
  }

  // ---- the buttons of one picture ----

  // Only pictures stored under a key can be pinned or deleted.
  const stored = (image) => image.key !== "" && image.image_url.includes(image.key);
  const fileName = (image) => `zimage_${image.key.slice(0, 8) || "picture"}_${image.seed}.png`;

  function kept(image) {
    if (!stored(image)) return [];
    const button = tool("pin", "pin", () => pin(image, button));
    pinned(image, button);
    // A picture from the cache may be pinned already, so the server is asked.
    if (image.cached && image.pinned === undefined) {
      server.get(`/cache/${image.key}`).then((entry) => {
        image.pinned ??= entry.pinned;
        pinned(image, button);
      }, () => {});
    }
    return [button, tool("delete", "delete", () => confirm(image))];
  }

  function tools(ask, image) {
    const save = make("a", { href: image.image_url, download: fileName(image), ...labelled("download") }, glyph("save"));
    save.classList.add("zi-download");
    save.append(make("span", { className: "zi-tool-word" }, say("save")));
    return make("div", { className: "zi-tools" },
      save,
      tool("link", "copy_link", () => copy(link.of(ask, image.seed), say("link"))),
      tool("use", "use_settings", () => use(ask, image.seed)),
      ...(ask.n > 1 && image.key ? [tool("key", "copy_key", () => copy(image.key, say("key")))] : []),
      ...kept(image));
  }

  return { fact, tools };
};
