// Shows pictures in the whole window, with zoom and navigation; what can be done with a picture is in actions.js.
import { onDeletion } from "../lib/deletion.js";
import { inside, make } from "../lib/dom.js";
import { say } from "../lib/i18n.js";
import { panOf } from "../lib/keys.js";
import { onStar } from "../lib/star.js";
import { viewerActions } from "./actions.js";
import { glyph } from "./glyphs.js";
import { viewerStrip } from "./strip.js";

/** @import { Shown } from "../lib/types.d.ts" */

/** @typedef {{ x: number, y: number }} Point */
/** @import { Gone } from "../lib/deletion.js" */
/** @import { Glyph } from "./glyphs.js" */
/**
 * *more* returns the pictures after the last one, [] at the end, null when they cannot be had now; *total* is how many
 * there are in all, where known.
 * @typedef {{ more?: () => Promise<Shown[] | null>, total?: number | null }} Row
 */

/** Pixels: smaller pictures are enlarged, with visible pixels. */
const SMALL = 256;
const ENLARGED = 2; // largest enlargement of other pictures to fit
const NEAREST = 8;
const STEP = 1.25;
const SWIPE = 60; // px
const AHEAD = 6; // pictures that are left when further ones are loaded
/** @type {Map<number, Point>} */
const held = new Map(); // positions of the pointers on the picture, by id
/** @type {Shown[]} */
let pictures = [];
/** @type {Row} */
let row = {};
/** @type {Promise<void> | null} */
let loadingMore = null;
/** @type {{ picture: Shown, place: number }[]} */
let removed = []; // pictures that were deleted while the viewer shows this row
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
const lost = make("p", { className: "zi-viewer-gone", hidden: true }, say("viewer_gone"));
const full = tool("full", fullScreen);
const before = tool("previous", () => void step(-1));
const after = tool("next", () => void step(1));
const stage = make("div", { className: "zi-viewer-stage" }, image, lost, before, after);
const [farther, closer] = [tool("farther", () => zoom(1 / STEP)), tool("closer", () => zoom(STEP))];
const rest = [tool("fit", fit), full, tool("close", close)];
const views = make("div", { className: "zi-viewer-views" }, farther, percent, closer, ...rest);
const actions = viewerActions({ close, before: () => pictures[at - 1] });
const strip = viewerStrip((index) => show(index));
// An element inside the dialog: browsers refuse full screen for a dialog itself.
const whole = make(
  "div",
  { className: "zi-viewer-whole" },
  told,
  actions.bar,
  views,
  make("div", { className: "zi-viewer-middle" }, stage, actions.panel),
  strip.element,
);
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

/** @param {number} index */
function show(index) {
  at = index;
  const { image_url: url, alt, seed, width, height } = current();
  lost.hidden = true;
  image.hidden = false;
  Object.assign(image, { src: url, alt: alt ?? "", className: isSmall() ? "zi-small" : "" });
  caption.textContent = say("viewer_caption", { seed, width, height });
  actions.show(current());
  showPlace();
  fit();
  keepFocus();
  if (at + AHEAD >= pictures.length) void loadMore();
}

/** Where the picture is in its row. */
function showPlace() {
  const n = Math.max(row.total ?? 0, pictures.length);
  number.textContent = n > 1 ? say("viewer_of", { number: at + 1, n }) : "";
  strip.show(pictures, at);
  showNeighbour(before, pictures[at - 1]);
  showNeighbour(after, pictures[at + 1]);
}

/** Loads the pictures after the last one, once at a time. @returns {Promise<void>} */
function loadMore() {
  const { more } = row;
  if (!more) return Promise.resolve();
  loadingMore ??= append(more).finally(() => {
    loadingMore = null;
  });
  return loadingMore;
}

/** @param {() => Promise<Shown[] | null>} more */
async function append(more) {
  const mine = row;
  const found = await more();
  if (!(found && mine.more === row.more && dialog.open)) return;
  if (!found.length) row = { total: pictures.length };
  pictures = [...pictures, ...found];
  showPlace();
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
async function step(by) {
  if (by > 0 && at + by >= pictures.length) await loadMore();
  if (at + by in pictures) show(at + by);
}

/** What had the focus may be hidden or gone with another picture: no key would reach the viewer any more. */
function keepFocus() {
  const focused = document.activeElement;
  if (!(dialog.contains(focused) && focused?.checkVisibility())) dialog.focus();
}

// ---- open and closed ----

/**
 * Opens *wanted* at *index*.
 * @param {Shown[]} wanted
 * @param {number} index
 * @param {Row} further
 */
function open(wanted, index = 0, further = {}) {
  if (!wanted.length) return;
  pictures = wanted;
  row = further;
  removed = [];
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

// ---- pictures that are deleted, and come back ----

/**
 * A picture with a file in the history is that file; one without is all that there is of its key.
 * @param {Shown} picture
 * @param {Gone} gone
 */
const isOf = ({ file, key }, gone) => (file ? gone.ids.includes(file.id) : Boolean(key) && key === gone.key);

/** @param {Gone} gone */
function take(gone) {
  if (!dialog.open) return;
  const left = pictures.filter((picture) => !isOf(picture, gone));
  if (left.length === pictures.length) return;
  removed = pictures.flatMap((picture, place) => (isOf(picture, gone) ? [{ picture, place }] : []));
  const passed = removed.filter(({ place }) => place < at).length;
  row = { ...row, total: row.total ? row.total - removed.length : null };
  pictures = left;
  if (left.length) show(Math.min(at - passed, left.length - 1));
  else close();
}

/** @param {Gone} gone */
function giveBack(gone) {
  const back = removed.filter(({ picture }) => isOf(picture, gone));
  removed = [];
  if (!(back.length && dialog.open)) return;
  pictures = [...pictures];
  for (const { picture, place } of back) pictures.splice(place, 0, picture);
  row = { ...row, total: row.total ? row.total + back.length : null };
  show(back[0]?.place ?? 0);
}

onDeletion({ gone: take, back: giveBack });
onStar(({ key, pinned }) => {
  for (const picture of pictures) if (picture.key === key) picture.pinned = pinned;
});

// ---- keys, wheel, pointers ----

/** @type {Record<string, () => void>} */
const KEYS = {
  ArrowLeft: () => void step(-1),
  ArrowRight: () => void step(1),
  Home: () => show(0),
  End: () => show(pictures.length - 1),
  "+": () => zoom(STEP),
  "=": () => zoom(STEP),
  "-": () => zoom(1 / STEP),
  0: fit,
  f: fullScreen,
  ...actions.keys,
};

/** @param {KeyboardEvent} event */
function keyPressed(event) {
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
    void step(dx < 0 ? 1 : -1);
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
  lost.hidden = false;
});
dialog.addEventListener("keydown", keyPressed);
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
