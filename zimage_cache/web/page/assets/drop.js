// Reads the settings of a PNG that is dropped on the page, chosen or pasted, and offers to use them.
"use strict";
// The button that opens the file chooser is in several places; one component serves all of them.
zimage.read = (root) => zimage.translate(root);
zimage.drop = (root) => {
  const { about, has, language, make, say, server, tablist } = zimage;
  const MOST = 20 * 2 ** 20;
  const LONG = ["prompt", "negative_prompt"];
  const find = (name) => root.querySelector(`.zi-drop-${name}`);
  const chooser = root.querySelector("input");
  const panel = find("panel");
  const picture = panel.querySelector("img");
  let reading = null; // aborts the running upload
  let found = null; // the settings offered
  let ours = false; // the dragged object comes from this page

  // ---- the kind of a file, by its first bytes: its name and type may be wrong ----

  const KINDS = [
    ["PNG", (bytes) => starts(bytes, 0, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])],
    ["JPEG", (bytes) => starts(bytes, 0, [0xff, 0xd8, 0xff])],
    ["WebP", (bytes) => starts(bytes, 0, [0x52, 0x49, 0x46, 0x46]) && starts(bytes, 8, [0x57, 0x45, 0x42, 0x50])],
    ["GIF", (bytes) => starts(bytes, 0, [0x47, 0x49, 0x46, 0x38])],
    ["AVIF", (bytes) => starts(bytes, 4, [0x66, 0x74, 0x79, 0x70, 0x61, 0x76, 0x69, 0x66])],
  ];
  const starts = (bytes, at, with_) => with_.every((byte, i) => bytes[at + i] === byte);

  async function kind(file) {
    const bytes = new Uint8Array(await file.slice(0, 16).arrayBuffer());
    return KINDS.find(([, fits]) => fits(bytes))?.[0] ?? null;
  }

  const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

  // The reason why *file* is not sent; null: it may be a PNG.
  async function refusal(file) {
    if (file.size > MOST) return say("drop_too_large", { size: megabytes(file.size) });
    const name = await kind(file);
    if (name === "PNG") return null;
    return name ? say("drop_other_kind", { kind: name }) : say("drop_no_png");
  }

  // ---- reading ----

  async function read(file, { pasted = false, others = 0 } = {}) {
    reading?.abort();
    const mine = (reading = new AbortController());
    over(false);
    show("reading", file, say("drop_reading"));
    try {
      const refused = await refusal(file);
      if (mine.signal.aborted) return;
      if (refused) show("refused", file, refused);
      else tell(file, await server.post("/png-info", file, { signal: mine.signal }), mine.signal, { pasted, others });
    } catch (error) {
      if (!mine.signal.aborted) show("refused", file, trouble(error));
    }
  }

  // A folder, or a file that was deleted meanwhile, makes the browser throw.
  function trouble(error) {
    if (error instanceof Error) return say("drop_unreadable");
    if (error.code === "invalid_request") return say("drop_damaged");
    return server.why(error);
  }

  function tell(file, info, signal, { pasted, others }) {
    if (signal.aborted) return;
    if (!info.source) {
      show("silent", file, say(pasted ? "drop_silent_pasted" : "drop_silent"));
      return;
    }
    found = info;
    const tool = say("drop_from", { tool: say(`tool_${info.source}`) });
    show("found", file, others ? `${tool} ${say("drop_others", { n: others })}` : tool);
    find("settings").replaceChildren(...ordered(info.parameters).map(setting));
    find("cached").textContent = info.cached ? say("drop_cached") : "";
    if (info.image_url) look(info.image_url);
    find("use").focus();
  }

  // ---- the panel ----

  function show(view, file, text) {
    if (view !== "found") found = null;
    panel.dataset.view = view;
    panel.setAttribute("aria-busy", String(view === "reading"));
    find("title").textContent = file.name || say("drop_pasted");
    find("text").textContent = text;
    if (view === "reading") look(URL.createObjectURL(file));
    if (!panel.open) panel.showModal();
  }

  function look(address) {
    if (picture.src.startsWith("blob:")) URL.revokeObjectURL(picture.src);
    picture.parentElement.hidden = false;
    picture.src = address;
  }

  function ordered(parameters) {
    const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
    const place = ([name]) => (about.fields.includes(name) ? about.fields.indexOf(name) : about.fields.length);
    return given.sort((one, other) => place(one) - place(other));
  }

  function setting([name, value]) {
    return make("div", { className: LONG.includes(name) ? "zi-drop-long" : "" },
      make("dt", {}, has(name) ? say(name) : name), make("dd", {}, written(name, value)));
  }

  function written(name, value) {
    const style = name === "style" && about.styles[language].find(([, known]) => known === value);
    return style ? style[0] : String(value);
  }

  function use() {
    const { parameters, image_url: image } = found;
    panel.close();
    tablist.open("create");
    void zimage.restore(parameters, image ? { image } : {});
  }

  // The `close` event is delayed: by then the panel may be open again, with another file.
  function closed() {
    if (panel.open) return;
    reading?.abort();
    found = null;
    if (picture.src.startsWith("blob:")) URL.revokeObjectURL(picture.src);
    picture.removeAttribute("src");
  }

  // ---- drop, paste and choose ----

  const carries = (event, type) => event.dataTransfer?.types.includes(type) ?? false;
  const writable = (target) => target.closest?.("textarea, input:not([type=file]), [contenteditable]");

  function over(is) {
    find("over").hidden = !is;
  }

  function dragged(event) {
    const files = carries(event, "Files") && !ours;
    // Text may be dropped into text fields; a link dropped elsewhere would leave the page.
    if (!files && writable(event.target)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = files ? "copy" : "none";
    over(files);
  }

  function dropped(event) {
    over(false);
    const files = carries(event, "Files") && !ours;
    if (!files && writable(event.target)) return;
    event.preventDefault();
    event.stopPropagation();
    const [file, ...others] = files ? event.dataTransfer.files : [];
    if (file) void read(file, { others: others.length });
  }

  function pasted(event) {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    // A clipboard that holds both text and a picture is pasted as text.
    if (!file || event.clipboardData.types.includes("text/plain")) return;
    event.preventDefault();
    void read(file, { pasted: true });
  }

  zimage.translate(root);
  find("close").setAttribute("aria-label", say("close"));
  picture.addEventListener("error", () => void (picture.parentElement.hidden = true));
  // In the capture phase, because Gradio's widgets have drop handlers too.
  for (const name of ["dragenter", "dragover"]) window.addEventListener(name, dragged, true);
  window.addEventListener("drop", dropped, true);
  window.addEventListener("dragleave", (event) => void (event.relatedTarget === null && over(false)), true);
  window.addEventListener("dragstart", () => void (ours = true), true);
  for (const name of ["dragend", "pointermove"]) {
    // A drag that ended outside the window has no event; the next pointer event shows it.
    window.addEventListener(name, () => {
      ours = false;
      over(false);
    }, true);
  }
  document.addEventListener("paste", pasted);
  document.addEventListener("click", (event) => void (event.target.closest?.(".zi-read-png") && chooser.click()));
  chooser.addEventListener("change", () => {
    const [file] = chooser.files;
    if (file) void read(file);
    chooser.value = ""; // the same file may be chosen again
  });
  panel.addEventListener("close", closed);
  panel.addEventListener("click", (event) => void (event.target === panel && panel.close()));
  // Esc closes the panel; it must not stop a run as well.
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey))) event.stopPropagation();
  });
  find("close").addEventListener("click", () => panel.close());
  find("other").addEventListener("click", () => chooser.click());
  find("use").addEventListener("click", use);
};
