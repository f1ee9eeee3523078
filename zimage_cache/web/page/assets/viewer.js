// Shows pictures in the whole window, with zoom and navigation. `zimage.viewer.open(pictures, index)`, where a picture
// is { image_url, alt, seed, width, height }.
"use strict";
zimage.viewer = (() => {
  const { make, say } = zimage;
  const SMALL = 256; // px: smaller pictures are enlarged to the window, with visible pixels
  const ENLARGED = 2; // largest enlargement of other pictures to fit
  const NEAREST = 8;
  const STEP = 1.25;
  const SWIPE = 60; // px
  const GLYPHS = {
    farther: "M5 12h14",
    closer: "M5 12h14M12 5v14",
    fit: "M4 9V5h4M20 9V5h-4M4 15v4h4M20 15v4h-4M9 9.500h6v5H9z",
    full: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
    download: "M12 4v11m-4.500-4.500L12 15l4.500-4.500M5 20h14",
    close: "M6 6l12 12M18 6 6 18",
    previous: "M15 5l-7 7 7 7",
    next: "M9 5l7 7-7 7",
  };
  const held = new Map(); // positions of the pointers on the picture, by id
  let pictures = [];
  let at = 0;
  let scale = 1; // screen pixels per picture pixel
  let [x, y] = [0, 0]; // centre of the picture, relative to that of the window
  let fitted = true; // whether the picture is fitted to the window, also after a resize
  let [pressed, moved] = [null, false];
  let opener = null;

  // ---- elements ----

  function glyph(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", GLYPHS[name]);
    svg.append(path);
    return svg;
  }

  function tool(tag, name, act) {
    const words = say(`viewer_${name}`);
    const element = make(tag, { className: `zi-viewer-${name}`, title: words }, glyph(name));
    element.setAttribute("aria-label", words);
    if (tag === "button") element.type = "button";
    if (act) element.addEventListener("click", act);
    return element;
  }

  const number = make("span", { className: "zi-viewer-number" });
  const caption = make("span", { className: "zi-viewer-caption" });
  const told = make("p", { className: "zi-viewer-told" }, number, caption);
  const percent = make("span", { className: "zi-viewer-scale" });
  const image = make("img", { draggable: false });
  const gone = make("p", { className: "zi-viewer-gone", hidden: true }, say("viewer_gone"));
  const save = tool("a", "download");
  const full = tool("button", "full", fullScreen);
  const before = tool("button", "previous", () => step(-1));
  const after = tool("button", "next", () => step(1));
  const stage = make("div", { className: "zi-viewer-stage" }, image, gone, before, after);
  const bar = make("div", { className: "zi-viewer-bar" }, told, tool("button", "farther", () => zoom(1 / STEP)), percent,
    tool("button", "closer", () => zoom(STEP)), tool("button", "fit", fit), full, save, tool("button", "close", close));
  // An element inside the dialog: browsers refuse full screen for a dialog itself.
  const whole = make("div", { className: "zi-viewer-whole" }, bar, stage);
  const dialog = make("dialog", { className: "zi-viewer", tabIndex: -1 }, whole);

  // ---- zoom ----

  const current = () => pictures[at];
  const small = () => Math.max(current().width, current().height) < SMALL;

  function fitting() {
    const { width, height } = current();
    const room = Math.min(stage.clientWidth / width, stage.clientHeight / height);
    if (small()) return room > 1 ? Math.floor(room) : room;
    return Math.min(room, ENLARGED);
  }

  function draw() {
    const { width, height } = current();
    const [least, most] = [fitting(), Math.max(NEAREST, 4 * fitting())];
    scale = Math.min(Math.max(scale, least), most);
    // A picture larger than the window always fills it; a smaller one stays centred.
    const [slackX, slackY] = [(width * scale - stage.clientWidth) / 2, (height * scale - stage.clientHeight) / 2];
    x = slackX > 0 ? Math.min(Math.max(x, -slackX), slackX) : 0;
    y = slackY > 0 ? Math.min(Math.max(y, -slackY), slackY) : 0;
    Object.assign(image.style, { width: `${width}px`, height: `${height}px` });
    image.style.transform = `translate(${x}px, ${y}px) scale(${scale}) translate(-50%, -50%)`;
    stage.classList.toggle("zi-near", near());
    percent.textContent = `${Math.round(100 * scale)} %`;
  }

  const near = () => scale > fitting() * 1.001;

  function fit() {
    [scale, x, y, fitted] = [fitting(), 0, 0, true];
    draw();
  }

  // Scales by *factor* around a point of the window; without one, around its centre.
  function zoom(factor, point) {
    const frame = stage.getBoundingClientRect();
    const [px, py] = point ? [point.x - frame.x - frame.width / 2, point.y - frame.y - frame.height / 2] : [0, 0];
    const wanted = Math.min(Math.max(scale * factor, fitting()), Math.max(NEAREST, 4 * fitting()));
    const really = wanted / scale;
    [x, y, scale] = [px - (px - x) * really, py - (py - y) * really, wanted];
    fitted = !near();
    draw();
  }

  function pan(dx, dy) {
    [x, y] = [x + dx, y + dy];
    draw();
  }

  // ---- navigation ----

  function fileName({ image_url: url, seed }) {
    const [name] = url.split("?")[0].split("/").at(-1).split(".");
    return `zimage_${name.slice(0, 8)}_${seed}.png`;
  }

  function show(index) {
    at = index;
    const { image_url: url, alt, seed, width, height } = current();
    gone.hidden = true;
    image.hidden = false;
    Object.assign(image, { src: url, alt: alt ?? "", className: small() ? "zi-small" : "" });
    Object.assign(save, { href: url, download: fileName(current()) });
    number.textContent = pictures.length > 1 ? say("viewer_of", { number: at + 1, n: pictures.length }) : "";
    caption.textContent = say("viewer_caption", { seed, width, height });
    for (const [button, neighbour] of [[before, at - 1], [after, at + 1]]) {
      button.hidden = !(neighbour in pictures);
      if (neighbour in pictures) new Image().src = pictures[neighbour].image_url;
    }
    fit();
  }

  function step(by) {
    if (!(at + by in pictures)) return;
    const hiding = document.activeElement === (by < 0 ? before : after) && !(at + 2 * by in pictures);
    show(at + by);
    if (hiding) dialog.focus();
  }

  // ---- open and closed ----

  function open(wanted, index = 0) {
    if (!wanted.length) return;
    pictures = wanted;
    if (!dialog.isConnected) document.body.append(dialog);
    if (!dialog.open) {
      opener = document.activeElement;
      dialog.showModal();
    }
    dialog.focus();
    show(Math.min(Math.max(index, 0), pictures.length - 1));
  }

  function close() {
    if (document.fullscreenElement) void document.exitFullscreen();
    dialog.close();
  }

  function fullScreen() {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void whole.requestFullscreen?.().catch(() => {}); // when refused, the window is unchanged
  }

  // ---- keys, wheel, pointers ----

  const KEYS = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    Home: () => show(0),
    End: () => show(pictures.length - 1),
    "+": () => zoom(STEP),
    "=": () => zoom(STEP),
    "-": () => zoom(1 / STEP),
    "0": fit,
    f: fullScreen,
    d: () => save.click(),
  };
  const PANS = { ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };

  function key(event) {
    // The page's own keys, such as Esc = Stop, have no effect here.
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = (event.shiftKey || /Up|Down/.test(event.key)) && PANS[event.key];
    const act = way ? () => pan(...way) : KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  }

  function wheel(event) {
    event.preventDefault();
    // Some mice report lines or pages instead of pixels in some browsers.
    const pixels = event.deltaY * [1, 16, 400][event.deltaMode];
    zoom(Math.exp(-Math.min(Math.max(pixels, -300), 300) * (event.ctrlKey ? 0.01 : 0.002)), event);
  }

  const middle = (points) => ({
    x: points.reduce((sum, point) => sum + point.x, 0) / points.length,
    y: points.reduce((sum, point) => sum + point.y, 0) / points.length,
  });
  const spread = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y);

  function press(event) {
    if (event.button !== 0 || event.target.closest("button")) return;
    stage.setPointerCapture(event.pointerId);
    held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (held.size === 1) [pressed, moved] = [{ x: event.clientX, y: event.clientY, on: event.target }, false];
    stage.classList.add("zi-held");
  }

  function move(event) {
    if (!held.has(event.pointerId)) return;
    const old = [...held.values()];
    held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const now = [...held.values()];
    if (Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 5 || now.length > 1) moved = true;
    if (!moved) return;
    const [from, to] = [middle(old), middle(now)];
    if (now.length === 2 && spread(old) > 0) zoom(spread(now) / spread(old), to);
    if (near()) pan(to.x - from.x, to.y - from.y);
  }

  function release(event) {
    if (!held.delete(event.pointerId)) return;
    if (held.size) return;
    stage.classList.remove("zi-held");
    const [dx, dy] = [event.clientX - pressed.x, event.clientY - pressed.y];
    if (event.type === "pointercancel") return;
    if (!moved) {
      if (pressed.on !== image) close();
    } else if (event.pointerType === "touch" && !near() && Math.abs(dx) > SWIPE && Math.abs(dx) > 2 * Math.abs(dy)) {
      step(dx < 0 ? 1 : -1);
    }
  }

  // Zooms to the picture's own pixels, or to twice the fitted scale; and back.
  function double(event) {
    if (event.target.closest("button")) return;
    if (near()) fit();
    else zoom(Math.max(1, 2 * fitting()) / scale, { x: event.clientX, y: event.clientY });
  }

  image.addEventListener("error", () => {
    image.hidden = true;
    gone.hidden = false;
  });
  dialog.setAttribute("aria-label", say("viewer"));
  told.setAttribute("aria-live", "polite");
  dialog.addEventListener("keydown", key);
  // The `close` event is delayed: by then the viewer may be open again, with other pictures.
  dialog.addEventListener("close", () => {
    if (dialog.open) return;
    held.clear();
    image.removeAttribute("src");
    if (opener?.isConnected) opener.focus();
  });
  stage.addEventListener("wheel", wheel, { passive: false });
  stage.addEventListener("pointerdown", press);
  stage.addEventListener("pointermove", move);
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("dblclick", double);
  new ResizeObserver(() => dialog.open && (fitted ? fit() : draw())).observe(stage);

  return { open, close };
})();
