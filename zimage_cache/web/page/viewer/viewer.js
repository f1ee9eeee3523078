// Shows pictures in the whole window, with zoom and navigation.
import { inside, make } from "../lib/dom.js";
import { say } from "../lib/i18n.js";
import { panOf } from "../lib/keys.js";

/** @import { Shown } from "../lib/types.d.ts" */

/** @typedef {{ x: number, y: number }} Point */
/** @typedef {keyof typeof GLYPHS} Glyph */

/** Pixels: smaller pictures are enlarged, with visible pixels. */
export const SMALL = 256;
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
/** @type {Map<number, Point>} */
const held = new Map(); // positions of the pointers on the picture, by id
/** @type {Shown[]} */
let pictures = [];
let at = 0;
let scale = 1; // screen pixels per picture pixel
let [x, y] = [0, 0]; // centre of the picture, relative to that of the window
let fitted = true; // whether the picture is fitted to the window, also after a resize
/** @type {Point & { on: EventTarget | null }} */
let pressed = { x: 0, y: 0, on: null };
let moved = false; // since the pointer was pressed
/** @type {Element | null} */
let focusBefore = null;

// ---- elements ----

/** @param {Glyph} name */
function glyph(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", GLYPHS[name]);
  svg.append(path);
  return svg;
}

/** @param {Glyph} name */
const labelled = (name) => {
  const words = say(`viewer_${name}`);
  return { className: `zi-viewer-${name}`, title: words, aria: { label: words } };
};

/**
 * @param {Glyph} name
 * @param {() => void} act
 */
function tool(name, act) {
  const button = make("button", { type: "button", ...labelled(name) }, glyph(name));
  button.addEventListener("click", act);
  return button;
}

const number = make("span", { className: "zi-viewer-number" });
const caption = make("span", { className: "zi-viewer-caption" });
const told = make("p", { className: "zi-viewer-told", aria: { live: "polite" } }, number, caption);
const percent = make("span", { className: "zi-viewer-scale" });
const image = make("img", { draggable: false });
const gone = make("p", { className: "zi-viewer-gone", hidden: true }, say("viewer_gone"));
const save = make("a", labelled("download"), glyph("download"));
const full = tool("full", fullScreen);
const before = tool("previous", () => step(-1));
const after = tool("next", () => step(1));
const stage = make("div", { className: "zi-viewer-stage" }, image, gone, before, after);
const [farther, closer] = [tool("farther", () => zoom(1 / STEP)), tool("closer", () => zoom(STEP))];
const rest = [tool("fit", fit), full, save, tool("close", close)];
const bar = make("div", { className: "zi-viewer-bar" }, told, farther, percent, closer, ...rest);
// An element inside the dialog: browsers refuse full screen for a dialog itself.
const whole = make("div", { className: "zi-viewer-whole" }, bar, stage);
const dialog = make("dialog", { className: "zi-viewer", tabIndex: -1, aria: { label: say("viewer") } }, whole);

// ---- zoom ----

// Called only while there are pictures.
const current = () => /** @type {Shown} */ (pictures[at]);
const isSmall = () => Math.max(current().width, current().height) < SMALL;

function fitting() {
  const { width, height } = current();
  const room = Math.min(stage.clientWidth / width, stage.clientHeight / height);
  if (isSmall()) return room > 1 ? Math.floor(room) : room;
  return Math.min(room, ENLARGED);
}

/** @param {number} wanted */
const bounded = (wanted) => Math.min(Math.max(wanted, fitting()), Math.max(NEAREST, 4 * fitting()));

/**
 * A picture larger than the window always fills it; a smaller one stays centred.
 * @param {number} place
 * @param {number} slack
 */
const kept = (place, slack) => (slack > 0 ? Math.min(Math.max(place, -slack), slack) : 0);

function draw() {
  const { width, height } = current();
  scale = bounded(scale);
  x = kept(x, (width * scale - stage.clientWidth) / 2);
  y = kept(y, (height * scale - stage.clientHeight) / 2);
  Object.assign(image.style, { width: `${width}px`, height: `${height}px` });
  image.style.transform = `translate(${x}px, ${y}px) scale(${scale}) translate(-50%, -50%)`;
  stage.classList.toggle("zi-near", isNear());
  percent.textContent = `${Math.round(100 * scale)} %`;
}

const isNear = () => scale > fitting() * 1.001;

function fit() {
  [scale, x, y, fitted] = [fitting(), 0, 0, true];
  draw();
}

/**
 * Scales by *factor* around a point of the window; without one, around its centre.
 * @param {number} factor
 * @param {Point} [point]
 */
function zoom(factor, point) {
  const frame = stage.getBoundingClientRect();
  const px = point ? point.x - frame.x - frame.width / 2 : 0;
  const py = point ? point.y - frame.y - frame.height / 2 : 0;
  const wanted = bounded(scale * factor);
  const really = wanted / scale;
  [x, y, scale] = [px - (px - x) * really, py - (py - y) * really, wanted];
  fitted = !isNear();
  draw();
}

/**
 * @param {number} dx
 * @param {number} dy
 */
function pan(dx, dy) {
  [x, y] = [x + dx, y + dy];
  draw();
}

// ---- navigation ----

/** @param {Shown} picture */
function fileName({ image_url: url, seed }) {
  const name = url.split("?")[0]?.split("/").at(-1)?.split(".")[0] ?? "";
  return `zimage_${name.slice(0, 8)}_${seed}.png`;
}

/** @param {number} index */
function show(index) {
  at = index;
  const { image_url: url, alt, seed, width, height } = current();
  gone.hidden = true;
  image.hidden = false;
  Object.assign(image, { src: url, alt: alt ?? "", className: isSmall() ? "zi-small" : "" });
  Object.assign(save, { href: url, download: fileName(current()) });
  number.textContent = pictures.length > 1 ? say("viewer_of", { number: at + 1, n: pictures.length }) : "";
  caption.textContent = say("viewer_caption", { seed, width, height });
  showNeighbour(before, pictures[at - 1]);
  showNeighbour(after, pictures[at + 1]);
  fit();
}

/**
 * @param {HTMLElement} button
 * @param {Shown | undefined} neighbour
 */
function showNeighbour(button, neighbour) {
  button.hidden = !neighbour;
  if (neighbour) new Image().src = neighbour.image_url;
}

/** @param {number} by */
function step(by) {
  if (!(at + by in pictures)) return;
  const hiding = document.activeElement === (by < 0 ? before : after) && !(at + 2 * by in pictures);
  show(at + by);
  if (hiding) dialog.focus();
}

// ---- open and closed ----

/**
 * Opens *wanted* at *index*.
 * @param {Shown[]} wanted
 * @param {number} index
 */
function open(wanted, index = 0) {
  if (!wanted.length) return;
  pictures = wanted;
  if (!dialog.isConnected) document.body.append(dialog);
  if (!dialog.open) {
    focusBefore = document.activeElement;
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
  else void whole.requestFullscreen?.().catch(() => undefined); // when refused, the window is unchanged
}

// ---- keys, wheel, pointers ----

/** @type {Record<string, () => void>} */
const KEYS = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  Home: () => show(0),
  End: () => show(pictures.length - 1),
  "+": () => zoom(STEP),
  "=": () => zoom(STEP),
  "-": () => zoom(1 / STEP),
  0: fit,
  f: fullScreen,
  d: () => save.click(),
};

/** @param {KeyboardEvent} event */
function key(event) {
  // The page's own keys, such as Esc = Stop, have no effect here.
  event.stopPropagation();
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const way = panOf(event);
  const act = way ? () => pan(...way) : (KEYS[event.key] ?? KEYS[event.key.toLowerCase()]);
  if (!act) return;
  event.preventDefault();
  act();
}

/** @param {WheelEvent} event */
function wheel(event) {
  event.preventDefault();
  // Some mice report lines or pages instead of pixels in some browsers.
  const pixels = event.deltaY * ([1, 16, 400][event.deltaMode] ?? 1);
  zoom(Math.exp(-Math.min(Math.max(pixels, -300), 300) * (event.ctrlKey ? 0.01 : 0.002)), event);
}

/** @param {Point[]} points */
const middle = (points) => ({
  x: points.reduce((sum, point) => sum + point.x, 0) / points.length,
  y: points.reduce((sum, point) => sum + point.y, 0) / points.length,
});
/** @param {Point[]} points */
const spread = ([a, b]) => (a && b ? Math.hypot(a.x - b.x, a.y - b.y) : 0);

/** @param {PointerEvent} event */
function press(event) {
  if (event.button !== 0 || inside(event, "button")) return;
  stage.setPointerCapture(event.pointerId);
  held.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (held.size === 1) [pressed, moved] = [{ x: event.clientX, y: event.clientY, on: event.target }, false];
  stage.classList.add("zi-held");
}

/** @param {PointerEvent} event */
function move(event) {
  if (!held.has(event.pointerId)) return;
  const old = [...held.values()];
  held.set(event.pointerId, { x: event.clientX, y: event.clientY });
  const now = [...held.values()];
  if (Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 5 || now.length > 1) moved = true;
  if (!moved) return;
  const [from, to] = [middle(old), middle(now)];
  if (now.length === 2 && spread(old) > 0) zoom(spread(now) / spread(old), to);
  if (isNear()) pan(to.x - from.x, to.y - from.y);
}

/** @param {PointerEvent} event */
function release(event) {
  if (!held.delete(event.pointerId) || held.size) return;
  stage.classList.remove("zi-held");
  const [dx, dy] = [event.clientX - pressed.x, event.clientY - pressed.y];
  if (event.type === "pointercancel") return;
  if (!moved) {
    if (pressed.on !== image) close();
  } else if (event.pointerType === "touch" && !isNear() && Math.abs(dx) > SWIPE && Math.abs(dx) > 2 * Math.abs(dy)) {
    step(dx < 0 ? 1 : -1);
  }
}

/**
 * Zooms to the picture's own pixels, or to twice the fitted scale; and back.
 * @param {MouseEvent} event
 */
function double(event) {
  if (inside(event, "button")) return;
  if (isNear()) fit();
  else zoom(Math.max(1, 2 * fitting()) / scale, { x: event.clientX, y: event.clientY });
}

image.addEventListener("error", () => {
  image.hidden = true;
  gone.hidden = false;
});
dialog.addEventListener("keydown", key);
// The `close` event is delayed: by then the viewer may be open again, with other pictures.
dialog.addEventListener("close", () => {
  if (dialog.open) return;
  held.clear();
  image.removeAttribute("src");
  if (focusBefore instanceof HTMLElement && focusBefore.isConnected) focusBefore.focus();
});
stage.addEventListener("wheel", wheel, { passive: false });
stage.addEventListener("pointerdown", press);
stage.addEventListener("pointermove", move);
stage.addEventListener("pointerup", release);
stage.addEventListener("pointercancel", release);
stage.addEventListener("dblclick", double);
new ResizeObserver(() => {
  if (!dialog.open) return;
  if (fitted) fit();
  else draw();
}).observe(stage);

// An object, so that tests can replace one of its functions.
export const viewer = { open, close };
